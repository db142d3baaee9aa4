"""Add noise to clean images, seeded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_SIGMA_255 = 75.0
"""The greatest noise level, in 8-bit levels, that camera models are conditioned on."""


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
