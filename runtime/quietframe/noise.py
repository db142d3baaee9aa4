"""Noise: models that add it to clean images (seeded), and the noise level found in a frame."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.images import check_frame

MAX_SIGMA_255 = 75.0
"""The greatest noise level, in 8-bit levels, that the camera models are told."""


def to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round and clip values on the 8-bit scale, as a camera's output stage does."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def add_gaussian(image: NDArray[np.uint8], sigma_255: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Add white Gaussian noise and store the result as a camera would: rounded and clipped to 8 bits.

    image: uint8, any shape. sigma_255: standard deviation in 8-bit levels, ≥ 0. Returns the same shape, uint8.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    return to_uint8(image + np.float32(sigma_255) * noise)


def add_shot_read(
    image: NDArray[np.uint8], shot_255: float, read_255: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Add signal-dependent sensor noise, heteroscedastic Gaussian (Foi et al. 2008), rounded and clipped.

    The variance at a level x in [0, 255] is `shot_255² · x / 255 + read_255²`.
    image: uint8, any shape. shot_255: deviation of the photon noise at full white, in 8-bit levels; read_255:
    deviation of the read noise. Returns the same shape, uint8.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    level = np.arange(256, dtype=np.float32)
    deviation = np.sqrt(np.float32(shot_255) ** 2 * level / 255 + np.float32(read_255) ** 2)
    return to_uint8(image + deviation[image] * noise)


_BLOCK = 16
_STRIPS = 8
_QUANTILE = 0.3
_KERNEL = np.array([2.0, -4.0, 2.0])  # twice Immerkær's, each way: block means are rounded to integers
_KERNEL_NORM = 24.0  # deviation of the answer to noise of deviation 1
# Readings of the 30th percentile over BSDS500 training photographs at known levels: texture lifts low
# readings, clipping at black and white lowers high ones.
_READING_255 = (0.0, 2.47, 5.28, 14.58, 23.64, 43.77, 58.8)
_LEVEL_255 = (0.0, 2.0, 5.0, 15.0, 25.0, 50.0, 75.0)


def estimate_noise(frame: NDArray[np.uint8]) -> float:
    """The noise level of a frame: standard deviation in 8-bit levels, for noise that is white.

    Immerkær's second-difference mask (1996) over 16×16 blocks of up to eight strips of the green channel; the
    30th percentile of the blocks leaves texture out, and a table measured on photographs corrects what remains.
    Noise that was demosaiced or compressed reads too low.

    frame: (H, W, 3) BGR or (H, W) gray, uint8. Returns a value in [0, 75]; 0 for frames below 3×3.
    Raises FrameError if the array is not a frame.
    """
    check_frame(frame)
    height, width = frame.shape[:2]
    block = min(_BLOCK, height - 2, width - 2)
    if block < 1:
        return 0.0
    strips = min(_STRIPS, height // (block + 2))
    tops = np.linspace(0, height - block - 2, strips).astype(int)
    plane = frame if frame.ndim == 2 else frame[:, :, 1]
    columns = (width - 2) // block
    means = []
    # Strip by strip: what is needed at once then fits the cache, and is too small to be mapped anew every time.
    for top in tops:
        strip = np.ascontiguousarray(plane[top : top + block + 2])
        second = cv2.sepFilter2D(strip, cv2.CV_16S, _KERNEL, _KERNEL)
        inner = np.abs(second, out=second)[1:-1, 1 : 1 + columns * block]
        means.append(cv2.resize(inner, (columns, 1), interpolation=cv2.INTER_AREA))
    # A Gaussian's mean magnitude is sqrt(2/pi) of its deviation.
    # Not np.percentile, which takes as long as all the rest.
    ranked = np.sort(np.concatenate(means), axis=None)
    rank = _QUANTILE * (len(ranked) - 1)
    reading = float(np.interp(rank, np.arange(len(ranked)), ranked)) * math.sqrt(math.pi / 2) / _KERNEL_NORM
    return float(np.interp(reading, _READING_255, _LEVEL_255))
