"""What a camera's noise is like, as `quietframe calibrate` measures it, and how its defects are taken out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import FrameError, UsageError
from quietframe.serde import from_record, to_record

BGR = tuple[float, float, float]

VERSION = 1
_HOT_KERNEL = 5  # pixels, of the median that replaces a hot one: demosaicing spreads it over three


@dataclass(frozen=True)
class CameraProfile:
    """The noise of a camera at one setting: size, format, exposure and gain. A JSON file, by convention camera.json.

    Attributes:
        size_wh: of its frames, in pixels.
        brightness_255: 8-bit levels, rising, at which `sigma_255` is known.
        sigma_255: deviation of the noise there, in 8-bit levels: of blue, green and red.
        measured_255: darkest and brightest level that the still scene showed; beyond, `sigma_255` is calculated from
            `gain` and `read`.
        gain, read: a and b of the variance a·x + b of the noise, where x in [0, 1] is linear light (of an sRGB frame),
            of blue, green and red: the slope of the photon transfer curve, and what is left in the dark.
        autocorrelation: of the noise of Y, Cr and Cb, a (5, 5) list each: how alike the noise is so many pixels below
            and to the right, as a share of its variance.
        ycc_sigma: deviation of the noise of Y, Cr and Cb, as a share of that of Y.
        temporal_correlation: of the noise from frame to frame; 0: none.
        blockiness: how much more the noise differs across the borders of 8×8 blocks than within them; 1: no more.
        chroma_detail: how much noise of the finest chroma detail there is, across and down, as a share of what white
            noise has; 0: every second pixel of the chroma is made of its neighbours.
        black_255: brightness of a frame in the dark; None: not measured.
        hot_pixels: (x, y) of each.
        columns, rows: offset of each column and row in linear light, of blue, green and red; empty: none.
        frames: how many of the still scene were measured.
        warnings: what is in doubt, a line each.
        version: of this format.
    """

    size_wh: tuple[int, int]
    brightness_255: tuple[float, ...]
    sigma_255: tuple[BGR, ...]
    measured_255: tuple[float, float]
    gain: BGR
    read: BGR
    autocorrelation: tuple[tuple[tuple[float, ...], ...], ...]
    ycc_sigma: tuple[float, float, float]
    temporal_correlation: float
    blockiness: float
    chroma_detail: tuple[float, float]
    black_255: float | None = None
    hot_pixels: tuple[tuple[int, int], ...] = ()
    columns: tuple[BGR, ...] = ()
    rows: tuple[BGR, ...] = ()
    frames: int = 0
    warnings: tuple[str, ...] = field(default=())
    version: int = VERSION

    def correct(self, frame: NDArray[Any]) -> NDArray[Any]:
        """Take off the offsets of rows and columns, then replace hot pixels. Returns a new frame, or the same if none.

        frame: (H, W, 3) BGR or (H, W) gray, uint8 or uint16. Raises FrameError if its size is not the camera's.
        """
        if frame.shape[1::-1] != tuple(self.size_wh):
            raise FrameError(
                f"the camera was calibrated at {self.size_wh[0]}x{self.size_wh[1]}, the frame has "
                f"{frame.shape[1]}x{frame.shape[0]}: calibrate at this size (quietframe calibrate)"
            )
        if self.columns or self.rows:
            top = np.iinfo(frame.dtype).max
            offset = self._offset if frame.ndim == 3 else self._offset[:, :, 1]
            # The same offset in light is a smaller one in a brighter place, by the slope of the tone curve.
            values = frame if frame.dtype == np.uint8 else cv2.convertScaleAbs(frame, alpha=1 / 257)
            share = cv2.LUT(values, tone_slopes().astype(np.float32))
            frame = np.clip(np.rint(frame - share * offset * top), 0, top).astype(frame.dtype)
        if self.hot_pixels:
            x, y = self._hot
            replaced = cv2.medianBlur(frame, _HOT_KERNEL)[y, x]
            frame = frame.copy()
            frame[y, x] = replaced
        return frame

    @cached_property
    def _hot(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Columns and rows of the hot pixels and of those around, which demosaicing spoilt."""
        width, height = self.size_wh
        mask = np.zeros((height, width), np.uint8)
        x, y = np.asarray(self.hot_pixels).T
        mask[y, x] = 1
        rows, columns = np.nonzero(cv2.dilate(mask, np.ones((3, 3), np.uint8)))
        return columns, rows

    @cached_property
    def _offset(self) -> NDArray[np.float32]:
        width, height = self.size_wh
        columns = np.asarray(self.columns or [(0.0,) * 3] * width, np.float32)
        rows = np.asarray(self.rows or [(0.0,) * 3] * height, np.float32)
        return columns[None] + rows[:, None]


