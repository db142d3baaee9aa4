"""What the sources of the recipes report of their own trainings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reported:
    """A source's own figure.

    Attributes:
        figure: as metrics.json names it.
        values: one for each of the images that the source names, or one for all.
        what: what it was measured on, and what to know of it.
        epochs: it is the source's figure after so many epochs; None: at the end of its training.
    """

    figure: str
    values: tuple[float, ...]
    what: str
    epochs: int | None = None

    @property
    def mean(self) -> float:
        """Of the values."""
        return float(np.mean(self.values))


_FIVE = "five test images, the mean of their RMSE"
_BOTTLENECK = (
    Reported("bce_normal0.5", (0.0939,), "test BCE (training: 0.0921); its log goes on from an earlier training"),
)

REPORTED: Mapping[str, tuple[Reported, ...]] = {
    "digit-classifier": (
        Reported("accuracy", (0.976,), "clean test digits"),
        Reported("accuracy_uniform0.9", (0.197,), "the same with noise"),
    ),
    "bottleneck-autoencoder": _BOTTLENECK,
    "bottleneck-autoencoder-long": _BOTTLENECK,
    "color-autoencoder": (
        Reported("rmse_gray0.4", (0.1111, 0.0965, 0.0751, 0.0945, 0.1146), _FIVE, epochs=10),
        Reported("rmse_gray0.4", (0.0778, 0.0690, 0.0522, 0.0479, 0.0693), _FIVE, epochs=50),
    ),
    "color-autoencoder-k02": (Reported("rmse_gray0.2", (0.0651, 0.0547, 0.0424, 0.0365, 0.0554), _FIVE, epochs=50),),
}
"""Figures by recipe."""

IN_WORDS: Mapping[str, str] = {
    "dense-autoencoder": "pictures only",
    "denoise-and-classify": "pictures only",
    "conv-autoencoder": "pictures only",
    "latent-autoencoder": "pictures only: robust at σ 0.5 and 0.75, some digits wrong at 1.0",
    "bottleneck-autoencoder-deep": "not trained in its source",
}
"""What sources without figures say, by recipe."""


def reported_of(recipe: str, epochs_run: int) -> list[Reported]:
    """The source's figures that a training of so many epochs is to be set beside."""
    return [found for found in REPORTED.get(recipe, ()) if found.epochs in (None, epochs_run)]
