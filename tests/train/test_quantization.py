"""Quantization-aware training of any Keras model."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from quietframe.errors import UsageError
from quietframe_train import quantize_aware
from quietframe_train.layers import FakeQuantization, QuantizedWeights
from quietframe_train.quantization import without_quantization


def foreign() -> keras.Model:
    """Layers of all kinds that are rounded: fused, shared, nested, two kernels in one, and an operation."""
    keras.utils.set_random_seed(5)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.ReLU(name="bend")(layers.BatchNormalization(name="norm")(x))
    shared = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="shared")
    x = shared(shared(x))
    x = keras.Sequential([layers.SeparableConv2D(8, 3, padding="same"), layers.LeakyReLU()], name="inner")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same", name="up")(layers.MaxPooling2D()(x)) * 0.5
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(4, name="scores")(layers.Dense(5, activation="relu", name="hidden")(x)))


IMAGES = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)


def kinds(model: keras.Model, kind: type) -> list[str]:
    return [layer.name for layer in model._flatten_layers() if isinstance(layer, kind)]


def test_what_converters_make_one_operation_of_is_rounded_once() -> None:
    aware = quantize_aware(foreign())
    found = kinds(aware, FakeQuantization)
    expected = ("bend", "shared", "up", "hidden")
    assert {f"{name}_quantized" for name in expected} | {"shared_quantized_2"} <= {*found}
    assert not {f"{name}_quantized" for name in ("conv", "norm", "scores")} & {*found}
    assert len(kinds(aware, QuantizedWeights)) == 6, "shared once"


def test_it_computes_as_before_and_rounds_while_it_trains() -> None:
    model = foreign()
    aware = quantize_aware(model)
    np.testing.assert_array_equal(aware(IMAGES, training=False), model(IMAGES, training=False))
    plain, rounded = (np.asarray(each(IMAGES, training=True)) for each in (model, aware))
    assert 0 < np.abs(plain - rounded).max() < 0.2 * np.abs(plain).max()


@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (lambda: layers.Conv2D(5, 3), (0, 1, 2)),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (0, 1)),
        (lambda: layers.Conv2DTranspose(4, 3), (0, 1, 3)),
        (lambda: layers.Dense(4), (0,)),
    ],
)
def test_kernels_have_one_scale_for_each_output_channel(make, axes) -> None:
    """Seen through inputs that pick out the weights: outputs while training are those of the rounded kernel."""
    layer = make()
    wrapper = QuantizedWeights(layer)
    wrapper(IMAGES)
    kernel = layer.get_weights()[0] * np.geomspace(1, 1000, layer.get_weights()[0].shape[-1])
    step = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    layer.set_weights([kernel, *layer.get_weights()[1:]])
    found = np.asarray(wrapper(IMAGES, training=True))
    layer.set_weights([np.rint(kernel / step) * step, *layer.get_weights()[1:]])
    np.testing.assert_allclose(found, np.asarray(layer(IMAGES)), rtol=1e-3, atol=1e-4)


def test_ranges_follow_what_passes_and_hold_zero() -> None:
    layer = FakeQuantization()
    values = np.linspace(0.5, 2.0, 1000, dtype=np.float32)[None]
    found = np.asarray(layer(values, training=True))
    assert (float(layer.low), float(layer.high)) == (0.0, 2.0)
    assert len(np.unique(found)) <= 256 and np.abs(found - values).max() <= 1.01 / 255
    np.testing.assert_array_equal(layer(values), values)
    for _ in range(3):
        layer(2 * values, training=True)
    assert 2.0 < float(layer.high) < 4.0


def test_every_kernel_learns() -> None:
    aware = quantize_aware(foreign())
    aware.compile("sgd", "mse")
    before = [np.asarray(each) for each in aware.trainable_variables]
    aware.fit(IMAGES, np.ones((4, 4)), epochs=1, verbose=0)
    for variable, old in zip(aware.trainable_variables, before, strict=True):
        assert np.abs(np.asarray(variable) - old).max() > 0, variable.path


def test_it_is_saved_loaded_and_undone(tmp_path: Path) -> None:
    model = foreign()
    aware = quantize_aware(model)
    aware.save(tmp_path / "aware.keras")
    loaded = keras.models.load_model(tmp_path / "aware.keras")
    np.testing.assert_array_equal(loaded(IMAGES, training=False), model(IMAGES, training=False))
    plain = without_quantization(loaded)
    assert not kinds(plain, FakeQuantization) and not kinds(plain, QuantizedWeights)
    assert len(kinds(plain, keras.layers.Layer)) == len(kinds(model, keras.layers.Layer))
    np.testing.assert_allclose(plain(IMAGES, training=True), model(IMAGES, training=True), rtol=1e-5)
    assert without_quantization(model) is model


def test_what_has_no_known_layers_is_refused() -> None:
    class Subclassed(keras.Model):
        def call(self, inputs):
            return ops.relu(inputs)

    with pytest.raises(UsageError, match="functional or a built Sequential"):
        quantize_aware(Subclassed())
    with pytest.raises(UsageError, match="aware already"):
        quantize_aware(quantize_aware(foreign()))
