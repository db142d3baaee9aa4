"""The demonstration: a real photograph, a moving clip and forty digits, made noisy, then cleaned and measured.

Everything comes with the package: pictures, models and noise (seeded, so that every run shows the same).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.assets import digits, photo_bgr
from quietframe.cpu import peak_rss_mb
from quietframe.demo_picture import DigitResult, compose, side_by_side
from quietframe.errors import OutputError
from quietframe.images import Image, write_image
from quietframe.noise import add_shot_read, to_uint8
from quietframe.quality import psnr_db
from quietframe.sinks import Sink, open_sink
from quietframe.sinks.base import NullSink, check_targets, make_folder
from quietframe.sources import Frame, Source
from quietframe.tasks import Classifier, Denoiser
from quietframe.zoo import find_model

SHOT_255, READ_255 = 30.0, 12.0
"""A dim room at high gain: about 23 levels of deviation on the photograph."""

DIGIT_NOISE_MEAN, DIGIT_NOISE_SIGMA = 0.5, 0.5
"""A noise that digit denoisers are trained on, on the scale [0, 1]."""

_SEED = 20
_PHOTO_RUNS = 20
_WARM_UP_RUNS = 3
_DIGITS_SHOWN = 12


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was cleaned or classified.
        model: the model's name and precision.
        before, after: PSNR in dB of the noisy and the denoised frames, or digits read right of both, with the unit.
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


@dataclass
class Stopwatch:
    """Calls functions and keeps the time that each call took, in `samples_ms`."""

    samples_ms: list[float] = field(default_factory=list)

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """What `function(*args)` gives."""
        start = time.perf_counter_ns()
        result = function(*args)
        self.samples_ms.append((time.perf_counter_ns() - start) / 1e6)
        return result


class PanSource(Source):
    """A clip made from the photograph: a 480×360 window on an ellipse over it, with new noise in every frame.

    Each frame carries its noisy picture and the clean one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.size_wh = (480, 360)
        self.fps = 30.0
        self.frame_count = 60
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
    """Clean a photograph, a clip and digits with the built-in models; write a picture and a video of it.

    Args:
        folder: where `before-after.png` and `clip.mp4` go; it is made if it is not there.
        overwrite: replace these files if they exist.

    Raises:
        OutputError: the folder cannot be written, or the files exist and `overwrite` is not set.
        ModelLoadError: a built-in model is missing or damaged.
    """
    picture_path, clip_path = folder / "before-after.png", folder / "clip.mp4"
    check_targets((picture_path, clip_path), (), overwrite=overwrite)
    make_folder(folder)
    denoise, clean_digit, classify = Denoiser("camera"), Denoiser("digit-denoiser"), Classifier("digits")

    photo_row, noisy, clean = _photo(denoise)
    notes = []
    try:
        with open_sink(clip_path, PanSource(), overwrite=overwrite) as sink:
            clip_row = _clip(denoise, sink)
    except OutputError as exc:  # this OpenCV has no such codec, or the disk is full: the figures do not need the file
        notes.append(str(exc))
        clip_row = _clip(denoise, NullSink())
    digit_rows, results = _read_digits(clean_digit, classify)

    captions = (f"noisy {photo_row.before}", f"denoised {photo_row.after}")
    write_image(picture_path, Image(compose(photo_bgr(), noisy, clean, captions, results[:_DIGITS_SHOWN])))
    files = tuple(path for path in (picture_path, clip_path) if path.exists())
    return Demo((photo_row, clip_row, *digit_rows), files, tuple(notes))


def _photo(denoise: Denoiser) -> tuple[Row, NDArray[np.uint8], NDArray[np.uint8]]:
    photo = photo_bgr()
    noisy = add_shot_read(photo, SHOT_255, READ_255, np.random.default_rng(_SEED))
    for _ in range(_WARM_UP_RUNS):
        denoise(noisy)
    watch = Stopwatch()
    for _ in range(_PHOTO_RUNS):
        clean = watch(denoise, noisy)
    name = f"photograph, {photo.shape[1]}x{photo.shape[0]}"
    return _row(name, denoise, _db(psnr_db(photo, noisy)), _db(psnr_db(photo, clean)), watch), noisy, clean


def _clip(denoise: Denoiser, sink: Sink) -> Row:
    """Denoise the clip; each clean frame goes to the sink beside its noisy self."""
    source = PanSource()
    assert source.size_wh is not None
    before, after, watch = [], [], Stopwatch()
    for frame in source:
        assert frame.clean is not None
        if frame.index == 0:
            denoise(frame.pixels)  # the first frame of a size is slower
        clean = watch(denoise, frame.pixels)
        before.append(psnr_db(frame.clean, frame.pixels))
        after.append(psnr_db(frame.clean, clean))
        sink.write(frame, side_by_side(frame.pixels, clean))
    width, height = source.size_wh
    name = f"clip, {width}x{height}, {source.frame_count} frames"
    return _row(name, denoise, _db(float(np.mean(before))), _db(float(np.mean(after))), watch)


def _read_digits(denoise: Denoiser, classify: Classifier) -> tuple[list[Row], list[DigitResult]]:
    """Denoise the digits, and read them with and without."""
    images, labels = digits()
    count = len(images)
    rng = np.random.default_rng(_SEED)
    noise = rng.normal(DIGIT_NOISE_MEAN, DIGIT_NOISE_SIGMA, images.shape)
    noisy = to_uint8(images + 255 * noise)
    denoise(noisy[0])
    classify(noisy[0])
    denoising, classifying, results = Stopwatch(), Stopwatch(), []
    for image, label in zip(noisy, labels, strict=True):
        clean = denoising(denoise, image)
        answers = [classifying(classify, picture).label for picture in (image, clean)]
        results.append(DigitResult(str(label), image, clean, answers[0], answers[1]))
    before = np.mean([psnr_db(image, result.noisy) for image, result in zip(images, results, strict=True)])
    after = np.mean([psnr_db(image, result.clean) for image, result in zip(images, results, strict=True)])
    right_before = sum(result.read_noisy == result.label for result in results)
    right_after = sum(result.read_clean == result.label for result in results)
    right_without = sum(classify(image).label == str(label) for image, label in zip(images, labels, strict=True))
    read = (f"{right_before} of {count} right", f"{right_after} of {count} right")
    rows = [
        _row(f"{count} digits, denoised", denoise, _db(float(before)), _db(float(after)), denoising),
        _row(f"{count} digits, read ({right_without} right without noise)", classify, *read, classifying),
    ]
    return rows, results


def _row(what: str, task: Denoiser | Classifier, before: str, after: str, watch: Stopwatch) -> Row:
    name = task.card.name
    return Row(
        what=what,
        model=f"{name} {task.card.precision}",
        before=before,
        after=after,
        samples_ms=tuple(watch.samples_ms),
        model_bytes=find_model(name).stat().st_size,
        peak_rss_mb=peak_rss_mb(),
    )


def _db(value: float) -> str:
    return f"{value:.2f} dB"
