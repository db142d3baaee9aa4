"""Frames to calibrate with and to prove files on: clean data through noise, in 8 bits, as a device meets them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from quietframe_train.image_set import ImageSet

from quietframe.errors import UsageError
from quietframe.noise import add_gaussian, to_uint8
from quietframe_train.augmentation import augmented
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.corruption import ImageCorruption, NoNoise
from quietframe_train.photos import cut_patches, load_photos
from quietframe_train.recipe import PhotoData, Recipe

CALIBRATION_PATCHES = 128
CALIBRATION_SIDE = 256
CALIBRATION_IMAGES = 1000
CALIBRATION_MACS = 150e9
HELD_OUT_SIGMAS_255 = (5.0, 15.0, 25.0, 50.0)
HELD_OUT_FRAMES = 64
HELD_OUT_IMAGES = 1000
HELD_OUT_LABELLED = 5000
HELD_OUT_LEAST = 32
HELD_OUT_LEAST_LABELLED = 1000
"""A few answers on the edge are then less than half a point of accuracy."""
HELD_OUT_MACS = 80e9
LEAST = 8
"""However large a model is."""

Noisy: TypeAlias = tuple[NDArray[np.uint8], float]
"""A frame and the noise level that the model is told, in 8-bit levels."""


@dataclass(frozen=True)
class Sample:
    """One held-out frame.

    Attributes:
        frame: what the model is given: (H, W, 3) BGR or (H, W) gray, uint8.
        clean: for denoisers, the picture without noise, same shape and dtype.
        label: for classifiers, the right label; None where nobody knows it.
        group: what the frame stands for, such as `sigma 25`; results are also reported by group.
    """

    frame: NDArray[np.uint8]
    clean: NDArray[np.uint8] | None = None
    label: str | None = None
    group: str = ""


def noisy_images(recipe: Recipe, images: ImageSet, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Images through the recipe's own noise, rounded and clipped to 8 bits, also where training did not clip it.

    Returns (height, width) gray or (height, width, 3) BGR frames. Raises UsageError if the noise is none for images.
    """
    if not isinstance(recipe.noise, ImageCorruption):
        raise UsageError(f"{recipe.name}: noise {type(recipe.noise).__name__} does not fit images of one size")
    return [as_frame(image) for image in to_uint8(255 * recipe.noise.apply(images.scaled(), rng))]


def calibration_images(
    recipe: Recipe, training: ImageSet, macs_per_pixel: float, rng: np.random.Generator
) -> list[Noisy]:
    """1,000 training images through the recipe's noise, or as many as `CALIBRATION_MACS` pay for."""
    chosen = spread(training, affordable(training, CALIBRATION_IMAGES, CALIBRATION_MACS, macs_per_pixel))
    return [(frame, 0.0) for frame in noisy_images(recipe, chosen, rng)]


def image_samples(
    recipe: Recipe, validation: ImageSet, classes: Sequence[str], macs_per_pixel: float, rng: np.random.Generator
) -> list[Sample]:
    """Validation images through the recipe's noise: 5,000 for classifiers, 1,000 for denoisers, or as many as
    `HELD_OUT_MACS` pay for.

    Few images are shown several times, with new noise each; for a classifier changed as in training, too: of twenty
    answers, one would be 5 points of accuracy.
    """
    wanted, least = HELD_OUT_IMAGES, HELD_OUT_LEAST
    if "classify" in recipe.task:
        wanted, least = HELD_OUT_LABELLED, HELD_OUT_LEAST_LABELLED
    chosen = spread(validation, affordable(validation, wanted, HELD_OUT_MACS, macs_per_pixel))
    chosen = _repeated(recipe, chosen, affordable(validation, least, HELD_OUT_MACS, macs_per_pixel), rng)
    labels = [classes[label] if classes else None for label in chosen.labels]
    rows = zip(noisy_images(recipe, chosen, rng), chosen.images, labels, strict=True)
    return [Sample(frame=frame, clean=as_frame(clean), label=label) for frame, clean, label in rows]


def calibration_patches(recipe: Recipe, photos: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> list[Noisy]:
    """Patches of photographs with noise of random levels, for a camera model."""
    assert isinstance(recipe.noise, CameraNoise)
    side = min(CALIBRATION_SIDE, smallest_side(photos))
    source = cut_patches(photos, CALIBRATION_PATCHES, min(recipe.noise.source_side(side), smallest_side(photos)), rng)
    _, noisy, told_255 = recipe.noise.apply(source, side, rng)
    return [(frame, float(told)) for frame, told in zip(noisy, told_255, strict=True)]


def photo_samples(photos: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> list[Sample]:
    """Every held-out photograph whole at each noise level, as often as it takes for enough frames."""
    rounds = -(-HELD_OUT_FRAMES // (len(photos) * len(HELD_OUT_SIGMAS_255)))
    return [
        Sample(frame=add_gaussian(photo, sigma_255, rng), clean=photo, group=f"sigma {sigma_255:g}")
        for sigma_255 in HELD_OUT_SIGMAS_255
        for photo in [*photos] * rounds
    ]


def read_photos(folder: str | Path) -> Sequence[NDArray[np.uint8]]:
    """All pictures of a folder. Raises SourceError for fewer than two."""
    photos = load_photos(folder, validation_share=0.5, smallest=32)
    return [*photos.validation, *photos.training]


def smallest_side(photos: Sequence[NDArray[np.uint8]]) -> int:
    """In pixels, of all photographs."""
    return min(min(photo.shape[:2]) for photo in photos)


def as_frame(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width, 1) as (height, width); colour stays as it is."""
    return image[..., 0] if image.shape[-1] == 1 else image


def affordable(images: ImageSet, count: int, macs: float, macs_per_pixel: float) -> int:
    """`count`, or as many images as a model can be run on with so many multiply-accumulates; at least `LEAST`."""
    height, width = images.images.shape[1:3]
    return min(count, max(LEAST, int(macs / (macs_per_pixel * height * width))))


def evenly(total: int, count: int) -> NDArray[np.int64]:
    """`count` indices from all along `total` things; all of them where there are no more."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(np.int64)


def spread(images: ImageSet, count: int) -> ImageSet:
    """At most `count` of the images, from all along the set: one in the order of its classes gives some of each."""
    index = evenly(len(images), count)
    return ImageSet(images.images[index], images.labels[index])


def _repeated(recipe: Recipe, images: ImageSet, count: int, rng: np.random.Generator) -> ImageSet:
    """The images, and where they are fewer than `count`, copies of them, unless those would be the same frames."""
    how = None if isinstance(recipe.data, PhotoData) else recipe.data.augmentation
    how = how if "classify" in recipe.task else None
    if len(images) >= count or (how is None and isinstance(recipe.noise, NoNoise)):
        return images
    index = np.resize(np.arange(len(images)), count - len(images))
    copies = images.images[index] if how is None else augmented(images.images[index], how, rng)
    return ImageSet(np.concatenate([images.images, copies]), np.concatenate([images.labels, images.labels[index]]))
