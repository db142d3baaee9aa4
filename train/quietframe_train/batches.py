"""Batches for `Model.fit`: each drawn from (seed, epoch, index), so noise is new every time and a resumed
training sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
from numpy.typing import NDArray

from quietframe_train.augmentation import augmented
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.corruption import ImageCorruption
from quietframe_train.image_set import ImageSet
from quietframe_train.photos import cut_patches
from quietframe_train.recipe import Augmentation, PhotoData

Batch: TypeAlias = tuple[Any, NDArray[Any]]
"""Model inputs (an array, or a dictionary by input name) and targets."""
WeightedBatch: TypeAlias = tuple[Any, NDArray[Any], NDArray[np.float32]]
"""The same, and what each sample's loss counts."""

VALIDATION_SIGMAS_255 = (5.0, 15.0, 25.0, 50.0)
VALIDATION_SIDE = 192

_ERROR_POWER = 0.55
_LEAST_NOISE_255 = 2.0  # frames without noise have an error, too
_USUAL_ERROR = 5.2


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
    """Noisy patches of photographs and their noise levels.

    Inputs: `image` (batch, side, side, 3) float32 in [0, 1] and `sigma` (batch, 1, 1, 1), told level / 255.
    Targets: the clean patches, float32 in [0, 1].
    Weights: (batch,), `loss_weights`, or 1 where not `weighed`.
    """

    def __init__(
        self,
        photos: Sequence[NDArray[np.uint8]],
        data: PhotoData,
        noise: CameraNoise,
        *,
        batch: int,
        steps: int,
        seed: int,
        weighed: bool = True,
    ) -> None:
        super().__init__(seed)
        self.photos, self.data, self.noise = photos, data, noise
        self.batch, self.steps, self.weighed = batch, steps, weighed
        self.source = min(noise.source_side(data.patch), *(min(photo.shape[:2]) for photo in photos))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> WeightedBatch:
        rng = self.generator(index)
        source = cut_patches(self.photos, self.batch, self.source, rng)
        clean, noisy, told_255 = self.noise.apply(source, self.data.patch, rng)
        inputs, targets = _camera_batch(noisy, told_255, clean)
        if not self.weighed:
            return inputs, targets, np.ones(self.batch, np.float32)
        return inputs, targets, loss_weights(255 * (inputs["image"] - targets))


def loss_weights(noise_255: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the errors of patches with such noise count in training, about 1 on average.

    PSNR is a logarithm, an absolute error is not: where noise was strong, much error remains, and there it is what a
    training looks at. Errors that remain grow about as the 0.55th power of the noise.

    noise_255: (batch, side, side, channels), in 8-bit levels.
    """
    return (_USUAL_ERROR / (_LEAST_NOISE_255 + np.std(noise_255, axis=(1, 2, 3))) ** _ERROR_POWER).astype(np.float32)


def image_validation(images: ImageSet, noise: ImageCorruption, *, classify: bool, seed: int) -> Batch:
    """All the images, with the same noise at every call; targets as `ImageBatches` gives them."""
    clean = images.scaled()
    noisy = noise.apply(clean, np.random.default_rng(seed))
    return noisy, images.labels if classify else clean


def photo_validation(photos: Sequence[NDArray[np.uint8]], noise: CameraNoise, *, seed: int) -> Batch:
    """The same patches, noise and levels at every call: the middle of each photograph at several levels."""
    rng = np.random.default_rng(seed)
    side = min(VALIDATION_SIDE, *(min(photo.shape[:2]) for photo in photos)) // 16 * 16
    middles = []
    for photo in photos:
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        middles.append(photo[top : top + side, left : left + side])
    clean = np.stack(middles * len(VALIDATION_SIGMAS_255))
    told_255 = np.repeat(np.asarray(VALIDATION_SIGMAS_255, np.float32), len(middles))
    scaled = rng.standard_normal(clean.shape, dtype=np.float32) * told_255[:, None, None, None]
    noisy = np.clip(np.rint(clean + scaled), 0, 255).astype(np.uint8)
    return _camera_batch(noisy, told_255, clean)


def _camera_batch(noisy: NDArray[np.uint8], told_255: NDArray[np.float32], clean: NDArray[np.uint8]) -> Batch:
    scale = np.float32(1 / 255)
    inputs = {"image": noisy * scale, "sigma": (told_255 * scale).reshape(-1, 1, 1, 1)}
    return inputs, clean * scale
