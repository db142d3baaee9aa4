"""The demonstration: a real photograph, a moving clip and forty digits, made noisy, then cleaned and measured.

Everything comes with the package: images, models and noise (seeded, so that every run shows the same).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.assets import digits, photo_bgr
from quietframe.cpu import peak_rss_mb
from quietframe.demo_image import DigitResult, compose, side_by_side
from quietframe.errors import OutputError
from quietframe.images import Image, write_image
from quietframe.noise import add_shot_read, to_uint8
from quietframe.quality import mean_psnr_db, psnr_db
from quietframe.sinks import Sink, open_sink
from quietframe.sinks.base import NullSink, check_targets, make_folder
from quietframe.sources import Frame, Source
from quietframe.tasks import Classifier, Denoiser, VideoDenoiser
from quietframe.zoo import find_model

SHOT_255, READ_255 = 30.0, 12.0
"""A dim room at high gain: about 23 levels of deviation on the photograph."""

DIGIT_NOISE_MEAN, DIGIT_NOISE_SIGMA = 0.5, 0.5
"""A noise that digit denoisers are trained on, on the scale [0, 1]."""

_SEED = 20
_PHOTO_RUNS = 20
_CLIP_FRAMES = 60
_WARM_UP_RUNS = 3
_DIGITS_SHOWN = 12


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was cleaned or classified.
        model: the model's name and precision.
        before, after: PSNR of the noisy and the denoised frames with its unit, or how many digits were read right.
        samples_ms: the time of each call of the model, everything included.
        model_bytes: size of the model's file.
        peak_rss_mb: the greatest memory of this process up to the end of this line's work; None where not known.
    """

    what: str
    model: str
    before: str
    after: str
    samples_ms: tuple[float, ...]
    model_bytes: int
    peak_rss_mb: int | None

    @property
    def p50_ms(self) -> float:
        """Median time of a frame."""
        return float(np.percentile(self.samples_ms, 50))

    @property
    def p95_ms(self) -> float:
        """Time that 95 % of the frames stay below."""
        return float(np.percentile(self.samples_ms, 95))

    @property
    def fps(self) -> float:
        """Frames per second of the model's work, one after the other."""
        return 1000 * len(self.samples_ms) / sum(self.samples_ms)


