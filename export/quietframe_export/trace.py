"""From a Keras model to a TensorFlow function with fixed names and frozen weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.python.eager.wrap_function import function_from_graph_def
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from quietframe.card import ModelCard, TensorSpec
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.keras_graph import with_calls

DEFAULT_SIZE_HW = (480, 640)
"""The frame size that a TFLite file of a fully convolutional model starts with. Runtimes resize its input."""


def input_signature(
    engine: KerasEngine, card: ModelCard, *, free_size: bool, batch: int = 1
) -> Sequence[tf.TensorSpec]:
    """Give the inputs for so many images at once, in the engine's order.

    free_size: leave height and width open where the card says that any size goes.
    """
    specs = {spec.name: spec for spec in card.inputs}
    return [
        tf.TensorSpec((batch, *_shape(specs[name], info.shape, card, free_size=free_size)), tf.float32, name=name)
        for name, info in engine.inputs.items()
    ]


def trace(
    engine: KerasEngine,
    card: ModelCard,
    *,
    free_size: bool,
    bound_images: bool,
    batch: int = 1,
    call: Callable[..., Any] | None = None,
) -> Any:
    """Make a `tf.function` of the model; its result is a dictionary by the card's output names.

    bound_images: tell a quantizer that output images span exactly their value range, so that an 8-bit result
    is an 8-bit image. A range found by calibration is a little wider and costs up to 1.4 levels.
    call: calls a layer; None: `portable`.
    """
    signature = input_signature(engine, card, free_size=free_size, batch=batch)
    engine = KerasEngine(with_calls(engine.model, call or portable), card)

    @tf.function(input_signature=signature, autograph=False)
    def function(*inputs: Any) -> dict[str, Any]:
        results = engine.call(dict(zip(engine.inputs, inputs, strict=True)))
        for spec in card.outputs:
            if bound_images and spec.role == "image":
                low, high = spec.limits
                results[spec.name] = tf.quantization.fake_quant_with_min_max_args(results[spec.name], low, high)
        return results

    return function


_OF_SHAPES = {"Shape", "ShapeN", "Size", "OnesLike", "ZerosLike"}


def freeze(function: Any, signature: Sequence[tf.TensorSpec]) -> Any:
    """Make a `tf.function` of a traced one, with its weights and all else that it holds as constants."""
    concrete = function.get_concrete_function()
    frozen = _quantizable(convert_variables_to_constants_v2(concrete))
    names = sorted(concrete.structured_outputs)  # TensorFlow flattens dictionaries by sorted keys

    @tf.function(input_signature=signature, autograph=False)
    def named(*inputs: Any) -> dict[str, Any]:
        return dict(zip(names, frozen(*inputs), strict=True))

    return named


def _quantizable(function: Any) -> Any:
    """Write squares, cubes and signs as multiplications: TFLite's quantizer leaves SQUARE, POW and NEG in floats."""
    graph, added = function.graph.as_graph_def(), []
    exact_gelu = {name for node in graph.node if node.op == "Erfc" for name in node.input}  # which the converter knows
    kept = {name for node in graph.node if node.name in exact_gelu for name in node.input}
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph.node if node.op == "Const"}

    def add(node: Any, op: str, *inputs: str, value: float | None = None) -> str:
        new = tf.compat.v1.NodeDef(name=f"{node.name}/factor", op=op, input=inputs)
        new.attr["T" if value is None else "dtype"].type = node.attr["T"].type
        if value is not None:
            new.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float32(value)))
        added.append(new)
        return str(new.name)

    for node in graph.node:
        if "T" not in node.attr or node.attr["T"].type != tf.float32.as_datatype_enum:
            continue
        power = constants.get(node.input[1], np.zeros(2)) if node.op == "Pow" else np.zeros(2)
        if node.op == "Square" or (power == 2).all():
            factors = [node.input[0]] * 2
        elif (power == 3).all():
            factors = [node.input[0], add(node, "Mul", *[node.input[0]] * 2)]
        elif node.op == "Neg" and node.name not in kept:
            factors = [node.input[0], add(node, "Const", value=-1)]
        elif node.op == "SquaredDifference" and _rank(function, node.name) > 4:
            factors = [add(node, "Sub", *node.input[:2])] * 2  # which TFLite would write as SQUARE
        else:
            continue
        controls = [name for name in node.input if name.startswith("^")]
        node.op = "Mul"
        del node.input[:]
        node.input.extend([*factors, *controls])
    graph.node.extend(added)
    names = ([tensor.name for tensor in tensors] for tensors in (function.inputs, function.outputs))
    return function_from_graph_def(graph, *names)


