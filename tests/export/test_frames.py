"""Frames to calibrate with and to prove on: what they are, how many, and of what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from quietframe_train.image_set import ImageSet

from quietframe.errors import UsageError
from quietframe_export.frames import (
    CALIBRATION_MACS,
    affordable,
    calibration_images,
    image_samples,
    noisy_images,
    spread,
)
from quietframe_train.recipe import Recipe
from quietframe_train.recipes import RECIPES

CHEAP = 1.0  # multiply-accumulates for each pixel


def images(count: int, *, side: int = 28, channels: int = 1) -> ImageSet:
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (count, side, side, channels), np.uint8)
    return ImageSet(pictures, np.sort(rng.integers(0, 2, count)))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", ["dense-autoencoder", "conv-autoencoder", "digit-unet", "latent-autoencoder"])
def test_digits_get_the_recipes_noise_in_8_bits(name: str) -> None:
    clean = ImageSet(np.full((400, 28, 28, 1), 128, np.uint8), np.zeros(400, np.int64))
    frames = noisy_images(RECIPES[name], clean, rng())
    assert {(frame.shape, frame.dtype) for frame in frames} == {((28, 28), np.dtype(np.uint8))}
    values = np.stack(frames)
    assert values.max() == 255  # also of noise that is not clipped, where it would wrap around
    assert 0.02 < (values == 255).mean() < 0.6
    assert values.std() > 30


def test_colour_frames_keep_their_channels() -> None:
    frames = noisy_images(RECIPES["color-unet"], images(3, side=16, channels=3), rng())
    assert [frame.shape for frame in frames] == [(16, 16, 3)] * 3


def test_camera_noise_is_not_for_images() -> None:
    with pytest.raises(UsageError, match="CameraNoise does not fit"):
        noisy_images(replace(RECIPES["camera-nano"]), images(2), rng())


def test_large_models_get_fewer_frames_and_never_none() -> None:
    digits, pictures = images(2000), images(4, side=256, channels=3)
    assert affordable(digits, 1000, CALIBRATION_MACS, 470.9) == 1000
    assert affordable(pictures, 1000, CALIBRATION_MACS, 167_000) == 13  # the colour autoencoder, 11 G a picture
    assert affordable(pictures, 1000, CALIBRATION_MACS, 1e9) == 8
    assert len(calibration_images(RECIPES["latent-autoencoder"], digits, CHEAP, rng())) == 1000
    assert len(calibration_images(RECIPES["latent-autoencoder"], digits, 1e6, rng())) == 191


def test_a_part_of_a_sorted_set_has_all_classes() -> None:
    assert len(np.unique(spread(images(200), 10).labels)) == 2
    assert len(spread(images(5), 10)) == 5


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
    samples = image_samples(recipe, few, classes, CHEAP, rng())
    assert len(samples) == count
    assert len({sample.frame.tobytes() for sample in samples}) == count
    if "classify" in recipe.task:
        assert [sample.label for sample in samples] == [classes[few.labels[i % 9]] for i in range(count)]
        np.testing.assert_array_equal(samples[3].frame, few.images[3])
    else:
        assert samples[0].label is None
        np.testing.assert_array_equal(samples[10].clean, few.images[1])  # type: ignore[arg-type]


def test_enough_held_out_images_are_shown_once() -> None:
    assert len(image_samples(RECIPES["digit-cnn"], images(6000), "0123456789", CHEAP, rng())) == 5000
    assert len(image_samples(RECIPES["digit-unet"], images(6000), (), CHEAP, rng())) == 1000
    assert len(image_samples(RECIPES["denoise-and-classify"], images(6000), "0123456789", CHEAP, rng())) == 5000
