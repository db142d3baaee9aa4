"""Choose the range of each tensor of an int8 file from examples, and pass it to TFLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from numpy.typing import NDArray

from quietframe.card import ModelCard, TensorSpec
from quietframe_export.keras_graph import maker, observed, with_calls

Range: TypeAlias = tuple[float, float]
"""(low, high) of a tensor's 256 steps; 0 lies inside, as TFLite demands."""

SHRINKS = np.geomspace(1.0, 0.02, 40)
"""Shares of the half-ranges below and above the mean that are tried."""

_OF_ZEROS: Range = (0.0, 1.0)
"""Of zeros alone any range is right; TFLite would take one so small that no fast kernel runs it."""

_VALUES = 100_000
_MIN_VARIANCE = 0.3  # of the mean of the examples'

# What the converters make one operation of: a linear layer, its normalization, its activation.
_LINEAR = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense, layers.Add, layers.Multiply)
_FUSED = (layers.BatchNormalization, layers.ReLU, layers.Activation, layers.LeakyReLU)


def ranges_for(
    model: keras.Model, card: ModelCard, examples: Sequence[Sequence[NDArray[np.float32]]]
) -> dict[str, Range]:
    """Choose all ranges of a model that its int8 file is to have, by layer name: of least error where nothing else is.

    examples: inputs in the model's order.
    """
    ranges = in_whole_levels(model, choose_ranges(model, examples))
    if spec := card.tensor("sigma", "inputs"):
        ranges |= level_ranges(model, spec)
    return ranges | clipped_ranges(model)


