"""Images of one size in memory, with their classes: what digits and resized images have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from quietframe.card import Colour, DataTerms, Metric, Spatial, TensorSpec
from quietframe.noise import to_uint8
from quietframe_train.augmentation import Augmentation, augmented
from quietframe_train.corruption import ImageCorruption, NoNoise
from quietframe_train.data.base import Batch, Batches, Data, NoisyFrame, Sample, Splits

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from quietframe_train.recipe import Phase, Recipe

CALIBRATION_IMAGES, CALIBRATION_MACS = 1000, 150e9
HELD_OUT_IMAGES, HELD_OUT_LABELLED, HELD_OUT_MACS = 1000, 5000, 80e9
MIN_HELD_OUT, MIN_HELD_OUT_LABELLED = 32, 1000  # a few answers on the edge are then less than half a point of accuracy
MIN_IMAGES = 8  # however large a model is


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
        """Scale the images as the models take them: float32 in [0, 1]."""
        return self.images * np.float32(1 / 255)

    def chosen(self, index: Any) -> ImageSet:
        """Select images by a slice or an array of indices."""
        return ImageSet(self.images[index], self.labels[index])

    def spread(self, count: int) -> ImageSet:
        """Select at most `count` images from all along the set: one in the order of its classes gives some of each."""
        return self.chosen(even_indices(len(self), count))


class ImageSplits(Splits):
    """Parts that are an `ImageSet` each."""

    def arrays(self) -> Iterator[NDArray[Any]]:
        for part in (self.training, self.validation):
            yield part.images
            yield part.labels


@dataclass(frozen=True)
class ImageBatches(Batches):
    """Images of one size in a new order, with new noise each epoch.

    Attributes:
        classify: whether the classes are the targets, or the clean images.
        batch: images in a step; the last step of an epoch may have fewer.
        seed: with the epoch decides the order and the noise.
        augmentation: of the clean images.
    """

    images: ImageSet
    noise: ImageCorruption
    classify: bool
    batch: int
    seed: tuple[int, ...]
    augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch)

    def draw(self, epoch: int, step: int) -> Batch:
        order = np.random.default_rng((*self.seed, epoch)).permutation(len(self.images))
        chosen = order[step * self.batch : (step + 1) * self.batch]
        rng = np.random.default_rng((*self.seed, epoch, step))
        images = self.images.images[chosen]
        if self.augmentation:
            images = augmented(images, self.augmentation, rng)
        clean = images * np.float32(1 / 255)
        return self.noise.apply(clean, rng), self.images.labels[chosen] if self.classify else clean, None


class ImageData(Data):
    """What digits and resized images have in common."""

    noise_type: ClassVar[type] = ImageCorruption
    augmentation: Augmentation | None

    def batches(self, recipe: Recipe, phase: Phase, splits: Splits, *, seed: int) -> Batches:
        noise, classify = cast(ImageCorruption, recipe.noise), recipe.task == "classify"
        return ImageBatches(splits.training, noise, classify, phase.batch, (seed, phase.key), self.augmentation)

    def validation(self, recipe: Recipe, splits: Splits, *, seed: int) -> Mapping[str, Batch]:
        clean = splits.validation.scaled()
        noisy = cast(ImageCorruption, recipe.noise).apply(clean, np.random.default_rng(seed))
        targets = splits.validation.labels if recipe.task == "classify" else clean
        return {"images": (noisy, targets, None)}

    def evaluate(self, model: keras.Model, recipe: Recipe, splits: Splits, terms: DataTerms) -> list[Metric]:
        from quietframe_train.evaluate import measure_images

        return measure_images(model, recipe, splits.test, f"{terms.name} test")

    def samples(self, model: keras.Model, recipe: Recipe, splits: Splits) -> Figure:
        from quietframe_train import figures

        draw = figures.classified_figure if recipe.task == "classify" else figures.denoised_figure
        return draw(model, recipe, splits.test, splits.classes)

    def calibration(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[NoisyFrame]:
        """Take 1,000 training images through the recipe's noise, or as many as `CALIBRATION_MACS` pay for."""
        count = max_count_for_budget(splits.training, CALIBRATION_IMAGES, CALIBRATION_MACS, macs_per_pixel)
        return [NoisyFrame(frame, 0.0) for frame in noisy_frames(recipe, splits.training.spread(count), rng)]

    def held_out(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[Sample]:
        """Take validation images through the recipe's noise: 5,000 to classify, 1,000 to denoise, or what MACs pay for.

        Few images are shown several times, with new noise each; for a classifier changed as in training, too: of
        twenty answers, one would be 5 points of accuracy.
        """
        images, classify = splits.validation, "classify" in recipe.task
        counts = (HELD_OUT_LABELLED, MIN_HELD_OUT_LABELLED) if classify else (HELD_OUT_IMAGES, MIN_HELD_OUT)
        max_count, min_count = (max_count_for_budget(images, count, HELD_OUT_MACS, macs_per_pixel) for count in counts)
        chosen, how = images.spread(max_count), self.augmentation if classify else None
        if how or not isinstance(recipe.noise, NoNoise):
            chosen = _repeated(chosen, min_count, how, rng)
        labels = [splits.classes[label] if classify else None for label in chosen.labels]
        rows = zip(noisy_frames(recipe, chosen, rng), chosen.images, labels, strict=True)
        return [Sample(frame=frame, clean=as_frame(clean), label=label) for frame, clean, label in rows]

    def card_fields(self, recipe: Recipe, model: keras.Model) -> Mapping[str, Any]:
        height, width, channels = model.inputs[0].shape[1:]
        colour: Colour = "GRAY" if channels == 1 else "BGR"
        return {
            "inputs": (TensorSpec("image", "image", "NHWC", channels, (0.0, 1.0), colour),),
            "spatial": Spatial("fixed", size_hw=(height, width), fit="resize"),
            "conditioning": "none",
        }


def noisy_frames(recipe: Recipe, images: ImageSet, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Add the recipe's own noise to images, rounded and clipped to 8 bits, also where training did not clip it.

    Returns (height, width) gray or (height, width, 3) BGR frames.
    """
    noise = cast(ImageCorruption, recipe.noise)
    return [as_frame(image) for image in to_uint8(255 * noise.apply(images.scaled(), rng))]


def as_frame(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Drop the channel axis of (height, width, 1); colour stays as it is."""
    return image[..., 0] if image.shape[-1] == 1 else image


def max_count_for_budget(images: ImageSet, count: int, macs: float, macs_per_pixel: float) -> int:
    """Limit `count` to the images that a model can be run on with so many MACs; at least `MIN_IMAGES`."""
    height, width = images.images.shape[1:3]
    return min(count, max(MIN_IMAGES, int(macs / (macs_per_pixel * height * width))))


def even_indices(total: int, count: int) -> NDArray[np.int64]:
    """Select `count` indices from all along `total` things; all of them where there are no more."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(np.int64)


def _repeated(images: ImageSet, count: int, how: Augmentation | None, rng: np.random.Generator) -> ImageSet:
    """Add copies to the images where they are fewer than `count`."""
    if len(images) >= count:
        return images
    index = np.resize(np.arange(len(images)), count - len(images))
    copies = images.images[index] if how is None else augmented(images.images[index], how, rng)
    return ImageSet(np.concatenate([images.images, copies]), np.concatenate([images.labels, images.labels[index]]))
