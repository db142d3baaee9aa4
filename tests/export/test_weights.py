"""Weights for 8 bits: outputs change little where it counts, and the mean of each channel survives."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from quietframe_export.weights import round_for, round_weights


def rounded(kernel: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    scale = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    return np.rint(kernel / scale) * scale


CASES = [
    (lambda: layers.Conv2D(5, 3), (0, 1, 2), 1),
    (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (0, 1), 1),
    (lambda: layers.Conv2DTranspose(4, 4, strides=2, padding="same"), (0, 1, 3), 3),
]


@pytest.mark.parametrize(("make", "axes", "crop"), CASES)
@pytest.mark.parametrize("nested", [False, True])
def test_mean_is_restored(make: Any, axes: tuple[int, ...], crop: int, nested: bool) -> None:
    """Inputs far from zero, as behind a ReLU6 with an offset: rounding alone shifts the means, corrected not."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, make()(image))
    if nested:
        outer = keras.Input((16, 16, 3))
        model = keras.Model(outer, model(outer))
    rng = np.random.default_rng(0)
    # The same everywhere, so that neither padding nor stride blurs what is expected.
    examples = [[np.broadcast_to(rng.uniform(4, 8, 3).astype(np.float32), (1, 16, 16, 3))]]

    def quantized(source: keras.Model) -> NDArray[np.float32]:
        copy = keras.models.clone_model(source)
        copy.set_weights([w if w.ndim < 4 else rounded(w, axes) for w in source.get_weights()])
        result = np.asarray(copy(examples[0][0]))
        return result[:, crop:-crop, crop:-crop].mean(axis=(0, 1, 2))

    expected = np.asarray(model(examples[0][0]))[:, crop:-crop, crop:-crop].mean(axis=(0, 1, 2))
    plain = np.abs(quantized(model) - expected).max()
    corrected = np.abs(quantized(round_weights(model, examples)) - expected).max()
    assert plain > 0.005
    assert corrected < plain / 20


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("center", [False, True])
def test_batch_normalization_takes_the_correction(scale: bool, center: bool) -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 4))
    x = layers.Conv2D(6, 1, use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(scale=scale, center=center, name="norm")(x)
    model = keras.Model(image, x)
    rng = np.random.default_rng(2)
    norm = model.get_layer("norm")
    norm.set_weights([rng.uniform(0.5, 2.0, 6) for _ in norm.get_weights()])
    examples = [[np.full((1, 8, 8, 4), 5.0, np.float32)]]
    corrected = round_weights(model, examples)
    gain = (np.asarray(norm.gamma) if scale else 1) / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    kernel = corrected.get_layer("conv").get_weights()[0]
    folded = rounded(kernel * gain, (0, 1, 2)) / gain  # what the converter makes of it, behind folding
    np.testing.assert_allclose(folded, kernel, rtol=1e-5, atol=1e-7)  # nothing: it lies on the steps
    np.testing.assert_allclose(np.asarray(corrected(examples[0][0])), np.asarray(model(examples[0][0])), atol=1e-4)


def test_the_model_itself_is_left_alone() -> None:
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(2, 3)(image))
    before = [weight.copy() for weight in model.get_weights()]
    round_weights(model, [[np.ones((1, 8, 8, 3), np.float32)]])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def smooth_frames(count: int) -> list[list[NDArray[np.float32]]]:
    """Frames whose neighbouring pixels are alike, as those of photographs, with a little noise."""
    rng = np.random.default_rng(4)
    coarse = rng.normal(0, 1, (count, 8, 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return [[frame[None].astype(np.float32)] for frame in coarse + rng.normal(0, 0.05, coarse.shape)]


def detail_filters() -> keras.Model:
    """Filters that answer nothing to even areas, as the first ones of camera models."""
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, layers.Conv2D(8, 5, padding="same", use_bias=False, name="conv")(image))
    kernel = np.random.default_rng(5).normal(size=(5, 5, 3, 8))
    model.get_layer("conv").set_weights([kernel - kernel.mean(axis=(0, 1), keepdims=True)])
    return model


def test_outputs_change_less_than_by_rounding_to_the_nearest() -> None:
    model, frames = detail_filters(), smooth_frames(6)
    found = round_weights(model, frames[:4])
    kernel = model.get_layer("conv").get_weights()[0]
    nearest = detail_filters()
    nearest.get_layer("conv").set_weights([rounded(kernel, (0, 1, 2))])

    def error(other: keras.Model) -> float:
        """On frames that the rounding did not see."""
        return float(np.mean([np.std(np.asarray(other(f[0])) - np.asarray(model(f[0]))) for f in frames[4:]]))

    assert error(found) < 0.6 * error(nearest)
    on_steps = found.get_layer("conv").get_weights()[0]
    np.testing.assert_allclose(rounded(on_steps, (0, 1, 2)), on_steps, atol=1e-6)
    assert np.abs(on_steps - kernel).max() < 4 * np.abs(kernel).max() / 127


def test_the_best_of_small_cases_is_found() -> None:
    """Against all the ways of rounding up or down, where they can be counted."""
    rng = np.random.default_rng(6)
    seen = rng.normal(0, 1, (200, 1)) + rng.normal(0, 0.3, (200, 8))
    covariance = np.cov(seen, rowvar=False)
    weights = rng.uniform(-100, 100, (8, 3))

    def loss(whole: NDArray[np.float64]) -> NDArray[np.float64]:
        error = whole - weights
        return np.einsum("io,ij,jo->o", error, covariance, error)

    ways = np.array(np.meshgrid(*8 * [[0, 1]])).reshape(8, -1, 1) + np.floor(weights)[:, None]
    least = np.min([loss(ways[:, index]) for index in range(ways.shape[1])], axis=0)
    found = loss(round_for(weights, covariance))
    nearest = loss(np.rint(weights))
    assert np.all(found <= nearest)
    assert found.mean() < 1.25 * least.mean() < nearest.mean()


def test_the_largest_weights_stay_since_they_make_the_scale() -> None:
    weights = np.array([[127.0, -50.5], [60.4, -127.0], [126.6, 3.3]])
    found = round_for(weights, np.ones((3, 3)) + 0.01 * np.eye(3))
    assert (found[0, 0], found[1, 1]) == (127, -127)
    assert np.abs(found).max() == 127


@pytest.mark.parametrize("kind", ["grouped", "dilated", "larger than its input"])
def test_convolutions_of_all_kinds_are_rounded(kind: str) -> None:
    options = {"grouped": {"groups": 3}, "dilated": {"dilation_rate": 2}, "larger than its input": {}}[kind]
    image = keras.Input((2, 2, 3))
    model = keras.Model(image, layers.Conv2D(6, 3, padding="same", **options)(image))
    found = round_weights(model, [[np.random.default_rng(0).random((1, 2, 2, 3), np.float32)]])
    kernel = found.layers[-1].get_weights()[0]
    np.testing.assert_allclose(rounded(kernel, (0, 1, 2)), kernel, atol=1e-6)