@dataclass(frozen=True)
class Demo:
    """What the demonstration measured and wrote; `notes` says what could not be done."""

    rows: tuple[Row, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


class PanSource(Source):
    """A clip made from the photograph: a 480×360 window on an ellipse over it, with new noise in every frame.

    Each frame carries its noisy pixels and the clean ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size_wh = (480, 360)
        self.fps = 30.0
        self.frame_count = _CLIP_FRAMES
        self._photo = photo_bgr()

    def __iter__(self) -> Iterator[Frame]:
        rng = np.random.default_rng(_SEED)
        assert self.size_wh is not None and self.frame_count is not None
        width, height = self.size_wh
        reach_x, reach_y = (self._photo.shape[1] - width) / 2, (self._photo.shape[0] - height) / 2
        for index in range(self.frame_count):
            turn = 2 * np.pi * index / self.frame_count
            left, top = round(reach_x * (1 - np.cos(turn))), round(reach_y * (1 - np.sin(turn)))
            clean = np.ascontiguousarray(self._photo[top : top + height, left : left + width])
            noisy = add_shot_read(clean, SHOT_255, READ_255, rng)
            yield Frame(noisy, index, time.monotonic_ns(), clean=clean)


def run_demo(folder: Path, *, overwrite: bool = False) -> Demo:
    """Clean a photograph, a clip and digits with the built-in models; write an image and a video of it.

    Args:
        folder: where `before-after.png` and `clip.mp4` go; it is made if it is not there.
        overwrite: replace these files if they exist.

    Raises:
        OutputError: the folder cannot be written, or the files exist and `overwrite` is not set.
        ModelLoadError: a built-in model is missing or damaged.
    """
    image_path, clip_path = folder / "before-after.png", folder / "clip.mp4"
    check_targets((image_path, clip_path), (), overwrite=overwrite)
    make_folder(folder)
    denoise_video, clean_digit, classify = VideoDenoiser("video"), Denoiser("digit-denoiser"), Classifier("digits")

    photo_row, noisy, clean = _photo(Denoiser("camera"))
    notes = []
    try:
        with open_sink(clip_path, PanSource(), overwrite=overwrite) as sink:
            clip_row = _clip(denoise_video, sink)
    except OutputError as exc:  # no encoder, or the disk is full: the figures do not need the file
        notes.append(str(exc))
        clip_row = _clip(denoise_video, NullSink())
    digit_rows, results = _read_digits(clean_digit, classify)

    captions = (f"noisy {photo_row.before}", f"denoised {photo_row.after}")
    write_image(image_path, Image(compose(photo_bgr(), noisy, clean, captions, results[:_DIGITS_SHOWN])))
    files = tuple(path for path in (image_path, clip_path) if path.exists())
    return Demo((photo_row, clip_row, *digit_rows), files, tuple(notes))


def _photo(denoise: Denoiser) -> tuple[Row, NDArray[np.uint8], NDArray[np.uint8]]:
    photo = photo_bgr()
    noisy = add_shot_read(photo, SHOT_255, READ_255, np.random.default_rng(_SEED))
    for _ in range(_WARM_UP_RUNS):
        denoise(noisy)
    samples_ms: list[float] = []
    for _ in range(_PHOTO_RUNS):
        clean = _timed(samples_ms, denoise, noisy)
    name = f"photograph, {photo.shape[1]}x{photo.shape[0]}"
    return _row(name, denoise, _mean_db([photo], [noisy]), _mean_db([photo], [clean]), samples_ms), noisy, clean


def _clip(denoise: VideoDenoiser, sink: Sink) -> Row:
    """Denoise the clip; each clean frame goes to the sink beside its noisy self."""
    source = PanSource()
    before, after = [], []
    samples_ms: list[float] = []
    for frame in source:
        assert frame.clean is not None
        if frame.index == 0:
            denoise(frame.pixels)  # the first frame of a size is slower
            denoise.reset()
        clean = _timed(samples_ms, denoise, frame.pixels)
        before.append(psnr_db(frame.clean, frame.pixels))
        after.append(psnr_db(frame.clean, clean))
        sink.write(frame, side_by_side(frame.pixels, clean))
    name = f"clip, {frame.pixels.shape[1]}x{frame.pixels.shape[0]}, {source.frame_count} frames"
    return _row(name, denoise, f"{np.mean(before):.2f} dB", f"{np.mean(after):.2f} dB", samples_ms)


def _read_digits(denoise: Denoiser, classify: Classifier) -> tuple[list[Row], list[DigitResult]]:
    """Denoise the digits, and read them with and without."""
    images, labels = digits()
    noise = np.random.default_rng(_SEED).normal(DIGIT_NOISE_MEAN, DIGIT_NOISE_SIGMA, images.shape)
    noisy = to_uint8(images + 255 * noise)
    classify(denoise(noisy[0]))
    denoising_ms: list[float] = []
    reading_ms: list[float] = []
    results = []
    for image, label in zip(noisy, map(str, labels), strict=True):
        clean = _timed(denoising_ms, denoise, image)
        reads = [_timed(reading_ms, classify, each).label for each in (image, clean)]
        results.append(DigitResult(label, image, clean, *reads))
    before, after = _mean_db(images, noisy), _mean_db(images, [result.clean for result in results])
    right_before = sum(result.read_noisy == result.label for result in results)
    right_after = sum(result.read_clean == result.label for result in results)
    right_without = sum(classify(image).label == str(label) for image, label in zip(images, labels, strict=True))
    count = len(images)
    read = (f"{right_before} of {count}", f"{right_after} of {count}")
    rows = [
        _row(f"{count} digits, denoised", denoise, before, after, denoising_ms),
        _row(f"{count} digits, read ({right_without} right without noise)", classify, *read, reading_ms),
    ]
    return rows, results


def _timed(samples_ms: list[float], task: Callable[..., Any], frame: NDArray[np.uint8]) -> Any:
    """Call a task and note the time that it took."""
    start_ns = time.perf_counter_ns()
    result = task(frame)
    samples_ms.append((time.perf_counter_ns() - start_ns) / 1e6)
    return result


def _row(what: str, task: Denoiser | Classifier, before: str, after: str, samples_ms: Sequence[float]) -> Row:
    name = task.card.name
    return Row(
        what=what,
        model=f"{name} {task.card.precision}",
        before=before,
        after=after,
        samples_ms=tuple(samples_ms),
        model_bytes=find_model(name).stat().st_size,
        peak_rss_mb=peak_rss_mb(),
    )


def _mean_db(references: Iterable[NDArray[np.uint8]], images: Iterable[NDArray[np.uint8]]) -> str:
    return f"{mean_psnr_db(zip(references, images, strict=True)):.2f} dB"
