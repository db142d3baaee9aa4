"""Image quality measures, defined once: every figure that QuietFrame prints comes from here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import FrameError

PSNR_CAP_DB = 100.0
"""PSNR given for two identical images, instead of infinity, so that means stay finite."""

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
