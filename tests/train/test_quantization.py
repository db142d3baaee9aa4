"""Ranges of least error, and a model that computes as its int8 file will."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from quietframe.errors import SourceError
from quietframe_train.models.camera import camera_nano, camera_unet
from quietframe_train.quantization import (
    choose_ranges,
    fake_quantized,
    least_error_range,
    norms_still,
    read_ranges,
    round_values,
    write_ranges,
)


def test_outliers_do_not_set_the_range() -> None:
    rng = np.random.default_rng(0)
    values = rng.laplace(0, 1, 100_000).astype(np.float32)
    span = least_error_range(values)
    assert span is not None
    assert span[1] - span[0] < 0.9 * (values.max() - values.min())


def test_deviations_bound_the_range() -> None:
    values = np.random.default_rng(0).standard_t(2, 100_000).astype(np.float32)
    span = least_error_range(values, deviations=3.0)
    assert span is not None
    assert span[0] >= values.mean() - 3 * values.std() - 1e-3
    assert span[1] <= values.mean() + 3 * values.std() + 1e-3


def test_an_even_spread_keeps_its_range() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    assert least_error_range(values) == pytest.approx((-1, 1), abs=0.01)


@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.1, 4))
def test_zero_is_always_inside(seed: int, mean: float, std: float) -> None:
    values = np.random.default_rng(seed).normal(mean, std, 2000).astype(np.float32)
    span = least_error_range(values)
    assert span is not None
    assert span[0] <= 0 <= span[1]


def test_zeros_have_no_range() -> None:
    assert least_error_range(np.zeros(100, np.float32)) is None


@given(st.floats(-5, 0), st.floats(0.01, 5), st.integers(0, 2**32 - 1))
def test_rounding_has_256_steps_and_zero_is_one(low: float, high: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 3, 3000).astype(np.float32)
    values[0] = 0
    found = np.asarray(round_values(values, (low, high)))
    assert len(np.unique(found)) <= 256
    assert abs(found[0]) < 1e-6
    step = (high - low) / 255
    inside = (values > low + step) & (values < high - step)
    assert np.abs(found - values)[inside].max(initial=0) <= step / 2 + 1e-5


def small_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((96, 96, 3))
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(8, 3, padding="same", name="conv")(image))
    skip = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(8, 3, padding="same", name="linear")(skip)
    x = layers.Add(name="sum")([x, skip])
    model = keras.Model(image, layers.Conv2D(3, 1, name="last")(x))
    norm = model.get_layer("norm")
    rng = np.random.default_rng(1)
    norm.set_weights([rng.uniform(0.5, 2, 8) for _ in norm.get_weights()])
    return model


def test_only_ends_of_fused_operations_have_a_range() -> None:
    """A range between a convolution and its normalization or activation would keep the converter from fusing them."""
    example = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
    assert choose_ranges(small_model(), [[example]]).keys() == {"relu", "linear", "sum"}


def test_what_is_joined_to_others_has_no_range_of_its_own() -> None:
    """A converter gives all of them that of one: a small noise level's would clip the picture beside it."""
    image = keras.Input((96, 96, 3))
    level = layers.Multiply(name="level")([image, image])
    x = layers.Concatenate(name="joined")([layers.Conv2D(4, 1, name="features")(image), level])
    model = keras.Model(image, layers.Conv2D(3, 1, name="last")(layers.Conv2D(4, 1, name="next")(x)))
    example = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
    assert choose_ranges(model, [[example]]).keys() == {"next"}


UNET = {"widths": (16, 32), "encoder_convs": (1, 1), "decoder_convs": (1,)}