def _rank(function: Any, name: str) -> int:
    return function.graph.get_operation_by_name(name).outputs[0].shape.rank or 0


def computes_sizes(function: Any) -> bool:
    """Return whether a traced function computes sizes from its inputs' shapes, which a fixed trace would hold fixed."""
    return bool(_OF_SHAPES & _operations(function))


def has_loops(function: Any) -> bool:
    """Return whether a traced function holds loops or branches: graphs within the graph."""
    return bool({"While", "StatelessWhile", "If", "StatelessIf"} & _operations(function))


def _operations(function: Any) -> set[str]:
    """List the types of a traced function's operations, with those of the functions that it calls."""
    graph = function.get_concrete_function().graph.as_graph_def()
    return {node.op for nodes in (graph.node, *(each.node_def for each in graph.library.function)) for node in nodes}


class _Resize(layers.UpSampling2D):
    """Upsampling as one resize; Keras writes tiles for repetition, and takes no open size for interpolation."""

    def call(self, inputs: Any) -> Any:
        sizes = (size or tf.shape(inputs)[axis] for axis, size in enumerate(inputs.shape[1:3], start=1))
        height, width = (size * factor for size, factor in zip(sizes, self.size, strict=True))
        return tf.image.resize(inputs, (height, width), method=self.interpolation)


class _GroupedConv2D(layers.Conv2D):
    """A grouped convolution as TensorFlow states it; Keras compiles it by XLA, which converters do not take."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return tf.nn.conv2d(
            inputs, kernel, list(self.strides), self.padding.upper(), dilations=list(self.dilation_rate)
        )


MAX_UNROLLED = 128
"""Time steps up to which a recurrent layer becomes its steps, one after the other: TFLite quantizes no loops."""


def portable(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer in the form that converters know."""
    if isinstance(layer, layers.UpSampling2D) and layer.interpolation in ("nearest", "bilinear"):
        layer = _Resize.from_config(layer.get_config())
    elif type(layer) is layers.Conv2D and layer.groups > 1:
        layer.__class__ = _GroupedConv2D
    for each in (layer, getattr(layer, "forward_layer", None), getattr(layer, "backward_layer", None)):
        if isinstance(each, layers.RNN) and (args[0].shape[1] or MAX_UNROLLED + 1) <= MAX_UNROLLED:
            each.unroll = True
    return layer(*args, **kwargs)


def in_scopes(scopes: dict[str, str]) -> Callable[..., Any]:
    """Make what `trace` calls layers with, so that the operations of each are named `SCOPE/…`.

    Keras numbers its own scopes: `conv2d_1/` may be of the layer `conv2d`.
    scopes: receives the scope of each layer, with the layer's name, in the order of the calls.
    """

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        scope = re.sub(r"[^A-Za-z0-9_.>-]", "_", layer.name).lstrip("_")
        scopes[scope] = layer.name
        if isinstance(layer, layers.Lambda):
            return portable(layer, *args, **kwargs)
        if not isinstance(layer, layers.Layer):  # an operation is not copied with its model, a layer is
            name, layer = layer.name, type(layer).from_config(layer.get_config())
            layer.name = name
        compute = layer.call

        def scoped(*args: Any, **kwargs: Any) -> Any:
            with tf.name_scope(f"{scope}/"):
                return compute(*args, **kwargs)

        layer.call = scoped
        return portable(layer, *args, **kwargs)

    return call


def _shape(
    spec: TensorSpec, shape: tuple[int | None, ...], card: ModelCard, *, free_size: bool
) -> tuple[int | None, ...]:
    """Give a tensor's shape without the axis of images. A card may fix the size of a model that takes any."""
    if spec.layout not in ("NHWC", "NCHW") or None not in shape[1:]:
        return shape[1:]
    multiple = card.spatial.multiple
    whole = (-(-size // multiple) * multiple // spec.stride for size in card.spatial.size_hw or DEFAULT_SIZE_HW)
    height, width = (None, None) if free_size else whole
    return (height, width, spec.channels) if spec.layout == "NHWC" else (spec.channels, height, width)
