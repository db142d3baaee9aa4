"""From a Keras model to a TensorFlow function with fixed names and frozen weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from keras import layers

from quietframe.card import ModelCard, TensorSpec
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.keras_graph import with_calls

DEFAULT_SIZE_HW = (480, 640)
"""The frame size that a TFLite file of a fully convolutional model starts with. Runtimes resize its input."""


def input_signature(engine: KerasEngine, card: ModelCard, *, free_size: bool) -> Sequence[tf.TensorSpec]:
    """Give the inputs with batch size 1, in the engine's order.

    free_size: leave height and width open where the card says that any size goes.
    """
    specs = {spec.name: spec for spec in card.inputs}
    return [
        tf.TensorSpec(_shape(specs[name], info.shape, card, free_size=free_size), tf.float32, name=name)
        for name, info in engine.inputs.items()
    ]


def trace(engine: KerasEngine, card: ModelCard, *, free_size: bool, bound_images: bool) -> Any:
    """Make a `tf.function` of the model; its result is a dictionary by the card's output names.

    bound_images: tell a quantizer that output images span exactly their value range, so that an 8-bit result
    is an 8-bit image. A range found by calibration is a little wider and costs up to 1.4 levels.
    """
    signature = input_signature(engine, card, free_size=free_size)
    engine = KerasEngine(with_calls(engine.model, _resizing), card)

    @tf.function(input_signature=signature, autograph=False)
    def function(*inputs: Any) -> dict[str, Any]:
        results = engine.call(dict(zip(engine.inputs, inputs, strict=True)))
        for spec in card.outputs:
            if bound_images and spec.role == "image":
                low, high = spec.value_range
                results[spec.name] = tf.quantization.fake_quant_with_min_max_args(results[spec.name], low, high)
        return results

    return function


class _Resize(layers.UpSampling2D):
    """Upsampling by repetition as one resize, where the size is known; Keras writes tiles."""

    def call(self, inputs: Any) -> Any:
        height, width = inputs.shape[1:3]
        if height is None or width is None:
            return super().call(inputs)
        return tf.image.resize(inputs, (height * self.size[0], width * self.size[1]), method="nearest")


def _resizing(layer: Any, *args: Any, **kwargs: Any) -> Any:
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest":
        layer = _Resize.from_config(layer.get_config())
    return layer(*args, **kwargs)


def _shape(
    spec: TensorSpec, shape: tuple[int | None, ...], card: ModelCard, *, free_size: bool
) -> tuple[int | None, ...]:
    if spec.layout not in ("NHWC", "NCHW") or card.spatial.kind == "fixed":
        return (1, *shape[1:])
    multiple = card.spatial.multiple
    whole = (-(-size // multiple) * multiple // spec.stride for size in DEFAULT_SIZE_HW)
    height, width = (None, None) if free_size else whole
    return (1, height, width, spec.channels) if spec.layout == "NHWC" else (1, spec.channels, height, width)
