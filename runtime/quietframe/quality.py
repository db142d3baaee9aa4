"""Image quality measures, defined once: every figure that QuietFrame prints comes from here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import FrameError, MissingExtraError

PSNR_CAP_DB = 100.0
"""PSNR given for two identical images, in place of infinity, so that means stay finite."""

_SSIM_WINDOW = 11  # what σ 1.5, cut at 3.5 σ, spans


def psnr_db(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of two 8-bit images, in dB, over all pixels and channels.

    reference, image: uint8 arrays of the same shape. Identical images give `PSNR_CAP_DB`.
    Raises FrameError if a dtype is not uint8 or the shapes differ.
    """
    _check_pair(reference, image)
    difference = reference.astype(np.int16) - image
    mse = float(np.mean(np.square(difference, dtype=np.int32)))
    return PSNR_CAP_DB if mse == 0 else float(10 * np.log10(255.0**2 / mse))


def mean_psnr_db(pairs: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]) -> float:
    """The mean over images of each image's PSNR, in dB. This, not the PSNR of the pooled error, is reported."""
    values = [psnr_db(reference, image) for reference, image in pairs]
    if not values:
        raise FrameError("Expected at least one pair of images. Received: none")
    return float(np.mean(values))


def ssim(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window, σ 1.5, on 8-bit values, mean over channels.

    reference, image: (H, W) or (H, W, C) uint8, at least 11×11.
    Raises FrameError as `psnr_db` does, MissingExtraError without scikit-image.
    """
    _check_pair(reference, image)
    if min(reference.shape[:2]) < _SSIM_WINDOW:
        raise FrameError(f"Expected images of at least {_SSIM_WINDOW}×{_SSIM_WINDOW}. Received: {reference.shape}")
    try:
        from skimage.metrics import structural_similarity
    except ImportError as exc:
        raise MissingExtraError("scikit-image", "bench") from exc
    value: Any = structural_similarity(
        reference,
        image,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1 if reference.ndim == 3 else None,
    )
    return float(value)


def _check_pair(reference: NDArray[np.uint8], image: NDArray[np.uint8]) -> None:
    if not isinstance(reference, np.ndarray) or not isinstance(image, np.ndarray):
        raise FrameError(f"Expected two uint8 images. Received: {type(reference).__name__} and {type(image).__name__}")
    if reference.dtype != np.uint8 or image.dtype != np.uint8:
        raise FrameError(f"Expected two uint8 images. Received: {reference.dtype} and {image.dtype}")
    if reference.shape != image.shape or reference.size == 0:
        raise FrameError(f"Expected two images of one shape. Received: {reference.shape} and {image.shape}")
