"""The quality of denoisers on video: how much they leave of the noise that is added, and how much that flickers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.errors import SourceError, UsageError
from quietframe.images import IMAGE_SUFFIXES
from quietframe_bench.process import Child, ChildError

_FEWEST = 2  # frames of which one can flicker


@dataclass(frozen=True)
class VideoSettings:
    """How to judge.

    Attributes:
        folder: of clean sequences, a sub-folder of pictures each; or of the pictures of one sequence.
        sigmas_255: levels of the white Gaussian noise, in 8-bit levels.
        seed: of the noise; frame i of sequence s at level σ draws from
            `numpy.random.default_rng([seed, s, i, σ · 1000])`.
        limit: use only the first so many frames of each sequence, at least 2.
    """

    folder: Path
    sigmas_255: tuple[float, ...] = (15.0, 25.0, 50.0)
    seed: int = 0
    limit: int | None = None


@dataclass
class VideoRow:
    """One model at one noise level; the noisy frames themselves are a row with `model` None.

    Attributes:
        model: the file.
        sigma_255: the noise level, which the model is not told.
        facts: what the model says of itself.
        figures: each sequence's figures by frame, each frame's by name: `psnr_db`, `flicker_255` but for a sequence's
            first frame, and for the noisy input `estimated_sigma_255`.
        failed: sequences that could not be judged to their end, and why.
        error: why the whole row failed.
    """

    model: Path | None
    sigma_255: float
    facts: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.model.name if self.model else "noisy input"

    def of_sequence(self, sequence: str, figure: str) -> float | None:
        """The mean over the frames of a sequence, or None where no frame has that figure."""
        values = [figures[figure] for figures in self.figures[sequence].values() if figure in figures]
        return float(np.mean(values)) if values else None

    def mean(self, figure: str) -> float | None:
        """The mean over the sequences, of which each counts alike, or None without any."""
        values = [value for sequence in self.figures if (value := self.of_sequence(sequence, figure)) is not None]
        return float(np.mean(values)) if values else None

    def as_record(self) -> dict[str, Any]:
        """The row for JSON, with each frame's figures."""
        names = ("psnr_db", "flicker_255", "estimated_sigma_255")
        return {
            "sigma_255": self.sigma_255,
            "error": self.error,
            **self.facts,
            "sequences": len(self.figures),
            "failed_sequences": self.failed,
            **{name: self.mean(name) for name in names},
            "by_sequence": {
                sequence: {**{name: self.of_sequence(sequence, name) for name in names}, "by_frame": frames}
                for sequence, frames in self.figures.items()
            },
        }


def find_sequences(folder: Path, limit: int | None = None) -> dict[str, list[Path]]:
    """The frames of each sequence, sorted by name: of each sub-folder with pictures, or of the folder itself.

    Raises:
        SourceError: no such folder, no pictures in it, pictures both in it and in sub-folders, or a sequence of a
            single frame.
        UsageError: a limit below 2.
    """
    if limit is not None and limit < _FEWEST:
        raise UsageError(f"a video needs {_FEWEST} frames or more to be judged. Received: a limit of {limit}")
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder")
    within = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    below = {path.name: frames for path in within if (frames := _frames(path))}
    own = _frames(folder)
    if own and below:
        raise SourceError(f"{folder}: holds frames and sequences of frames ({', '.join(below)}): give one or the other")
    found = {folder.resolve().name: own} if own else below
    if not found:
        raise SourceError(f"{folder}: no frames in it or in its sub-folders ({' '.join(sorted(IMAGE_SUFFIXES))})")
    for sequence, frames in found.items():
        if len(frames) < _FEWEST:
            raise SourceError(f"{folder}: a video needs {_FEWEST} frames or more to be judged: {sequence} has 1")
    return {sequence: frames[:limit] for sequence, frames in found.items()}


def measure_video(
    models: Sequence[Path],
    settings: VideoSettings,
    on_step: Callable[[str, int, int], None] = lambda text, step, steps: None,
) -> list[VideoRow]:
    """Judge denoisers on video as they run on a device: frame by frame, 8 bits in and out, the level estimated.

    Args:
        models: model files; each runs in a process of its own.
        settings: the sequences and the noise.
        on_step: told (what, step, steps) as it goes on.

    Returns:
        The noisy input's rows, one for each level, then each model's.

    Raises:
        SourceError: no sequences.
        UsageError: a limit below 2.
    """
    sequences = find_sequences(settings.folder, settings.limit)
    rows: list[VideoRow] = []
    steps = (len(models) + 1) * len(settings.sigmas_255) * len(sequences)
    for model in [None, *models]:
        with Child() as child:
            facts, error = _describe(child, model)
            for sigma_255 in settings.sigmas_255:
                row = VideoRow(model, sigma_255, facts, error=error)
                for index, (sequence, frames) in enumerate(sequences.items()):
                    on_step(f"{row.name} on {sequence}", len(rows) * len(sequences) + index, steps)
                    if error is None:
                        _judge(child, row, sequence, frames, [settings.seed, index])
                rows.append(row)
    return rows


def settings_record(settings: VideoSettings) -> Mapping[str, Any]:
    """The settings for JSON."""
    return {
        "folder": settings.folder.name,
        "sigmas_255": settings.sigmas_255,
        "seed": settings.seed,
        "noise_seed": "numpy.random.default_rng([seed, sequence_number, frame_number, round(sigma_255 * 1000)])",
        "limit": settings.limit,
    }


def _frames(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _describe(child: Child, model: Path | None) -> tuple[dict[str, Any], str | None]:
    """What the model says of itself, and why it cannot be judged."""
    if model is None:
        return {}, None
    try:
        facts = child.ask("describe", model=str(model))
    except ChildError as exc:
        return {}, str(exc)
    kept = {key: facts[key] for key in ("name", "precision", "engine", "task", "parameters")}
    denoises = "denoise" in facts["task"].split("+")
    return kept, None if denoises else f"this model does {facts['task']}, not denoise"


def _judge(child: Child, row: VideoRow, sequence: str, frames: Sequence[Path], seed: Sequence[int]) -> None:
    """Follow one sequence. One that fails on the way counts as a whole for nothing."""
    figures = {}
    for index, frame in enumerate(frames):
        try:
            figures[frame.name] = child.ask(
                "follow",
                model=str(row.model) if row.model else None,
                image=str(frame),
                sigma_255=row.sigma_255,
                seed=[*seed, index, round(row.sigma_255 * 1000)],
                begins=index == 0,
            )
        except ChildError as exc:
            row.failed[sequence] = f"{frame.name}: {str(exc).removeprefix(f'{frame}: ')}"
            return
    row.figures[sequence] = figures
