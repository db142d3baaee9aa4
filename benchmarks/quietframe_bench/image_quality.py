"""The quality of denoisers: noise added to clean pictures, and how much of it a model takes away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.errors import SourceError
from quietframe.images import IMAGE_SUFFIXES
from quietframe_bench.process import Child, ChildError

NOISY_INPUT = "noisy input"


@dataclass(frozen=True)
class QualitySettings:
    """How to judge.

    Attributes:
        folder: of clean pictures; subfolders are searched too.
        sigmas_255: levels of the white Gaussian noise, in 8-bit levels.
        seed: of the noise; picture number i at level σ draws from `numpy.random.default_rng([seed, i, σ · 1000])`.
        limit: use only the first so many pictures, sorted by path.
    """

    folder: Path
    sigmas_255: tuple[float, ...] = (15.0, 25.0, 50.0)
    seed: int = 0
    limit: int | None = None


@dataclass
class QualityRow:
    """One model at one noise level; the noisy pictures themselves are a row with `model` None.

    Attributes:
        model: the file.
        sigma_255: the noise level, which the model is not told.
        facts: what the model says of itself.
        figures: each picture's figures, by name: `psnr_db`, `ssim`, and for the noisy input
            `estimated_sigma_255`.
        failed: pictures that could not be judged, and why.
        error: why the whole row failed.
    """

    model: Path | None
    sigma_255: float
    facts: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.model.name if self.model else NOISY_INPUT

    def mean(self, figure: str) -> float | None:
        """The mean over the pictures, or None without any."""
        values = [figures[figure] for figures in self.figures.values() if figure in figures]
        return float(np.mean(values)) if values else None

    def as_record(self) -> dict[str, Any]:
        """The row for JSON, with each picture's figures."""
        return {
            "sigma_255": self.sigma_255,
            "error": self.error,
            **self.facts,
            "images": len(self.figures),
            "failed_images": self.failed,
            "psnr_db": self.mean("psnr_db"),
            "ssim": self.mean("ssim"),
            "estimated_sigma_255": self.mean("estimated_sigma_255"),
            "by_image": self.figures,
        }


@dataclass(frozen=True)
class Drop:
    """What 8-bit integers cost: PSNR of an int8 file minus that of a float file of the same model."""

    name: str
    sigma_255: float
    int8_file: str
    fp32_file: str
    psnr_db: float


def find_pictures(folder: Path, limit: int | None = None) -> list[Path]:
    """The picture files in a folder and its subfolders, sorted by path.

    Raises:
        SourceError: no such folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not found:
        raise SourceError(f"{folder}: no pictures in it ({' '.join(sorted(IMAGE_SUFFIXES))})")
    return found[:limit]


def measure_quality(
    models: Sequence[Path],
    settings: QualitySettings,
    on_step: Callable[[str, int, int], None] = lambda text, step, steps: None,
) -> list[QualityRow]:
    """Judge denoisers as they run on a device: 8-bit noisy frames in, 8-bit frames out, the level estimated.

    Args:
        models: model files; each runs in a process of its own.
        settings: the pictures and the noise.
        on_step: told (what, step, steps) as it goes on.

    Returns:
        The noisy input's rows, one for each level, then each model's.

    Raises:
        SourceError: no pictures.
    """
    pictures = find_pictures(settings.folder, settings.limit)
    rows = []
    steps = (len(models) + 1) * len(pictures) * len(settings.sigmas_255)
    for number, model in enumerate([None, *models]):
        of_model = [QualityRow(model, sigma_255) for sigma_255 in settings.sigmas_255]
        rows += of_model
        with Child() as child:
            if not _describe(child, model, of_model):
                continue
            for index, picture in enumerate(pictures):
                for place, row in enumerate(of_model):
                    step = (number * len(pictures) + index) * len(of_model) + place
                    on_step(f"{row.name} on {picture.name}", step, steps)
                    _judge(child, row, index, picture, settings)
    return rows


def int8_drops(rows: Sequence[QualityRow]) -> list[Drop]:
    """For each model and level that has both, int8 minus fp32 over the pictures that both were judged on."""
    return [
        _drop(int8, fp32)
        for int8 in rows
        for fp32 in rows
        if int8.facts.get("precision") == "int8"
        and fp32.facts.get("precision") == "fp32"
        and int8.facts["name"] == fp32.facts["name"]
        and int8.sigma_255 == fp32.sigma_255
        and int8.figures.keys() & fp32.figures.keys()
    ]


def _drop(int8: QualityRow, fp32: QualityRow) -> Drop:
    shared = int8.figures.keys() & fp32.figures.keys()
    drops = [int8.figures[picture]["psnr_db"] - fp32.figures[picture]["psnr_db"] for picture in shared]
    return Drop(int8.facts["name"], int8.sigma_255, int8.name, fp32.name, float(np.mean(drops)))


def _describe(child: Child, model: Path | None, rows: Sequence[QualityRow]) -> bool:
    if model is None:
        return True
    try:
        facts = child.ask("describe", model=str(model))
        if "denoise" not in facts["task"].split("+"):
            raise ChildError(f"this model does {facts['task']}, not denoise")
    except ChildError as exc:
        for row in rows:
            row.error = str(exc)
        return False
    for row in rows:
        row.facts |= {key: facts[key] for key in ("name", "precision", "engine", "task", "parameters")}
    return True


def _judge(child: Child, row: QualityRow, index: int, picture: Path, settings: QualitySettings) -> None:
    name = str(picture.relative_to(settings.folder))
    seed = [settings.seed, index, round(row.sigma_255 * 1000)]
    model = str(row.model) if row.model else None
    if row.error:
        return
    try:
        row.figures[name] = child.ask("judge", model=model, image=str(picture), sigma_255=row.sigma_255, seed=seed)
    except ChildError as exc:
        row.failed[name] = str(exc)


def settings_record(settings: QualitySettings) -> Mapping[str, Any]:
    """The settings for JSON."""
    return {
        "folder": settings.folder.name,
        "sigmas_255": settings.sigmas_255,
        "seed": settings.seed,
        "noise_seed": "numpy.random.default_rng([seed, image_number, round(sigma_255 * 1000)])",
        "limit": settings.limit,
    }
