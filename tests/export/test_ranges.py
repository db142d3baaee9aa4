"""Ranges of least error, and what the exporter does to them before they go into a file."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from quietframe.card import TensorSpec
from quietframe_export.keras_graph import observed
from quietframe_export.ranges import choose_ranges, clipped_ranges, in_whole_levels, least_error_range, level_ranges
from quietframe_train.models.camera import camera_unet


def test_outliers_do_not_set_the_range() -> None:
    rng = np.random.default_rng(0)
    values = rng.laplace(0, 1, 100_000).astype(np.float32)
    span = least_error_range(values)
    assert span is not None
    assert span[1] - span[0] < 0.9 * (values.max() - values.min())


def test_an_even_spread_keeps_its_range() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    assert least_error_range(values) == pytest.approx((-1, 1), abs=0.01)


@settings(deadline=None, max_examples=25)  # times are not what it tests
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.floats(0.1, 4))
def test_zero_is_always_inside(seed: int, mean: float, std: float) -> None:
    values = np.random.default_rng(seed).normal(mean, std, 2000).astype(np.float32)
    span = least_error_range(values)
    assert span is not None
    assert span[0] <= 0 <= span[1]


def test_zeros_have_no_range() -> None:
    assert least_error_range(np.zeros(100, np.float32)) is None


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


def test_a_dead_tensor_has_a_range_that_fast_kernels_take() -> None:
    """XNNPACK refuses a file with a scale of 1e-8."""
    image = keras.Input((8, 8, 3))
    dead = layers.Conv2D(4, 1, kernel_initializer="zeros", name="dead")(image)
    model = keras.Model(image, layers.Conv2D(3, 1)(dead))
    assert choose_ranges(model, [[np.ones((1, 8, 8, 3), np.float32)]])["dead"] == (0.0, 1.0)


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


def test_what_is_joined_after_it_was_moved_has_no_range_of_its_own() -> None:
    """A U-Net's decoder: its range would clip the skip beside it."""
    image = keras.Input((96, 96, 3))
    coarse = layers.Conv2D(4, 1, name="coarse")(layers.MaxPooling2D()(image))
    x = layers.Concatenate()([layers.Dropout(0.1)(layers.UpSampling2D()(coarse)), image])
    x = layers.Conv2D(4, 1, name="next")(x)
    model = keras.Model(image, layers.Conv2D(3, 1, name="last")(x))
    example = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
    assert choose_ranges(model, [[example]]).keys() == {"next"}


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softmax"])
def test_what_tflite_gives_its_range_gets_no_other(activation: str) -> None:
    image = keras.Input((96, 96, 3))
    x = layers.Conv2D(4, 1, activation=activation)(layers.Conv2D(4, 1, name="first")(image))
    model = keras.Model(image, layers.Conv2D(3, 1, name="last")(layers.Activation(activation)(x)))
    example = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
    assert choose_ranges(model, [[example]]).keys() == {"first"}


UNET = {"widths": (16, 32), "encoder_convs": (1, 1), "decoder_convs": (1,)}


def test_every_tensor_that_a_camera_model_computes_has_a_range() -> None:
    """One that has none gets the converter's, least to greatest: of what is removed that cost 0.2 dB at sigma 5."""
    computed = {"down0_0_bn", "gain", "gained", "up0_bn", "up0_add", "out0_0_relu"}
    keras.utils.set_random_seed(0)
    built = camera_unet(**UNET)
    rng = np.random.default_rng(0)
    for layer in built.layers:
        if isinstance(layer, layers.Conv2D) and not layer.get_weights()[0].any():
            layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    scale = built.get_layer("level_scale")
    scale.set_weights([scale.get_weights()[0], np.array([0.8], np.float32)])  # so that there is an excess
    example = [np.random.default_rng(0).random((1, 32, 32, 3)).astype(np.float32), np.full((1, 8, 8, 1), 0.1, "f")]
    of_both = {"down1_0_relu", "conditioned", "residual_bounded", "scaled", "excess", "scaled_added"}
    of_level = {"level_hidden", "mean_hidden", "level", "level_scale", "level_first", "level_excess"}
    assert choose_ranges(built, [example]).keys() == computed | of_both | of_level


