"""What a recipe does to clean images before the model sees them. NumPy only, drawn anew at every call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class ImageCorruption(ABC):
    """A noise model for images of one size, as digits and resized images are."""

    @property
    @abstractmethod
    def key(self) -> str:
        """A short name for figures, such as `normal0.5`: it tells the noises of all recipes apart."""

    @abstractmethod
    def apply(self, clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """clean: (N, height, width, channels) float32 in [0, 1]. Returns the same shape, with new noise."""

    @abstractmethod
    def describe(self) -> str:
        """One line for the model card."""


@dataclass(frozen=True)
class NoNoise(ImageCorruption):
    """Images stay clean."""

    key = "clean"

    def apply(self, clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        return clean

    def describe(self) -> str:
        return "none (clean images)"


@dataclass(frozen=True)
class UniformNoise(ImageCorruption):
    """Add noise drawn evenly from [0, high) to images in [0, 1] and clip the sum to [0, 1]."""

    high: float

    @property
    def key(self) -> str:
        return f"uniform{self.high:g}"

    def apply(self, clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        noisy: NDArray[np.float32] = clean + np.float32(self.high) * rng.random(clean.shape, dtype=np.float32)
        return np.minimum(noisy, 1)

    def describe(self) -> str:
        return f"additive, uniform in [0, {self.high:g}), on [0, 1], clipped"


@dataclass(frozen=True)
class NormalNoise(ImageCorruption):
    """Add N(mean, sigma²) to images in [0, 1].

    Attributes:
        mean, sigma: of the noise, on the scale of [0, 1].
        clip: whether the sum is clipped to [0, 1]. Without, it does not fit an 8-bit image.
        shared: one value for all channels of a pixel, so that the noise is gray.
        lowest_sigma: each image's sigma is drawn evenly from [this, `sigma`]; None: it is always `sigma`.
    """

    mean: float
    sigma: float
    clip: bool = True
    shared: bool = False
    lowest_sigma: float | None = None

    @property
    def key(self) -> str:
        mean = f"mean{self.mean:g}" if self.mean else ""
        sigma = f"{'' if self.lowest_sigma is None else f'{self.lowest_sigma:g}to'}{self.sigma:g}"
        return f"{'gray' if self.shared else 'normal'}{sigma}{mean}{'' if self.clip else 'unclipped'}"

    def apply(self, clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        shape = (*clean.shape[:-1], 1) if self.shared else clean.shape
        noisy: NDArray[np.float32] = rng.standard_normal(shape, dtype=np.float32)
        if self.lowest_sigma is None:
            noisy *= np.float32(self.sigma)
        else:
            noisy *= rng.uniform(self.lowest_sigma, self.sigma, (len(clean), 1, 1, 1)).astype(np.float32)
        noisy = clean + np.float32(self.mean) + noisy
        return np.clip(noisy, 0, 1) if self.clip else noisy

    def describe(self) -> str:
        kind = "additive, gray" if self.shared else "additive"
        clip = "clipped" if self.clip else "not clipped (8-bit images hold only [0, 1])"
        sigma = f"{'' if self.lowest_sigma is None else f'{self.lowest_sigma:g} to '}{self.sigma:g}"
        return f"{kind} N(mean {self.mean:g}, sigma {sigma}) on [0, 1], {clip}"


@dataclass(frozen=True)
class MixedNoise(ImageCorruption):
    """Each image gets one of several noises, drawn evenly."""

    parts: tuple[ImageCorruption, ...]
    name: str = "mixed"

    @property
    def key(self) -> str:
        return self.name

    def apply(self, clean: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        noisy = np.empty_like(clean)
        which = rng.integers(len(self.parts), size=len(clean))
        for index, part in enumerate(self.parts):
            noisy[which == index] = part.apply(clean[which == index], rng)
        return noisy

    def describe(self) -> str:
        return "one of: " + "; ".join(part.describe() for part in self.parts)