def choose_ranges(model: keras.Model, examples: Sequence[Sequence[NDArray[np.float32]]]) -> dict[str, Range]:
    """Choose the ranges of the tensors between a model's fused operations, by layer name.

    A converter takes the least and the greatest value that it has seen. A few outliers then cost every other value
    its precision. Here the range is the one whose 256 steps give the least mean squared error over the examples,
    clipping included, the error in each example as a share of how much its values vary: what is little in a frame with
    much noise is much in one with little. The model's outputs are left out.

    examples: inputs in the model's order, of any batch size.
    """
    outputs = {maker(tensor) for tensor in model.outputs}
    seen: dict[str, list[NDArray[np.float32]]] = {}

    for layer, output in observed(model, examples, lambda layer: _ends_an_operation(layer) and layer not in outputs):
        values, of_layer = np.ravel(output), seen.setdefault(layer.name, [])
        rng = np.random.default_rng(len(of_layer))
        of_layer.append(rng.choice(values, min(len(values), _VALUES // len(examples)), replace=False))
    found = {name: least_error_range(np.concatenate(values), _weights_of(values)) for name, values in seen.items()}
    return {name: span or _OF_ZEROS for name, span in found.items()}


def level_ranges(model: keras.Model, spec: TensorSpec) -> dict[str, Range]:
    """Find the ranges of what a model computes from the noise level alone, over all levels of its card, by layer name.

    Examples seldom have the highest levels; chosen by them, a range would clip what the model says of those.
    """
    source = next(tensor for tensor in model.inputs if tensor.name == spec.name)
    layers_ = [layer for layer in model.layers if _ends_an_operation(layer) and _sees_alone(layer.output, source)]
    if not layers_:
        return {}
    levels = np.linspace(*spec.value_range, 256, dtype=np.float32).reshape(-1, 1, 1, 1)
    found = keras.Model(source, [layer.output for layer in layers_])(levels, training=False)
    values = [keras.ops.convert_to_numpy(each) for each in (found if isinstance(found, list) else [found])]
    spans = {
        layer.name: (min(0.0, float(of_layer.min())), max(0.0, float(of_layer.max())))
        for layer, of_layer in zip(layers_, values, strict=True)
    }
    return {name: span if span != (0.0, 0.0) else _OF_ZEROS for name, span in spans.items()}


def _sees_alone(tensor: Any, source: Any) -> bool:
    """Return whether a tensor is computed from one of the model's inputs alone."""
    layer, node, _ = tensor._keras_history
    inputs = layer._inbound_nodes[node].input_tensors
    return tensor is source if not inputs else all(_sees_alone(each, source) for each in inputs)


def least_error_range(values: NDArray[np.float32], weights: NDArray[np.float64] | None = None) -> Range | None:
    """Find the range whose 256 steps represent the values with the least squared error; None for zeros alone.

    values: any shape. weights: what each value's error counts, of the same shape.
    """
    middle, low, high = float(values.mean()), float(values.min()), float(values.max())
    best, least = None, np.inf
    for below in SHRINKS:
        for above in SHRINKS:
            span = (min(0.0, middle - (middle - low) * below), max(0.0, middle + (high - middle) * above))
            step = (span[1] - span[0]) / 255
            if step <= 0:
                continue
            error = float(np.average((values - np.clip(values, *span)) ** 2, weights=weights)) + step**2 / 12
            if error < least:
                best, least = (float(span[0]), float(span[1])), error
    return best


def _weights_of(examples: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Weigh each value by the inverse of its example's variance; examples without much count no more than others."""
    variances = np.array([float(values.var()) for values in examples])
    weights = 1 / (variances + _MIN_VARIANCE * variances.mean() + 1e-12)
    return np.repeat(weights, [len(values) for values in examples])


_STEPS = 255  # from the lowest of 256 values to the highest


def in_whole_levels(model: keras.Model, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Give what a model adds to its frame at the end steps of one 8-bit level, unless they are far larger.

    The sum is rounded to whole levels. Other steps before that are a second rounding: those of 1.1 levels cost 0.06 dB
    at sigma 5. Of what was to be removed at sigma 50, a bit more is clipped. Frames are in [0, 1], and so are sums of
    them on the way.

    ranges: by layer name, from `choose_ranges`.
    """
    found = dict(ranges)
    sums = [layer for output in model.outputs if isinstance(layer := maker(output), layers.Add)]
    for last in sums:
        for layer in map(maker, last.input):
            if isinstance(layer, layers.Add):
                sums.append(layer)
                found[layer.name] = 0.0, 1.0
            elif layer.name in ranges and 255 * (ranges[layer.name][1] - ranges[layer.name][0]) / _STEPS < 1.4:
                found[layer.name] = -128 / 255, 127 / 255
    return found


def clipped_ranges(model: keras.Model) -> dict[str, Range]:
    """Find the ranges of differences that are scaled and clipped to ±1 next, by layer name: no further than that."""
    found = {}
    for scaling in (layer for layer in model.layers if isinstance(layer, layers.Rescaling) and not layer.offset):
        source = maker(scaling.input)
        clipped = _readers(source) == [scaling] and [*map(_is_hard_tanh, _readers(scaling))] == [True]
        if isinstance(source, layers.Subtract) and clipped:
            limit = 1 / float(scaling.scale)
            found[source.name] = -limit, limit * 127 / 128  # so that 0 is one of the steps
    return found


def _is_hard_tanh(layer: Any) -> bool:
    return isinstance(layer, layers.Activation) and layer.activation is keras.activations.hard_tanh


def _readers(layer: Any) -> list[Any]:
    return [node.operation for node in layer._outbound_nodes]


class _Bounded(layers.Layer):
    """Put a range into the graph, where TFLite's quantizer takes it."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._span = low, high

    def get_config(self) -> dict[str, Any]:
        low, high = self._span
        return {**super().get_config(), "low": low, "high": high}

    def call(self, inputs: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(inputs, *self._span)


def bounded(model: keras.Model, ranges: Mapping[str, Range]) -> keras.Model:
    """Copy a model, with ranges of its tensors that TFLite's quantizer keeps to.

    ranges: by layer name, from `choose_ranges`.
    """

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        return _Bounded(*ranges[layer.name])(result) if layer.name in ranges else result

    return with_calls(model, call)


_OF_FIXED_RANGE = (keras.activations.sigmoid, keras.activations.tanh, keras.activations.softmax)
"""TFLite gives them their range itself: another one costs a detour through floats."""

_MOVING = {
    "UpSampling2D", "MaxPooling2D", "AveragePooling2D", "Reshape", "Flatten", "Permute", "Transpose", "ZeroPadding2D",
    "Cropping2D", "Dropout", "SpatialDropout2D", "PixelShuffle", "PixelUnshuffle", "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
"""Layers and operations that only move values about: what goes in and what comes out has one range in TFLite."""


def _is_joined(layer: Any) -> bool:
    """Return whether a layer's output becomes a part of a concatenation, as it is."""
    names = {type(reader).__name__: reader for reader in _readers(layer)}
    return "Concatenate" in names or any(name in _MOVING and _is_joined(reader) for name, reader in names.items())


def _ends_an_operation(layer: Any) -> bool:
    if not isinstance(layer, (*_LINEAR, *_FUSED)):
        return False
    readers = _readers(layer)
    if getattr(layer, "activation", None) in _OF_FIXED_RANGE:
        return False
    if _is_joined(layer):
        return False  # what is joined has one range: a noise level's would be the image's, too
    return not (len(readers) == 1 and isinstance(readers[0], _FUSED))
