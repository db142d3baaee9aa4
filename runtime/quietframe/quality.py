"""Image quality measures, defined once: every figure that QuietFrame prints comes from here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import FrameError

PSNR_CAP_DB = 100.0
"""PSNR given for two identical images, instead of infinity, so that means stay finite."""

UNCOVERED_FRAMES = 3
"""For so many frames what came into view counts as just uncovered."""

_DIFFERS_255 = 4.0  # by so much a place must look different than before, in the mean over 5×5 pixels
_SSIM_SIGMA = 1.5
_SSIM_WINDOW = 11  # what the Gaussian spans, cut at 3.5 σ
_SSIM_C1, _SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr_db(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two 8-bit images, in dB, over all pixels and channels.

    reference, image: uint8 arrays of the same shape. Identical images give `PSNR_CAP_DB`.
    Raises FrameError if a dtype is not uint8 or the shapes differ.
    """
    _check_pair(reference, image)
    difference = reference.astype(np.int16) - image
    mse = float(np.mean(np.square(difference, dtype=np.int32)))
    return PSNR_CAP_DB if mse == 0 else float(10 * np.log10(255.0**2 / mse))


psnr = psnr_db
"""The public name of `psnr_db`: `quietframe.psnr`."""


def mean_psnr_db(pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> float:
    """The mean over images of each image's PSNR, in dB. This, not the PSNR of the pooled error, is reported."""
    values = [psnr_db(reference, image) for reference, image in pairs]
    if not values:
        raise FrameError("Expected at least one pair of images. Received: none")
    return float(np.mean(values))


def flicker_255(
    before: tuple[NDArray[np.uint8], NDArray[np.uint8]], now: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> float:
    """How much the error changes from one frame to the next: the mean magnitude, in 8-bit levels.

    That is mean |(image_t − reference_t) − (image_{t−1} − reference_{t−1})| over all pixels and channels: 0 where the
    error stays the same, whatever moves in the picture.
    before, now: (reference, image) of two successive frames, uint8 arrays of one shape. Raises FrameError as
    `psnr_db` does, and if the frames differ in shape.
    """
    _check_pair(*before)
    _check_pair(*now)
    _check_pair(before[0], now[0])
    errors = [image.astype(np.int16) - reference for reference, image in (before, now)]
    return float(np.mean(np.abs(errors[1] - errors[0])))


def just_uncovered(frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.bool_]]:
    """Find in each frame of a video where ghosts can be: what was covered in one of the three frames before.

    By dense optical flow (OpenCV's DIS, preset medium, at full size) between each frame and the one before, there and
    back. A pixel comes into view where the flow back and the flow from there do not cancel out (Sundaram et al. 2010,
    with half their constant) and something else was to be seen in that place; but not where it comes in across the
    border. That is cleaned by an opening of 3×3 pixels, and moves along with the flow for two more frames.
    frames: clean ones, (H, W, 3) or (H, W) uint8, all of one shape. Yields (H, W) bool for each.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)
    before: tuple[NDArray[Any], NDArray[Any]] | None = None
    frames_left = np.zeros(0, np.uint8)
    for frame in frames:
        gray = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else frame
        if before is None:
            frames_left = np.zeros(gray.shape, np.uint8)
        else:
            back, ahead = flow.calc(gray, before[1], None), flow.calc(before[1], gray, None)
            height, width = gray.shape
            places = back + np.dstack(
                np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
            )
            ahead = cv2.remap(ahead, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            lengths = np.sum(back * back + ahead * ahead, axis=2)
            comes = np.sum((back + ahead) ** 2, axis=2) > 0.01 * lengths + 0.25
            comes &= ((places >= 0) & (places <= (width - 1, height - 1))).all(axis=2)
            changes = cv2.absdiff(frame, before[0]).reshape(height, width, -1).mean(axis=2, dtype=np.float32)
            comes &= cv2.blur(changes, (5, 5)) > _DIFFERS_255
            comes = cv2.morphologyEx(comes.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
            frames_left = cv2.remap(frames_left, places, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
            frames_left = np.where(comes, UNCOVERED_FRAMES, np.maximum(frames_left, 1) - 1).astype(np.uint8)
        before = frame, gray
        yield frames_left > 0


def ghost_255(
    frames: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]],
) -> float | None:
    """Root of the mean squared error where a video was just uncovered, in 8-bit levels; None where it never was.

    frames: (reference, image, mask) of each frame, see `just_uncovered`; all its pixels and channels count alike.
    Raises FrameError as `psnr_db` does.
    """
    total, count = 0.0, 0
    for reference, image, mask in frames:
        _check_pair(reference, image)
        errors = reference[mask].astype(np.int32) - image[mask]
        total, count = total + float(np.sum(errors * errors)), count + errors.size
    return float(np.sqrt(total / count)) if count else None


def ssim(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window, σ 1.5, on 8-bit values, mean over channels.

    reference, image: (H, W) or (H, W, C) uint8, at least 11×11. Windows that cross the border do not count, as in
    scikit-image, whose value this is; OpenCV's filters are ten times as fast on small images.
    Raises FrameError as `psnr_db` does.
    """
    _check_pair(reference, image)
    if min(reference.shape[:2]) < _SSIM_WINDOW:
        raise FrameError(f"Expected images of at least {_SSIM_WINDOW}×{_SSIM_WINDOW}. Received: {reference.shape}")
    x, y = reference.astype(np.float64), image.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x) + _windowed(y * y) - mean_x * mean_x - mean_y * mean_y
    covariance = _windowed(x * y) - mean_x * mean_y
    structure = (2 * covariance + _SSIM_C2) / (variances + _SSIM_C2)
    likeness = (2 * mean_x * mean_y + _SSIM_C1) / (mean_x * mean_x + mean_y * mean_y + _SSIM_C1)
    edge = _SSIM_WINDOW // 2
    return float(np.mean((structure * likeness)[edge:-edge, edge:-edge]))


def _windowed(image: NDArray[np.float64]) -> NDArray[Any]:
    return cv2.GaussianBlur(image, (_SSIM_WINDOW, _SSIM_WINDOW), _SSIM_SIGMA)


def _check_pair(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    if not isinstance(reference, np.ndarray) or not isinstance(image, np.ndarray):
        raise FrameError(f"Expected two uint8 images. Received: {type(reference).__name__} and {type(image).__name__}")
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise FrameError(f"Expected two uint8 images. Received: {reference.dtype} and {image.dtype}")
    if reference.shape != image.shape or reference.size == 0:
        raise FrameError(f"Expected two images of one shape. Received: {reference.shape} and {image.shape}")
