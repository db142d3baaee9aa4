"""Ranges of least error, and that they reach the file."""

from __future__ import annotations

import keras
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from quietframe_export.ranges import bounded, choose_ranges, least_error_range


def quantization_error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    back = np.rint((np.clip(values, low, high) - low) / step) * step + low
    return float(np.mean((values - back) ** 2))


def test_outliers_do_not_set_the_range() -> None:
    rng = np.random.default_rng(0)
    values = rng.laplace(0, 1, 100_000).astype(np.float32)
    span = least_error_range(values)
    assert span is not None
    low, high = span
    assert high - low < 0.9 * (values.max() - values.min())
    assert quantization_error(values, low, high) < quantization_error(values, values.min(), values.max())


def test_an_even_spread_keeps_its_range() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    assert least_error_range(values) is None


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.1, 4))
def test_zero_is_always_inside(seed: int, mean: float, std: float) -> None:
    values = np.random.default_rng(seed).normal(mean, std, 2000).astype(np.float32)
    span = least_error_range(values)
    assert span is None or span[0] <= 0 <= span[1]


def test_constant_tensors_are_left_alone() -> None:
    assert least_error_range(np.zeros(100, np.float32)) is None


def test_only_ends_of_fused_operations_are_bounded() -> None:
    """A range between a convolution and its normalization or activation would keep the converter from fusing them."""
    keras.utils.set_random_seed(0)
    image = keras.Input((96, 96, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, padding="same", name="conv")(image))
    skip = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(8, 3, padding="same", name="linear")(skip)
    x = layers.Add(name="sum")([x, skip])
    model = keras.Model(image, layers.Conv2D(3, 1, name="last")(x))
    rng = np.random.default_rng(0)
    spiky = rng.standard_t(3, (1, 96, 96, 3)).astype(np.float32)
    chosen = choose_ranges(model, [[spiky]])
    assert {layer.name for layer in chosen} == {"relu", "linear", "sum"}


def test_the_model_is_itself_again_afterwards() -> None:
    image = keras.Input((4, 4, 1))
    layer = layers.ReLU()
    model = keras.Model(image, layer(image))
    example = np.full((1, 4, 4, 1), 5.0, np.float32)
    with bounded({layer: (0.0, 1.0)}):
        assert float(np.max(model(example))) == 1.0
    assert float(np.max(model(example))) == 5.0