def to_light(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Undo sRGB's tone curve (IEC 61966-2-1). values: in [0, 1]; returns linear light in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_srgb(light: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply sRGB's tone curve: the inverse of `to_light`."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


@cache
def tone_slopes() -> NDArray[np.float64]:
    """Return the slope of sRGB's tone curve at each 8-bit level, (256,): 0 at black and white, which are clipped."""
    light = to_light(np.arange(256) / 255)
    slopes = np.where(light <= 0.0031308, 12.92, 1.055 / 2.4 * np.maximum(light, 1e-6) ** (1 / 2.4 - 1))
    slopes[[0, 255]] = 0
    return slopes


def read_profile(path: str | Path) -> CameraProfile:
    """Read a camera's profile from its JSON file.

    Raises UsageError if there is no such file, or if it is no profile of this version.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        profile = from_record(record, CameraProfile, {CameraProfile.__name__: CameraProfile})
        _check(profile)
    except OSError as exc:
        raise UsageError(f"{path}: cannot be read ({exc.strerror}): quietframe calibrate makes it") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{path}: not a camera's profile ({exc}): quietframe calibrate makes one") from exc
    return profile


def write_profile(profile: CameraProfile, path: Path, *, overwrite: bool = False) -> None:
    """Write a camera's profile as JSON. Raises OutputError if the file exists (without `overwrite`) or cannot be."""
    from quietframe.images import write_whole

    write_whole(path, (json.dumps(to_record(profile), indent=1) + "\n").encode(), overwrite=overwrite)


def _check(profile: CameraProfile) -> None:
    """Raise ValueError for what no camera has: files come from anywhere."""
    (width, height), known = profile.size_wh, profile.brightness_255
    if profile.version != VERSION:
        raise ValueError(f"version {profile.version}, expected {VERSION}")
    if not (0 < width <= 65535 and 0 < height <= 65535):
        raise ValueError(f"size_wh: expected a frame's size, received {width}x{height}")
    if len(known) < 2 or len(known) != len(profile.sigma_255) or any(a >= b for a, b in pairwise(known)):
        raise ValueError("brightness_255 and sigma_255: expected as many of both, two at least, rising")
    if not all(0 <= sigma <= 255 for each in profile.sigma_255 for sigma in each):
        raise ValueError("sigma_255: expected levels in [0, 255]")
    if not all(0 <= value <= 1 for value in (*profile.gain, *profile.read)):
        raise ValueError("gain, read: expected numbers in [0, 1]")
    if not all(0 <= x < width and 0 <= y < height for x, y in profile.hot_pixels):
        raise ValueError(f"hot_pixels: expected places in a frame of {width}x{height}")
    offsets = profile.columns, profile.rows
    if any(len(each) not in (0, size) for each, size in zip(offsets, profile.size_wh, strict=True)):
        raise ValueError("columns, rows: expected an offset for each column and row, or none")
    if not all(-1 <= value <= 1 for each in offsets for line in each for value in line):
        raise ValueError("columns, rows: expected offsets in [-1, 1]")
    if not all(0 <= sigma <= 255 for sigma in profile.ycc_sigma) or profile.ycc_sigma[0] == 0:
        raise ValueError("ycc_sigma: expected shares of the first, which is 1")
    for part in profile.autocorrelation:
        if [len(row) for row in part] != [5] * 5 or part[0][0] != 1 or any(abs(x) > 1 for row in part for x in row):
            raise ValueError("autocorrelation: expected three lists of 5×5 in [-1, 1], each beginning with 1")
    if len(profile.autocorrelation) != 3:
        raise ValueError("autocorrelation: expected three lists, of Y, Cr and Cb")
