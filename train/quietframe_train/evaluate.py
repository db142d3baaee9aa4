"""The figures of a trained model, measured as a device meets it: 8-bit noisy images in, 8-bit images out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms
from quietframe.noise import add_gaussian, to_uint8
from quietframe.quality import mean_psnr_db
from quietframe_train.batches import VALIDATION_SIGMAS_255
from quietframe_train.corruption import NormalNoise
from quietframe_train.digits import Digits
from quietframe_train.models.camera import camera_unet_geometry
from quietframe_train.recipes import Recipe
from quietframe_train.splits import DigitSplits, Splits

NOISE_SEED = 20_260_000
"""Of the noise on test images: the same for every training, so that runs compare."""

_LARGEST = 1024  # side in pixels; of larger photographs the middle is measured


def evaluate(model: keras.Model, recipe: Recipe, splits: Splits, data: DataTerms) -> dict[str, dict[str, float]]:
    """Measure a trained model.

    Denoisers of digits: PSNR, MSE and binary cross-entropy over the whole test set at each of the recipe's
    `test_sigmas`. Classifiers: accuracy on the clean test set. Camera models: PSNR on the validation photographs
    at several levels, the level told. The noisy images' own figures stand beside.

    Returns figures by name, by the name of the set that they were measured on.
    """
    if isinstance(splits, DigitSplits):
        figures = (
            {"accuracy": accuracy(model, splits.test)}
            if recipe.task == "classify"
            else _digit_denoiser(model, recipe, splits.test)
        )
        return {f"{data.name} test": figures}
    return {f"{data.name} validation": _camera_denoiser(model, recipe, splits.validation)}


def accuracy(model: keras.Model, digits: Digits) -> float:
    """Share of the clean digits whose class comes first."""
    return float(np.mean(predict(model, digits.images).argmax(axis=1) == digits.labels))


def predict(model: keras.Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a digit model makes of (N, 28, 28, 1) uint8 images."""
    result: NDArray[np.float32] = model.predict(images * np.float32(1 / 255), batch_size=500, verbose=0)
    return result


def noisy_digits(digits: Digits, noise: NormalNoise) -> NDArray[np.uint8]:
    """The digits with noise, rounded to 8 bits; the same at every call."""
    rng = np.random.default_rng((NOISE_SEED, round(1000 * noise.sigma)))
    return to_uint8(255 * noise.apply(digits.scaled(), rng))


def denoise_photo(model: keras.Model, recipe: Recipe, noisy: NDArray[np.uint8], told_255: float) -> NDArray[np.uint8]:
    """One frame of any size through a camera model, padded by reflection to the multiple that it needs.

    noisy: (H, W, 3) uint8 BGR. told_255: noise level in 8-bit levels. Returns the same shape and dtype.
    """
    multiple, _ = camera_unet_geometry(**recipe.model.options)
    height, width = noisy.shape[:2]
    padded = np.pad(noisy, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="reflect")
    inputs = {
        "image": padded[None] * np.float32(1 / 255),
        "sigma": np.full((1, 1, 1, 1), told_255 / 255, np.float32),
    }
    result: NDArray[np.float32] = keras.ops.convert_to_numpy(model(inputs, training=False))
    return to_uint8(255 * result[0, :height, :width])


def _digit_denoiser(model: keras.Model, recipe: Recipe, test: Digits) -> dict[str, float]:
    assert isinstance(recipe.noise, NormalNoise)
    figures: dict[str, float] = {}
    for sigma in recipe.test_sigmas:
        noisy = noisy_digits(test, replace(recipe.noise, sigma=sigma))
        denoised = predict(model, noisy)
        for prefix, images in (("", denoised), ("noisy_", noisy / np.float32(255))):
            figures[f"{prefix}psnr_db_sigma{sigma:g}"] = mean_psnr_db(
                zip(test.images, to_uint8(255 * images), strict=True)
            )
            figures[f"{prefix}mse_sigma{sigma:g}"] = float(np.mean((images - test.scaled()) ** 2))
            figures[f"{prefix}bce_sigma{sigma:g}"] = _cross_entropy(test.scaled(), images)
    return figures


def _camera_denoiser(model: keras.Model, recipe: Recipe, photos: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for sigma_255 in VALIDATION_SIGMAS_255:
        pairs = list(_noisy_photos(photos, sigma_255))
        denoised = [(clean, denoise_photo(model, recipe, noisy, sigma_255)) for clean, noisy in pairs]
        figures[f"psnr_db_sigma{sigma_255:g}"] = mean_psnr_db(denoised)
        figures[f"noisy_psnr_db_sigma{sigma_255:g}"] = mean_psnr_db(pairs)
    return figures


def _noisy_photos(
    photos: Sequence[NDArray[np.uint8]], sigma_255: float
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    for index, photo in enumerate(photos):
        top, left = (max(0, side - _LARGEST) // 2 for side in photo.shape[:2])
        clean = photo[top : top + _LARGEST, left : left + _LARGEST]
        yield clean, add_gaussian(clean, sigma_255, np.random.default_rng((NOISE_SEED, round(sigma_255), index)))


def _cross_entropy(clean: NDArray[np.float32], images: NDArray[Any]) -> float:
    """Mean over pixels, as Keras' binary cross-entropy: values are kept 1e-7 away from 0 and 1."""
    inside = np.clip(images, np.float32(1e-7), np.float32(1 - 1e-7))
    return float(-np.mean(clean * np.log(inside) + (1 - clean) * np.log1p(-inside)))