@pytest.mark.parametrize(
    ("model", "computed"),
    [
        (partial(camera_unet, **UNET), {"down0_0_bn", "gated", "up0_bn", "up0_add", "out0_0_relu"}),
        (
            partial(camera_nano, width=16, deep_widths=(32, 48)),
            {"down0_0_bounded", "bounded", "down1_1_relu", "gain", "gained", "up0", "residual_fine"},
        ),
    ],
    ids=["unet", "nano"],
)
def test_every_tensor_that_a_camera_model_computes_has_a_range(
    model: Callable[[], keras.Model], computed: set[str]
) -> None:
    """One that has none gets the converter's, least to greatest: of what is taken away that cost 0.2 dB at sigma 5."""
    keras.utils.set_random_seed(0)
    built = model()
    rng = np.random.default_rng(0)
    for layer in built.layers:
        if isinstance(layer, layers.Conv2D) and not layer.get_weights()[0].any():
            layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    example = [np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32), np.full((1, 1, 1, 1), 0.1, "f")]
    of_both = {"down1_0_relu", "conditioned", "residual", "scaled"}
    of_level = {"level_hidden", "level", "level_gate", "level_scale"}
    assert choose_ranges(built, [example]).keys() == computed | of_both | of_level


def test_fake_quantized_rounds_weights_and_tensors_and_leaves_no_trace() -> None:
    model = small_model()
    example = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
    ranges = choose_ranges(model, [[example]])
    plain = np.asarray(model(example))
    probe = keras.Model(model.inputs, model.get_layer("sum").output)
    with fake_quantized(model, ranges):
        rounded = np.asarray(model(example))
        levels = np.unique(np.asarray(probe([example])))
    assert len(levels) <= 256
    assert 0 < np.abs(rounded - plain).max() < 0.5
    np.testing.assert_array_equal(np.asarray(model(example)), plain)


def test_gradients_pass_and_normalization_stands_still() -> None:
    model = small_model()
    example = np.random.default_rng(0).standard_normal((4, 96, 96, 3)).astype(np.float32)
    ranges = choose_ranges(model, [[example]])
    before = model.get_layer("norm").moving_mean.numpy().copy()
    kernel = model.get_layer("conv").kernel.numpy().copy()
    model.compile(keras.optimizers.Adam(1e-3), loss="mse", jit_compile=False)
    with fake_quantized(model, ranges):
        losses = [float(model.train_on_batch(example, np.zeros((4, 96, 96, 3), np.float32))) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert np.abs(model.get_layer("conv").kernel.numpy() - kernel).max() > 0
    np.testing.assert_array_equal(model.get_layer("norm").moving_mean.numpy(), before)


def test_norms_stand_still_in_training_and_learn_their_scale() -> None:
    model = small_model()
    example = np.random.default_rng(0).standard_normal((4, 96, 96, 3)).astype(np.float32)
    in_use = np.asarray(model(example, training=False))
    norm = model.get_layer("norm")
    kept = norm.get_weights()
    mean, scale = norm.moving_mean.numpy().copy(), norm.gamma.numpy().copy()
    assert np.abs(np.asarray(model(example, training=True)) - in_use).max() > 0.1
    norm.set_weights(kept)
    model.compile(keras.optimizers.Adam(1e-3), loss="mse", jit_compile=False)
    with norms_still(model):
        np.testing.assert_allclose(np.asarray(model(example, training=True)), in_use, atol=1e-4)
        model.train_on_batch(example, np.zeros((4, 96, 96, 3), np.float32))
    np.testing.assert_array_equal(norm.moving_mean.numpy(), mean)
    assert np.abs(norm.gamma.numpy() - scale).max() > 0


def test_ranges_go_through_a_file(tmp_path: Path) -> None:
    ranges = {"a": (-1.5, 2.0), "b": (0.0, 6.0)}
    write_ranges(tmp_path / "ranges.json", ranges)
    assert read_ranges(tmp_path / "ranges.json") == ranges


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": ["x", 2]}', '{"a": [1, 2, 3]}'])
def test_other_files_are_no_ranges(tmp_path: Path, text: str) -> None:
    (tmp_path / "ranges.json").write_text(text)
    with pytest.raises(SourceError, match="not the ranges"):
        read_ranges(tmp_path / "ranges.json")
