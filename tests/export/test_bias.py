"""Bias correction: the mean of each channel survives 8-bit weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from quietframe_export.bias import correct_biases


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
    corrected = np.abs(quantized(correct_biases(model, examples)) - expected).max()
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
    corrected = correct_biases(model, examples)
    gain = (np.asarray(norm.gamma) if scale else 1) / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    kernel = model.get_layer("conv").get_weights()[0]
    folded = rounded(kernel * gain, (0, 1, 2)) / gain  # what the converter makes of it, behind folding
    corrected.get_layer("conv").set_weights([folded])
    np.testing.assert_allclose(np.asarray(corrected(examples[0][0])), np.asarray(model(examples[0][0])), atol=1e-4)


def test_the_model_itself_is_left_alone() -> None:
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(2, 3)(image))
    before = [weight.copy() for weight in model.get_weights()]
    correct_biases(model, [[np.ones((1, 8, 8, 3), np.float32)]])
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
