"""What the command measured, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe_bench.speed import SpeedRow

CHAMPION = "digit-unet"
"""The recipe that every other digit denoiser is set against."""

SIGMAS = tuple(round(0.1 * step, 1) for step in range(13))
"""Of the noise for robustness, on the scale of [0, 1]."""


@dataclass(frozen=True)
class Reading:
    """What a classifier made of the test images with a noise, behind a denoiser or alone.

    Attributes:
        noise: its key, or `clean`.
        denoiser, classifier: names of the runs; denoiser None: the noisy images themselves.
        precision: `float` or `int8`, of both models.
        files: what ran, the denoiser's first.
        taken: (N,) int64, what each image was taken for.
        accuracy: share of those taken rightly.
    """

    noise: str
    denoiser: str | None
    classifier: str
    precision: str
    files: tuple[str, ...]
    taken: NDArray[np.int64]
    accuracy: float


@dataclass(frozen=True)
class Robustness:
    """Denoisers against N(0, σ²), clipped to 8 bits.

    Attributes:
        images: how many of the test images.
        classifier: the run that reads the denoised images; None: there is none.
        files: by run, what ran.
        psnr_db, accuracy: by run, a value for each of `SIGMAS`; under `None` without a denoiser. NaN: no value.
    """

    images: int
    classifier: str | None
    files: Mapping[str, str]
    psnr_db: Mapping[str | None, Sequence[float]]
    accuracy: Mapping[str | None, Sequence[float]]


@dataclass(frozen=True)
class Confusion:
    """Counts of a classifier's answers.

    Attributes:
        title: what was read, by what.
        classes: their names.
        counts: (true class, taken for) int64.
    """

    title: str
    classes: Sequence[str]
    counts: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of the right answers."""
        return float(np.trace(self.counts) / max(1, self.counts.sum()))


@dataclass(frozen=True)
class Chance:
    """What the mean RMSE of a few test images, drawn at random, may be: 5th and 95th percentile of the draws.

    Attributes:
        images: how many were drawn.
        low, high: the percentiles, on the scale of [0, 1].
    """

    images: int
    low: float
    high: float


@dataclass
class Measured:
    """Everything that the command measured.

    Attributes:
        digits: how many digits were read, and from which set; empty if none were.
        readings: see `Reading`.
        robustness: None: not measured.
        confusions: matrices that stand side by side, by the name of their figure.
        chances: of sources that report a few test images, by run and key of the noise.
        latency: by run, the rows of its files; None: not asked for.
        notes: what was not measured, and why.
        failures: what should have worked and did not.
    """

    digits: str = ""
    readings: list[Reading] = field(default_factory=list)
    robustness: Robustness | None = None
    confusions: dict[str, list[Confusion]] = field(default_factory=dict)
    chances: dict[tuple[str, str], Chance] = field(default_factory=dict)
    latency: dict[str, list[SpeedRow]] | None = None
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def accuracy(self, noise: str, denoiser: str | None, classifier: str, precision: str = "float") -> float | None:
        """Of a reading; None if there is none."""
        wanted = (noise, denoiser, classifier, precision)
        found = (r for r in self.readings if (r.noise, r.denoiser, r.classifier, r.precision) == wanted)
        return next((reading.accuracy for reading in found), None)


def confuse(title: str, classes: Sequence[str], labels: NDArray[np.int64], taken: NDArray[np.int64]) -> Confusion:
    """Count what images of each class were taken for."""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, taken), 1)
    return Confusion(title, classes, counts)


def chance(each: NDArray[np.floating[Any]], few: int, *, draws: int = 10_000) -> Chance:
    """Of the mean of `few` values of `each`, (N,), drawn without putting back; all of them where there are no more."""
    few = min(few, len(each))
    drawn = np.random.default_rng(0).permuted(np.tile(each, (draws, 1)), axis=1)[:, :few]
    low, high = np.percentile(drawn.mean(axis=1), (5, 95))
    return Chance(few, float(low), float(high))
