"""Batches for `Model.fit`: each drawn from (seed, epoch, index), so noise is new every time and a resumed
training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math

import keras
import numpy as np

from quietframe_train.augmentation import augmented
from quietframe_train.corruption import ImageCorruption
from quietframe_train.image_set import ImageSet
from quietframe_train.photo_batches import Batch, PhotoDraws, WeightedBatch
from quietframe_train.recipe import Augmentation


class SeededBatches(keras.utils.PyDataset):
    """A data set whose batches are drawn from (seed, epoch, index); `fit` sets `epoch`.

    One worker: with more, Keras mixes batches that it fetched to find the shapes into the first epoch.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(workers=1)
        self.seed = seed
        self.epoch = 0

    def generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.epoch, index))


class ImageBatches(SeededBatches):
    """Images of one size in a new order, with new noise each epoch.

    Args:
        images: what trains.
        noise: what is done to the images.
        classify: whether the classes are the targets, or the clean images.
        batch: images in a step; the last step of an epoch may have fewer.
        seed: with the epoch decides the order and the noise.
        augmentation: what is done to the clean images before.
    """

    def __init__(
        self,
        images: ImageSet,
        noise: ImageCorruption,
        *,
        classify: bool,
        batch: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(seed)
        self.images, self.noise, self.augmentation = images, noise, augmentation
        self.classify, self.batch = classify, batch

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch)

    def __getitem__(self, index: int) -> Batch:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.images))
        chosen = order[index * self.batch : (index + 1) * self.batch]
        rng = self.generator(index)
        images = self.images.images[chosen]
        if self.augmentation:
            images = augmented(images, self.augmentation, rng)
        clean = images * np.float32(1 / 255)
        return self.noise.apply(clean, rng), self.images.labels[chosen] if self.classify else clean


class PhotoBatches(SeededBatches):
    """So many batches of `draws` an epoch."""

    def __init__(self, draws: PhotoDraws, *, steps: int, seed: int) -> None:
        super().__init__(seed)
        self.draws, self.steps = draws, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> WeightedBatch:
        return self.draws(self.generator(index))


def image_validation(images: ImageSet, noise: ImageCorruption, *, classify: bool, seed: int) -> Batch:
    """All the images, with the same noise at every call; targets as `ImageBatches` gives them."""
    clean = images.scaled()
    noisy = noise.apply(clean, np.random.default_rng(seed))
    return noisy, images.labels if classify else clean