def test_what_depends_on_the_level_alone_spans_all_levels() -> None:
    """Examples seldom have the highest ones: clipped there, camera-nano lost 2 dB at sigma 75."""
    built = camera_unet(**UNET)
    spec = TensorSpec("sigma", "sigma", "NHWC", 1, (0.0, 0.3), stride=4)
    found = level_ranges(built, spec)
    assert {"level_hidden", "mean_hidden", "level", "level_scale", "level_first", "level_excess"} == found.keys()
    kernel, bias = (weights.ravel()[0] for weights in built.get_layer("level_hidden").get_weights())
    of_first = np.clip(kernel * np.linspace(0, 0.3, 256) + bias, 0, 6)
    low, high = found["level_hidden"]
    assert low == 0
    assert high >= of_first.max() - 1e-6


def test_a_level_that_changes_nothing_has_a_range_that_fast_kernels_take() -> None:
    sigma = keras.Input((None, None, 1), name="sigma")
    spec = TensorSpec("sigma", "sigma", "NHWC", 1, (0.0, 0.3))
    zero = layers.Conv2D(1, 1, kernel_initializer="zeros", name="zero")(sigma)
    assert level_ranges(keras.Model(sigma, zero), spec) == {"zero": (0.0, 1.0)}


@pytest.mark.parametrize("also_read", [False, True])
def test_a_difference_that_is_only_clipped_spans_no_more(also_read: bool) -> None:
    now, before = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    difference = layers.Subtract(name="difference")([before, now])
    result = layers.Activation("hard_tanh")(layers.Rescaling(2.0)(difference))
    if also_read:
        result = layers.Add()([difference, result])
    found = clipped_ranges(keras.Model([now, before], result))
    assert found == ({} if also_read else {"difference": (-0.5, 0.5 * 127 / 128)})


def test_one_layer_of_the_level_or_none_has_its_range_too() -> None:
    image, sigma = keras.Input((None, None, 3), name="image"), keras.Input((None, None, 1), name="sigma")
    spec = TensorSpec("sigma", "sigma", "NHWC", 1, (0.0, 0.3))
    scaled = layers.Conv2D(1, 1, kernel_initializer=keras.initializers.Constant(2.0), name="scaled")(sigma)
    assert level_ranges(keras.Model([image, sigma], layers.Add()([image, scaled])), spec)["scaled"] == pytest.approx(
        (0, 0.6)
    )
    assert level_ranges(keras.Model([image, sigma], layers.Add()([image, sigma])), spec).keys() <= {"sigma"}


@pytest.fixture(scope="module")
def camera() -> keras.Model:
    return camera_unet(widths=(16, 32), encoder_convs=(1, 1), decoder_convs=(0,))


@pytest.mark.parametrize("span", [(-0.53, 0.52), (-0.2, 0.2), (0.0, 1.1)])
def test_what_is_added_to_the_frame_has_steps_of_one_level(camera: keras.Model, span: tuple[float, float]) -> None:
    ranges = {"scaled": span, "residual": (-0.5, 0.5)}
    found = in_whole_levels(camera, ranges)
    whole = (-128 / 255, 127 / 255)
    assert found == {"scaled": whole, "residual": (-0.5, 0.5), "scaled_added": (0, 1)}
    assert ranges["scaled"] == span, "what was given stays as it was"


def test_a_range_that_is_far_wider_stays(camera: keras.Model) -> None:
    assert in_whole_levels(camera, {"scaled": (-1.0, 1.0)}) == {"scaled": (-1.0, 1.0), "scaled_added": (0, 1)}


def test_a_model_without_such_a_sum_keeps_its_ranges() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="first")(image)
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(x))
    assert in_whole_levels(model, {"first": (-0.5, 0.5)}) == {"first": (-0.5, 0.5)}


def test_tensors_are_observed_in_models_within_models_and_at_every_use_of_a_layer() -> None:
    keras.utils.set_random_seed(0)
    twice = layers.Dense(3, name="twice")
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="within")], name="inner")
    first = keras.Input((3,))
    second = twice(inner(twice(first)))
    model = keras.Model(first, second)
    example = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    once = np.asarray(twice(example))
    within = np.asarray(inner.layers[-1](once))
    expected = {"twice": [once, np.asarray(twice(within))], "within": [within]}
    found: dict[str, list[np.ndarray]] = {}
    for layer, output in observed(model, [[example]], lambda layer: isinstance(layer, layers.Dense)):
        found.setdefault(layer.name, []).append(output)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)
    met = [value for _, value in observed(model, [[example]], lambda layer: layer is twice, inputs=True)]
    np.testing.assert_allclose(met, [example, within], atol=1e-6)
