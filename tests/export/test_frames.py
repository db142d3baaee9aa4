"""Frames to calibrate with and to prove on: what they are, how many, and of what."""

from __future__ import annotations

import numpy as np
import pytest

from quietframe_train.data.base import Sample
from quietframe_train.data.images import CALIBRATION_MACS, ImageSet, ImageSplits, max_count_for_budget, noisy_frames
from quietframe_train.recipe import Recipe
from quietframe_train.recipes import RECIPES

CHEAP = 1.0  # multiply-accumulates for each pixel


def images(count: int, *, side: int = 28, channels: int = 1) -> ImageSet:
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (count, side, side, channels), np.uint8)
    return ImageSet(pictures, np.sort(rng.integers(0, 2, count)))


def held_out(recipe: Recipe, few: ImageSet, classes: tuple[str, ...] = ()) -> list[Sample]:
    return [*recipe.data.held_out(recipe, ImageSplits(few, few, few, classes=classes), CHEAP, rng())]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", ["dense-autoencoder", "conv-autoencoder", "digit-unet", "latent-autoencoder"])
def test_digits_get_the_recipes_noise_in_8_bits(name: str) -> None:
    clean = ImageSet(np.full((400, 28, 28, 1), 128, np.uint8), np.zeros(400, np.int64))
    frames = noisy_frames(RECIPES[name], clean, rng())
    assert {(frame.shape, frame.dtype) for frame in frames} == {((28, 28), np.dtype(np.uint8))}
    values = np.stack(frames)
    assert values.max() == 255  # also of noise that is not clipped, where it would wrap around
    assert 0.02 < (values == 255).mean() < 0.6
    assert values.std() > 30


def test_colour_frames_keep_their_channels() -> None:
    frames = noisy_frames(RECIPES["color-unet"], images(3, side=16, channels=3), rng())
    assert [frame.shape for frame in frames] == [(16, 16, 3)] * 3


def test_large_models_get_fewer_frames_and_never_none() -> None:
    digits, pictures, recipe = images(2000), images(4, side=256, channels=3), RECIPES["latent-autoencoder"]

    def calibrating(macs: float) -> int:
        return len(recipe.data.calibration(recipe, ImageSplits(digits, digits, digits), macs, rng()))

    assert max_count_for_budget(digits, 1000, CALIBRATION_MACS, 470.9) == 1000
    assert (
        max_count_for_budget(pictures, 1000, CALIBRATION_MACS, 167_000) == 13
    )  # the colour autoencoder, 11 G a picture
    assert max_count_for_budget(pictures, 1000, CALIBRATION_MACS, 1e9) == 8
    assert calibrating(CHEAP) == 1000
    assert calibrating(1e6) == 191


def test_a_part_of_a_sorted_set_has_all_classes() -> None:
    assert len(np.unique(images(200).spread(10).labels)) == 2
    assert len(images(5).spread(10)) == 5


@pytest.mark.parametrize(
    ("recipe", "count"),
    [
        (RECIPES["image-classifier"], 1000),  # copies, changed as in training
        (RECIPES["color-unet"], 32),  # copies, with other noise
        (RECIPES["digit-classifier"], 9),  # neither: copies would be the same frames
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_few_held_out_images_are_shown_several_times(recipe: Recipe, count: int) -> None:
    few = images(9, side=32, channels=3)
    classes = ("no", "yes") if "classify" in recipe.task else ()
    samples = held_out(recipe, few, classes)
    assert len(samples) == count
    assert len({sample.frame.tobytes() for sample in samples}) == count
    if "classify" in recipe.task:
        assert [sample.label for sample in samples] == [classes[few.labels[i % 9]] for i in range(count)]
        np.testing.assert_array_equal(samples[3].frame, few.images[3])
    else:
        assert samples[0].label is None
        np.testing.assert_array_equal(samples[10].clean, few.images[1])  # type: ignore[arg-type]


def test_enough_held_out_images_are_shown_once() -> None:
    assert len(held_out(RECIPES["digit-cnn"], images(6000), tuple("0123456789"))) == 5000
    assert len(held_out(RECIPES["digit-unet"], images(6000))) == 1000
    assert len(held_out(RECIPES["denoise-and-classify"], images(6000), tuple("0123456789"))) == 5000
