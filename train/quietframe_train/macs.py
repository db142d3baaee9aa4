"""Count the multiply-accumulates of a Keras model from its layers' shapes.

Only products of weights with data count: convolutions and dense layers. Additions, activations and what the
exporter folds away (batch normalization) are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, TypeAlias

import keras
from keras import layers

from quietframe.errors import UsageError
from quietframe_train.camera_noise import LEVEL_STRIDE

Shape: TypeAlias = tuple[int, ...]

_SIDE = 64  # a multiple of what every camera model needs
_STRIDES = {"sigma": LEVEL_STRIDE, "confidence": 2}  # of maps


def count_macs(model: keras.Model, size_hw: tuple[int, int] | None = None) -> int:
    """Count the multiply-accumulates for one image.

    size_hw: height and width for an image input that leaves them open; maps of levels are smaller.
    Raises UsageError: not a graph of layers, sizes left open, or a layer with weights that cannot be counted.
    """
    if not model.built or not getattr(model, "inputs", None):
        raise UsageError(f"{model.name}: only built functional and sequential models can be counted")
    return _count(model, [_closed(tensor.shape, size_hw, tensor.name) for tensor in model.inputs])


def macs_per_pixel(model: keras.Model) -> float:
    """Count the multiply-accumulates for each pixel of the (first) image input.

    A model of one size: all of them by its pixels. A fully convolutional one: those that a further pixel adds,
    so that what is done once a frame, such as the noise level's layers, is left out.

    Raises UsageError as `count_macs` does.
    """
    height, width = next((t.shape[1:3] for t in model.inputs if len(t.shape) == 4), (None, None))
    if height is not None and width is not None:
        return count_macs(model) / (height * width)
    wide, narrow = count_macs(model, (_SIDE, 2 * _SIDE)), count_macs(model, (_SIDE, _SIDE))
    return (wide - narrow) / _SIDE**2


def _count(model: keras.Model, shapes: list[Shape]) -> int:
    """Build a copy of the graph at these input shapes and add up each call of a layer."""
    total = 0

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal total
        outputs = layer(*args, **kwargs)
        sources = [tensor.shape[1:] for tensor in keras.tree.flatten(args[0])]
        if isinstance(layer, keras.Model):
            total += _count(layer, [(1, *shape) for shape in sources])
        elif rule := _RULES.get(type(layer)):
            total += rule(layer, sources[0], outputs.shape[1:])
        elif getattr(layer, "weights", None):
            raise UsageError(f"layer {layer.name!r} ({type(layer).__name__}): its MACs cannot be counted")
        return outputs

    graph = keras.Model(model.inputs, model.outputs)  # of a sequential model, too
    tensors = [keras.Input(batch_shape=shape, dtype=t.dtype) for shape, t in zip(shapes, graph.inputs, strict=True)]
    keras.models.clone_model(graph, input_tensors=tensors, call_function=call)
    return total


def _closed(shape: tuple[int | None, ...], size_hw: tuple[int, int] | None, name: str) -> Shape:
    filled = [1, *shape[1:]]
    if size_hw is not None and len(filled) == 4:
        stride = _STRIDES.get(name, 1)
        filled[1:3] = [given or size // stride for given, size in zip(shape[1:3], size_hw, strict=True)]
    if None in filled:
        raise UsageError(f"input {name!r} is {shape}: state its height and width to count its MACs")
    return tuple(side for side in filled if side is not None)


_RULES: Mapping[type, Callable[[Any, Shape, Shape], int]] = {
    layers.Dense: lambda layer, source, target: prod(source) * layer.units,
    layers.Conv2D: lambda layer, source, target: prod(target) * prod(layer.kernel_size) * source[-1] // layer.groups,
    layers.Conv2DTranspose: lambda layer, source, target: prod(source) * prod(layer.kernel_size) * target[-1],
    layers.BatchNormalization: lambda *_: 0,
}
"""From a layer and the shapes of its input and output, without the batch axis."""
