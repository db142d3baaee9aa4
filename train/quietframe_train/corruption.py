"""What a recipe does to clean images before the model sees them. NumPy only, drawn anew at every call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quietframe.noise import MAX_SIGMA_255, add_gaussian, add_shot_read


class Corruption(Protocol):
    """A noise model with its parameters. What `apply` takes depends on the data: digits are float, frames 8-bit."""

    def describe(self) -> str:
        """One line for the model card."""
        ...


@dataclass(frozen=True)
class NoNoise:
    """Images stay clean."""

    def apply(self, clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return `clean`."""
        return clean

    def describe(self) -> str:
        """One line for the model card."""
        return "none (clean images)"


@dataclass(frozen=True)
class NormalNoise:
    """Add N(mean, sigma²) to images in [0, 1] and clip the sum to [0, 1]."""

    mean: float
    sigma: float

    def apply(self, clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """clean: any shape, float32 in [0, 1]. Returns the same shape and range, with new noise."""
        noise = rng.standard_normal(clean.shape, dtype=np.float32)
        noisy: NDArray[np.float32] = clean + np.float32(self.mean) + np.float32(self.sigma) * noise
        return np.clip(noisy, 0, 1)

    def describe(self) -> str:
        """One line for the model card."""
        return f"additive N(mean {self.mean}, sigma {self.sigma}) on [0, 1], clipped"


@dataclass(frozen=True)
class CameraNoise:
    """Noise of a random level on 8-bit frames, rounded and clipped, with a told level that is a bit wrong.

    Attributes:
        max_sigma_255: levels are drawn evenly from [0, this], in 8-bit levels.
        level_error: the told level is wrong by up to this share, so that an estimate may be, too.
        shot_share: share of frames with signal-dependent (shot and read) noise in place of white noise.
    """

    max_sigma_255: float = 60.0
    level_error: float = 0.25
    shot_share: float = 0.25

    def apply(
        self, clean: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """clean: (N, H, W, 3) uint8. Returns noisy frames of that shape, uint8, and the told levels, (N,) in 8-bit
        levels.
        """
        noisy = np.empty_like(clean)
        told = np.empty(len(clean), np.float32)
        for index, frame in enumerate(clean):
            sigma_255 = rng.uniform(0, self.max_sigma_255)
            if rng.random() < self.shot_share:
                share = rng.uniform(0.2, 1.0)  # of the variance, at middle gray, that is shot noise
                noisy[index] = add_shot_read(frame, sigma_255 * np.sqrt(2 * share), sigma_255 * np.sqrt(1 - share), rng)
                level = float(np.mean(frame)) / 255
                sigma_255 *= np.sqrt(2 * share * level + (1 - share))
            else:
                noisy[index] = add_gaussian(frame, sigma_255, rng)
            told[index] = sigma_255 * (1 + rng.uniform(-self.level_error, self.level_error))
        return noisy, np.clip(told, 0, MAX_SIGMA_255)

    def describe(self) -> str:
        """One line for the model card."""
        return (
            f"Gaussian, sigma 0 to {self.max_sigma_255:g} of 255, rounded and clipped to 8 bits; "
            f"{self.shot_share:.0%} of the frames with shot and read noise; "
            f"told level up to {self.level_error:.0%} wrong"
        )
