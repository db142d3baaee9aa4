"""Images of one size in memory, with their classes: what the digit recipes and those of whole pictures train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms


@dataclass(frozen=True)
class ImageSet:
    """Images of one size and their classes.

    Attributes:
        images: (N, height, width, channels) uint8; gray with 1 channel, colour BGR with 3.
        labels: (N,) int64, the index of each image's class; zeros where there are no classes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def scaled(self) -> NDArray[np.float32]:
        """The images as the models take them: float32 in [0, 1]."""
        return self.images * np.float32(1 / 255)

    def first(self, count: int) -> ImageSet:
        """The first `count` of them."""
        return ImageSet(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class ImageSplits:
    """What trains, what is watched while it does, and what is looked at once, at the end.

    Attributes:
        training, validation, test: images of one size.
        classes: the classes' names, in the order of the labels; empty where there are none.
        terms: known where the content is a known data set's, otherwise None.
        unreadable: one line for each file that was skipped, with the reason.
    """

    training: ImageSet
    validation: ImageSet
    test: ImageSet
    classes: tuple[str, ...] = ()
    terms: DataTerms | None = None
    unreadable: Sequence[str] = ()
