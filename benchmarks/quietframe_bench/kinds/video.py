"""Quality on video: how much denoisers leave of the noise that is added to clean frames, and how much that flickers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import SourceError, UsageError
from quietframe.images import IMAGE_SUFFIXES
from quietframe_bench.columns import CIRCUMSTANCES, Column, Table
from quietframe_bench.plan import OnStep, describe_denoiser, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.results import Results
from quietframe_bench.rows import ModelRow, Row, Run, utc_now

TITLE = "Quality on video"
_MIN_FRAMES = 2  # with fewer nothing flickers


@dataclass(frozen=True)
class VideoSettings:
    """How to judge on video.

    Attributes:
        folder: of clean sequences, a sub-folder of images each; or of the images of one sequence.
        sigmas_255: levels of the white Gaussian noise, in 8-bit levels.
        seed: of the noise; frame i of sequence s at level σ draws from
            `numpy.random.default_rng([seed, s, i, σ · 1000])`.
        limit: use only the first so many frames of each sequence, at least 2.
    """

    folder: Path
    sigmas_255: tuple[float, ...] = (15.0, 25.0, 50.0)
    seed: int = 0
    limit: int | None = None


class VideoRow(ModelRow, kw_only=True, tag="video"):
    """One model at one noise level, which it has to estimate; the noisy frames themselves are a row without a model.

    Attributes:
        psnr_db, flicker_255, estimated_sigma_255: means over the sequences, of which each counts alike.
        by_sequence: each sequence's figures by frame, each frame's by name: `psnr_db`, `flicker_255` but for a
            sequence's first frame, and for the noisy input `estimated_sigma_255`.
        failed_sequences: sequences that could not be judged to their end, and why.
    """

    sigma_255: float
    psnr_db: float | None = None
    flicker_255: float | None = None
    estimated_sigma_255: float | None = None
    by_sequence: dict[str, dict[str, dict[str, float]]] = msgspec.field(default_factory=dict)
    failed_sequences: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def candidate(self) -> str:
        """What the table calls it."""
        return self.file or "noisy input"

    def of_sequence(self, sequence: str, figure: str) -> float | None:
        """Return the mean over the frames of a sequence, or None where no frame has that figure."""
        values = [figures[figure] for figures in self.by_sequence[sequence].values() if figure in figures]
        return float(np.mean(values)) if values else None

    def finish(self) -> None:
        """Derive the means."""
        self.finished_utc = utc_now()
        for figure in ("psnr_db", "flicker_255", "estimated_sigma_255"):
            values = [v for sequence in self.by_sequence if (v := self.of_sequence(sequence, figure)) is not None]
            setattr(self, figure, float(np.mean(values)) if values else None)

    def failures(self) -> list[str]:
        """Say what failed."""
        if self.error:
            return super().failures()
        return [f"{self.candidate}: {sequence}: {why}" for sequence, why in self.failed_sequences.items()]


def find_sequences(folder: Path, limit: int | None = None) -> dict[str, list[Path]]:
    """Return the frames of each sequence, sorted by name: of each sub-folder with images, or of the folder itself.

    Raises:
        SourceError: no such folder, no images in it, images both in it and in sub-folders, or a sequence of a
            single frame.
        UsageError: a limit below 2.
    """
    if limit is not None and limit < _MIN_FRAMES:
        raise UsageError(f"a video needs {_MIN_FRAMES} frames or more to be judged. Received: a limit of {limit}")
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
        if len(frames) < _MIN_FRAMES:
            raise SourceError(f"{folder}: a video needs {_MIN_FRAMES} frames or more to be judged: {sequence} has 1")
    return {sequence: frames[:limit] for sequence, frames in found.items()}


def measure_video(models: Sequence[Path], settings: VideoSettings, on_step: OnStep = ignore_step) -> Results:
    """Judge denoisers on video as they run on a device: frame by frame, 8 bits in and out, the level estimated.

    Args:
        models: model files; each runs in a process of its own.
        settings: the sequences and the noise.
        on_step: called with (what, step, steps) as it goes on.

    Returns:
        The noisy input's rows, one for each level, then each model's.

    Raises:
        SourceError: no sequences.
        UsageError: a limit below 2.
    """
    sequences = find_sequences(settings.folder, settings.limit)
    run = Run(settings)
    rows: list[VideoRow] = []
    steps = (len(models) + 1) * len(settings.sigmas_255) * len(sequences)
    for model in [None, *models]:
        with Child() as child:
            try:
                facts = describe_denoiser(child, model) if model else {}
            except ChildError as exc:
                facts = {"error": str(exc)}
            for sigma_255 in settings.sigmas_255:
                row = run.row(VideoRow, model, sigma_255=sigma_255, **facts)
                for index, (sequence, frames) in enumerate(sequences.items()):
                    on_step(f"{row.candidate} on {sequence}", len(rows) * len(sequences) + index, steps)
                    if row.error is None:
                        _judge(child, row, model, sequence, frames, [settings.seed, index])
                row.finish()
                rows.append(row)
    return Results(rows)


def is_video_folder(folder: Path) -> bool:
    """Return whether a folder holds videos: sub-folders of numbered frames, and no images of its own."""
    if not folder.is_dir() or _frames(folder):
        return False
    sequences = [found for path in folder.iterdir() if path.is_dir() and (found := _frames(path))]
    return bool(sequences) and all(len(found) >= _MIN_FRAMES and _are_numbered(found) for found in sequences)


def _are_numbered(frames: Sequence[Path]) -> bool:
    digits = ["".join(filter(str.isdigit, path.stem)) for path in frames]
    if not all(digits):
        return False
    numbers = sorted(map(int, digits))
    return numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _judge(
    child: Child, row: VideoRow, model: Path | None, sequence: str, frames: Sequence[Path], seed: Sequence[int]
) -> None:
    """Follow one sequence. One that fails on the way counts as a whole for nothing."""
    figures = {}
    for index, frame in enumerate(frames):
        try:
            figures[frame.name] = child.call(
                "kinds.video:follow",
                model=model,
                image=frame,
                sigma_255=row.sigma_255,
                seed=[*seed, index, round(row.sigma_255 * 1000)],
                begins=index == 0,
            )
        except ChildError as exc:
            row.failed_sequences[sequence] = f"{frame.name}: {str(exc).removeprefix(f'{frame}: ')}"
            return
    row.by_sequence[sequence] = figures


def _frames(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


# In the measuring process

_followers: dict[str | None, Follower] = {}


class Follower:
    """Denoises the frames of videos, and compares each with the clean one and with the frame before.

    Args:
        model: the file; None: judge the noisy frames themselves.
    """

    def __init__(self, model: str | None) -> None:
        from quietframe import Denoiser

        self._denoise = None if model is None else Denoiser(model)
        self._before: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None

    def follow(self, *, image: str, sigma_255: float, seed: Sequence[int], begins: bool) -> dict[str, float]:
        """Add noise to a clean frame, denoise it and compare.

        Args:
            image: the clean frame's file.
            sigma_255: the level of the white noise to add, in 8-bit levels.
            seed: of the noise.
            begins: a video begins with this frame.

        Returns `psnr_db`; `flicker_255`, but for a video's first frame; `estimated_sigma_255` without a model.
        Raises SourceError if the file cannot be read, FrameError if a frame is not as large as the one before.
        """
        from quietframe import estimate_noise
        from quietframe.images import read_image
        from quietframe.noise import add_gaussian
        from quietframe.quality import flicker_255, psnr_db

        before, self._before = None if begins else self._before, None
        clean = read_image(image).pixels
        noisy = add_gaussian(clean, sigma_255, np.random.default_rng(seed))
        now = clean, noisy if self._denoise is None else self._denoise(noisy)
        figures = {"psnr_db": psnr_db(*now)}
        if before is not None:
            figures["flicker_255"] = flicker_255(before, now)
        if self._denoise is None:
            figures["estimated_sigma_255"] = estimate_noise(noisy)
        self._before = now
        return figures


def follow(*, model: str | None, **frame: Any) -> dict[str, float]:
    """Judge the next frame of a video. See `Follower.follow`."""
    if model not in _followers:
        _followers[model] = Follower(model)
    return _followers[model].follow(**frame)


# Columns and tables


class _Line(NamedTuple):
    """A line of the table: a model on one sequence, or on all."""

    row: VideoRow
    sequence: str
    frames: int | None
    psnr_db: float | None
    flicker_255: float | None
    estimated_sigma_255: float | None
    error: str | None = None


_FIGURES = (
    Column("PSNR dB", lambda line: line.psnr_db, ".2f", "psnr_db"),
    Column("flicker", lambda line: line.flicker_255, ".2f", "flicker_255"),
    Column("estimated sigma", lambda line: line.estimated_sigma_255, ".1f", "estimated_sigma_255"),
)
_LINES = (
    Column("model", lambda line: line.row.candidate),
    Column("sigma", lambda line: line.row.sigma_255, "g"),
    Column("sequence", lambda line: line.sequence),
    Column("frames", lambda line: line.frames),
    *_FIGURES,
)
COLUMNS: dict[type[Row], Sequence[Column]] = {
    VideoRow: (
        Column("model", lambda row: row.candidate, name="candidate"),
        Column("sigma", lambda row: row.sigma_255, "g", "sigma_255"),
        Column("sequences", lambda row: len(row.by_sequence), name="sequences"),
        *_FIGURES,
        *CIRCUMSTANCES,
    )
}


def tables(rows: Sequence[VideoRow]) -> list[Table]:
    """Make the table of PSNR and flicker: over all sequences, and on each."""
    title = (
        "frame by frame, 8-bit noisy frames in, 8-bit frames out, the noise level estimated; "
        "flicker: mean change of the error from one frame to the next, in 8-bit levels"
    )
    return [Table(title, _LINES, [line for row in rows for line in _lines(row)])]


def _lines(row: VideoRow) -> list[_Line]:
    lines = []
    psnr, flicker, level = "psnr_db", "flicker_255", "estimated_sigma_255"
    if len(row.by_sequence) > 1:
        frames = sum(map(len, row.by_sequence.values()))
        lines.append(_Line(row, "mean", frames, row.psnr_db, row.flicker_255, row.estimated_sigma_255))
    for sequence, by_frame in row.by_sequence.items():
        of = row.of_sequence
        figures = of(sequence, psnr), of(sequence, flicker), of(sequence, level)
        lines.append(_Line(row, sequence, len(by_frame), *figures))
    for sequence in ["all"] if row.error else row.failed_sequences:
        lines.append(_Line(row, sequence, None, None, None, None, error=row.error or "failed"))
    return lines
