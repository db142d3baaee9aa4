"""The quality of denoisers: noise added to clean pictures, and how much of it a model takes away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.errors import SourceError
from quietframe.images import IMAGE_SUFFIXES, read_image
from quietframe_bench.contenders import NOISY_INPUT, Contender
from quietframe_bench.process import Child, ChildError

OnStep = Callable[[str, int, int], None]
"""Told (what, step, steps) as a measurement goes on."""

_FACTS = ("name", "precision", "engine", "task", "parameters", "macs_per_pixel", "conditioning")


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


@dataclass(frozen=True)
class Picture:
    """A picture to judge with.

    Attributes:
        name: what results call it.
        index: its number, from which its noise is drawn.
        clean: the file.
        noisy: the file of the same with a camera's noise; None: noise is added.
    """

    name: str
    index: int
    clean: Path
    noisy: Path | None = None


@dataclass
class QualityRow:
    """One contender at one noise level.

    Attributes:
        contender: whose figures these are.
        sigma_255: the level of the noise that is added; None: the pictures have their own.
        facts: what the model says of itself.
        figures: each picture's figures, by name: `psnr_db`, `ssim`, and for the noisy input
            `estimated_sigma_255`.
        failed: pictures that could not be judged, and why.
        error: why the whole row failed.
    """

    contender: Contender
    sigma_255: float | None
    facts: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.contender.name

    @property
    def model(self) -> Path | None:
        """The file, where it is one."""
        return self.contender.model

    def mean(self, figure: str, among: Collection[str] | None = None) -> float | None:
        """The mean over the pictures (of those named in `among`, when given), or None without any."""
        chosen = [of_one for name, of_one in self.figures.items() if among is None or name in among]
        values = [of_one[figure] for of_one in chosen if figure in of_one]
        return float(np.mean(values)) if values else None

    def as_record(self) -> dict[str, Any]:
        """The row for JSON, with each picture's figures."""
        return {
            "sigma_255": self.sigma_255,
            "error": self.error,
            **self.contender.as_record(),
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
    sigma_255: float | None
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


def is_gray(picture: Path) -> bool:
    """Whether a picture is gray; one that cannot be read is taken for colour, and fails when it is judged."""
    try:
        return read_image(picture).pixels.ndim == 2
    except SourceError:
        return False


def measure_quality(
    models: Sequence[Path], settings: QualitySettings, on_step: OnStep = lambda text, step, steps: None
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
    contenders = [NOISY_INPUT, *(Contender(model.name, model=model) for model in models)]
    rows = [QualityRow(contender, sigma_255) for contender in contenders for sigma_255 in settings.sigmas_255]
    judge_rows(rows, pictures_of(settings), settings.seed, on_step)
    return rows


def pictures_of(settings: QualitySettings) -> list[Picture]:
    """The clean pictures to judge with. Raises SourceError if there are none."""
    found = find_pictures(settings.folder, settings.limit)
    return [Picture(str(path.relative_to(settings.folder)), index, path) for index, path in enumerate(found)]


def judge_rows(
    rows: Sequence[QualityRow],
    pictures: Sequence[Picture],
    seed: int = 0,
    on_step: OnStep = lambda text, step, steps: None,
    *,
    measures: Sequence[str] = ("psnr_db", "ssim"),
) -> None:
    """Fill in rows, the contenders of each origin in a process of their own.

    Args:
        rows: with contender and level; those with an error are left alone.
        pictures: to judge with.
        seed: of the noise, where it is added.
        on_step: told (what, step, steps) as it goes on.
        measures: those wanted of `psnr_db` and `ssim`.
    """
    unfailed = [row for row in rows if row.error is None]
    steps = sum(len(pictures[:: row.contender.every]) for row in unfailed)
    step = 0
    for origin in dict.fromkeys(row.contender.origin for row in unfailed):
        alike = [row for row in unfailed if row.contender.origin == origin]
        with Child() as child:
            describe(child, alike)
            for place, picture in enumerate(pictures):
                for row in alike:
                    if place % row.contender.every == 0:
                        on_step(f"{row.name} on {picture.name}", step, steps)
                        step += 1
                        _judge(child, row, picture, seed, measures)


def picture_failures(rows: Sequence[QualityRow]) -> list[str]:
    """One line for each picture that could not be judged, however many contenders it failed for."""
    names: dict[str, set[str]] = {}
    for row in rows:
        for picture, why in row.failed.items():
            names.setdefault(why if picture in why else f"{picture}: {why}", set()).add(row.name)
    return [
        f"{what} ({', '.join(sorted(who)) if len(who) < 3 else f'{len(who)} contenders'})"
        for what, who in names.items()
    ]


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
        and int8.contender.told_255 == fp32.contender.told_255
        and int8.figures.keys() & fp32.figures.keys()
    ]


def _drop(int8: QualityRow, fp32: QualityRow) -> Drop:
    shared = int8.figures.keys() & fp32.figures.keys()
    drops = [int8.figures[picture]["psnr_db"] - fp32.figures[picture]["psnr_db"] for picture in shared]
    return Drop(int8.facts["name"], int8.sigma_255, int8.name, fp32.name, float(np.mean(drops)))


def describe(child: Child, rows: Sequence[QualityRow]) -> None:
    """Note in rows of one model what it says of itself, or why it cannot be judged. Other rows stay as they are."""
    model = rows[0].model
    if model is None:
        return
    try:
        facts = child.ask("describe", model=str(model))
        if "denoise" not in facts["task"].split("+"):
            raise ChildError(f"this model does {facts['task']}, not denoise")
    except ChildError as exc:
        for row in rows:
            row.error = str(exc)
        return
    for row in rows:
        row.facts |= {key: facts[key] for key in _FACTS}


def _judge(child: Child, row: QualityRow, picture: Picture, seed: int, measures: Sequence[str]) -> None:
    if row.error:
        return
    noise = None
    if row.sigma_255 is not None:
        noise = {"sigma_255": row.sigma_255, "seed": [seed, picture.index, round(row.sigma_255 * 1000)]}
    try:
        row.figures[picture.name] = child.ask(
            "judge",
            contender=row.contender.request(),
            told_255=row.contender.told_255,
            clean=str(picture.clean),
            noisy=picture.noisy and str(picture.noisy),
            noise=noise,
            measures=measures,
        )
    except ChildError as exc:
        row.failed[picture.name] = str(exc)


def settings_record(settings: QualitySettings) -> Mapping[str, Any]:
    """The settings for JSON."""
    return {
        "folder": settings.folder.name,
        "sigmas_255": settings.sigmas_255,
        "seed": settings.seed,
        "noise_seed": "numpy.random.default_rng([seed, image_number, round(sigma_255 * 1000)])",
        "limit": settings.limit,
    }
