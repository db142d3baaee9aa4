"""The user's frames: to calibrate with, and to verify files on."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.errors import SourceError, UsageError
from quietframe.noise import to_uint8
from quietframe.noise.formats import FORMATS, deliver_noisy
from quietframe_train.data.base import Sample
from quietframe_train.data.photos import (
    CALIBRATION_PATCHES,
    CALIBRATION_SIDE,
    HELD_OUT_FRAMES,
    image_files,
    read_each,
)

MIN_SIDE = 8
_MAX_LEVEL = 255.0
_MAX_IMAGES = 512
_FORMAT_SIGMA_255 = 10.0  # of the noise that a camera format is applied to

Frame: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Noise:
    """What is done to clean frames. `sigma_255`: its standard deviation, for models that are passed a level."""

    text: str
    sigma_255: float
    apply: Callable[[Frame, np.random.Generator], Frame]


def parse_noise(text: str) -> Noise:
    """Read `gaussian:25`, `gaussian:128,mean=128` (8-bit levels), `uniform:0.9` (of [0, 1]) or a camera's format.

    A number alone is Gaussian. Raises UsageError for anything else.
    """
    match = re.fullmatch(r"(?:(gaussian|uniform):)?([\d.]+)(?:,mean=(-?[\d.]+))?", text)
    if text in FORMATS:
        form, sigma = FORMATS[text], _FORMAT_SIGMA_255
        return Noise(
            f"Gaussian noise sigma {sigma:g} as {text}", sigma, lambda frame, rng: _delivered(frame, sigma, form, rng)
        )
    try:
        kind, value = (match[1] or "gaussian", float(match[2])) if match else ("", -1.0)
        mean = float(match[3] or 0) if match else 0.0
    except ValueError:
        kind, value, mean = "", -1.0, 0.0
    if kind == "uniform" and 0 < value <= 1 and match and match[3] is None:
        return Noise(
            f"uniform noise in [0, {value:g})",
            255 * value / 12**0.5,
            lambda frame, rng: to_uint8(frame + 255 * value * rng.random(frame.shape)),
        )
    if kind == "gaussian" and 0 <= value <= _MAX_LEVEL and abs(mean) <= _MAX_LEVEL:
        words = f"Gaussian noise sigma {value:g}" + (f", mean {mean:g}" if mean else "") if value else "no noise added"
        return Noise(
            words, value, lambda frame, rng: to_uint8(frame + rng.normal(mean, value, frame.shape)) if value else frame
        )
    raise UsageError(
        f"Expected --noise gaussian:LEVEL or gaussian:LEVEL,mean=LEVEL (of 255), uniform:SHARE (of 1), or one of "
        f"{', '.join(FORMATS)}. Received: {text!r}"
    )


def _delivered(frame: Frame, sigma_255: float, form: object, rng: np.random.Generator) -> Frame:
    colour = frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
    found = deliver_noisy(colour, sigma_255, form, rng)  # type: ignore[arg-type]
    return found if frame.ndim == 3 else cv2.cvtColor(found, cv2.COLOR_BGR2GRAY)


@dataclass(frozen=True)
class Frames:
    """Frames to calibrate with and to hold out, what they are in words, and whether noisy and clean are both given."""

    calibration: Sequence[Sample]
    held_out: Sequence[Sample]
    origin: str
    paired: bool


def read_frames(source: str | Path, card: ModelCard, noise: Noise, rng: np.random.Generator) -> Frames:
    """Read frames, add noise for a denoiser, hold a quarter out.

    source: a folder of images of at least 8×8, with subfolders `noisy` and `clean` one of pairs of the same names; a
    .npy array or a .npz file of one array, or of `noisy` and `clean`.
    Where a model takes whole images they stay whole, otherwise patches are cut.
    Raises SourceError: no such images, fewer than four, or arrays that are none.
    """
    source = Path(source)
    pairs = _read(source)
    if len(pairs) < 4:
        raise SourceError(f"{source}: {len(pairs)} usable images, at least 4 are needed")
    order = rng.permutation(len(pairs))
    pairs = [pairs[index] for index in order]
    paired = pairs[0][1] is not None
    denoises = "denoise" in card.task
    whole = card.spatial.kind == "fixed" and card.spatial.fit == "resize"
    held_out = max(1, len(pairs) // 4)
    # TFLite's calibrator takes one size for all.
    side = min(CALIBRATION_SIDE, *(length for frame, _ in pairs for length in frame.shape[:2]))

    def samples(chosen: Sequence[tuple[Frame, Frame | None]], count: int) -> list[Sample]:
        found = []
        for index in range(min(count, len(chosen)) if whole else count):
            frame, clean = chosen[index % len(chosen)]
            if not whole:
                frame, clean = _cut(frame, clean, side, rng)
            if denoises and not paired:
                frame, clean = noise.apply(frame, rng), frame
            found.append(Sample(frame, clean if denoises else None))
        return found

    what = "pairs" if paired else noise.text if denoises else "no noise added"
    calibration = samples(pairs[held_out:], CALIBRATION_PATCHES)
    return Frames(calibration, samples(pairs[:held_out], HELD_OUT_FRAMES), f"{source}, {what}", paired)


def _cut(frame: Frame, clean: Frame | None, side: int, rng: np.random.Generator) -> tuple[Frame, Frame | None]:
    """Cut the same square out of a frame and its clean one."""
    top, left = (int(rng.integers(size - side + 1)) for size in frame.shape[:2])
    place = np.s_[top : top + side, left : left + side]
    return frame[place], None if clean is None else clean[place]


def _read(source: Path) -> list[tuple[Frame, Frame | None]]:
    if source.suffix.lower() in (".npy", ".npz"):
        return _read_arrays(source)
    noisy, clean = source / "noisy", source / "clean"
    if noisy.is_dir() and clean.is_dir():
        names = _some([path.name for path in image_files(noisy, "images") if (clean / path.name).is_file()])
        if not names:
            raise SourceError(f"{source}: no file of noisy/ has one of the same name in clean/")
        pairs = [(_read_images([noisy / name]), _read_images([clean / name])) for name in names]
        return [_checked_pair(a[0], b[0], str(source)) for a, b in pairs if a and b]
    return [(frame, None) for frame in _read_images(_some(image_files(source, "images")))]


def _some(all_of: Any) -> Any:
    """Take as many as are of use, evenly."""
    return all_of[:: -(-len(all_of) // _MAX_IMAGES) or 1]


def _read_images(paths: Sequence[Path]) -> list[Frame]:
    skipped: list[str] = []
    return [frame for _, frame in read_each(paths, skipped) if min(frame.shape[:2]) >= MIN_SIDE]


def _checked_pair(noisy: Frame, clean: Frame, origin: str) -> tuple[Frame, Frame]:
    if noisy.shape != clean.shape:
        raise SourceError(f"{origin}: a noisy image of shape {noisy.shape} and a clean one of {clean.shape}")
    return noisy, clean


def _read_arrays(source: Path) -> list[tuple[Frame, Frame | None]]:
    try:
        loaded = np.load(source, allow_pickle=False)
        arrays = {"images": loaded} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, zipfile.BadZipFile) as exc:
        raise SourceError(f"{source}: not a file of NumPy arrays ({exc})") from exc
    if arrays.keys() >= {"noisy", "clean"}:
        both = (_as_frames(arrays[name], f"{source}: {name}") for name in ("noisy", "clean"))
        return [_checked_pair(frame, of_frame, str(source)) for frame, of_frame in zip(*both, strict=False)]
    images = [name for name, array in arrays.items() if array.ndim > 1]
    chosen = images[0] if len(images) == 1 else next((name for name in ("images", "x_train") if name in images), None)
    if chosen is None:
        raise SourceError(f"{source}: holds {', '.join(arrays)}: expected noisy and clean, or images")
    return [(frame, None) for frame in _as_frames(arrays[chosen], f"{source}: {chosen}")]


def _as_frames(array: NDArray[np.generic], origin: str) -> list[Frame]:
    """Bring (N, H, W), (N, H, W, 1), (N, H, W, 3) RGB or (N, H·W) to 8-bit gray or BGR frames.

    Floats are in [0, 1], or in [0, 255] where one is greater than 1.
    """
    side = round(array.shape[1] ** 0.5) if array.ndim == 2 else 0
    if array.ndim == 2 and side**2 == array.shape[1]:
        array = array.reshape(-1, side, side)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    is_colour = array.ndim == 4 and array.shape[3] == 3
    if not (is_colour or array.ndim == 3) or min(array.shape[1:3]) < MIN_SIDE or array.dtype.kind not in "uif":
        raise SourceError(
            f"{origin} is {array.dtype} of shape {array.shape}: expected images, (N, H, W) gray or (N, H, W, 3) RGB, "
            f"of at least {MIN_SIDE}x{MIN_SIDE}"
        )
    array = _some(array)
    if array.dtype != np.uint8:
        values = np.asarray(array, np.float32)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > _MAX_LEVEL:
            raise SourceError(f"{origin} holds values outside [0, 255]: expected images in [0, 1] or [0, 255]")
        array = to_uint8(values * (255 if array.dtype.kind == "f" and values.max() <= 1 else 1))
    return [np.ascontiguousarray(frame[..., ::-1] if is_colour else frame) for frame in array.astype(np.uint8)]
