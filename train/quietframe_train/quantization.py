"""Training for 8 bits: which range each tensor spans, and a model that feels its rounding while it trains.

The exporter chooses the ranges anew, by the same rule, on larger frames than training's patches.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from quietframe.errors import SourceError
from quietframe.images import write_whole
from quietframe_train.layers import PixelShuffle

Range: TypeAlias = tuple[float, float]
"""(low, high) of a tensor's 256 steps; 0 lies inside, as TFLite demands."""

SHRINKS = np.geomspace(1.0, 0.02, 40)
"""Shares of the half-ranges below and above the mean that are tried."""

_VALUES = 100_000
_LEAST_VARIANCE = 0.3  # of the mean of the examples'

# What the converters make one operation of: a linear layer, its normalization, its activation.
_LINEAR = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense, layers.Add, layers.Multiply)
_FUSED = (layers.BatchNormalization, layers.ReLU, layers.Activation, layers.LeakyReLU)


def choose_ranges(
    model: keras.Model, examples: Sequence[Sequence[NDArray[np.float32]]], *, deviations: float = math.inf
) -> dict[str, Range]:
    """The ranges of the tensors between a model's fused operations, by layer name.

    A converter takes the least and the greatest value that it has seen. A few outliers then cost every other value
    its precision. Here the range is the one whose 256 steps give the least mean squared error over the examples,
    clipping included, the error in each example as a share of how much its values vary: what is little in a frame with
    much noise is much in one with little. The model's outputs are left out, and so are tensors of zeros.

    Args:
        model: a functional Keras model.
        examples: inputs in the model's order, of any batch size.
        deviations: keep within so many standard deviations of the mean: for a model that can still learn to.
    """
    outputs = {maker(tensor) for tensor in model.outputs}
    seen: dict[str, list[NDArray[np.float32]]] = {}

    def watch(layer: Any, inner: Any, *args: Any, **kwargs: Any) -> Any:
        result = inner(*args, **kwargs)
        values = np.ravel(ops.convert_to_numpy(result))
        of_layer = seen.setdefault(layer.name, [])
        rng = np.random.default_rng(len(of_layer))
        of_layer.append(rng.choice(values, min(len(values), _VALUES // len(examples)), replace=False))
        return result

    with ExitStack() as stack:
        for layer in leaves(model):
            if _ends_an_operation(layer) and layer not in outputs:
                stack.enter_context(patched(layer, partial(watch, layer)))
        for inputs in examples:
            model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    found = {
        name: least_error_range(np.concatenate(values), deviations, _weights_of(values))
        for name, values in seen.items()
    }
    return {name: span for name, span in found.items() if span is not None}


def least_error_range(
    values: NDArray[np.float32], deviations: float = math.inf, weights: NDArray[np.float64] | None = None
) -> Range | None:
    """The range whose 256 steps represent the values with the least squared error; None for zeros alone.

    values: any shape. deviations: see `choose_ranges`. weights: what each value's error counts, of the same shape.
    """
    middle, furthest = float(values.mean()), deviations * float(values.std())
    low, high = max(float(values.min()), middle - furthest), min(float(values.max()), middle + furthest)
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
    """For each value the inverse of its example's variance; examples without much count no more than others."""
    variances = np.array([float(values.var()) for values in examples])
    weights = 1 / (variances + _LEAST_VARIANCE * variances.mean() + 1e-12)
    return np.repeat(weights, [len(values) for values in examples])


def write_ranges(path: Path, ranges: Mapping[str, Range]) -> None:
    """Write ranges as JSON, whole or not at all."""
    write_whole(path, (json.dumps(ranges, indent=1) + "\n").encode())


def read_ranges(path: Path) -> dict[str, Range]:
    """Read what `write_ranges` wrote. Raises SourceError if it is something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): (float(low), float(high)) for name, (low, high) in record.items()}
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise SourceError(f"{path}: not the ranges of a quantization phase ({exc})") from exc


@contextmanager
def fake_quantized(model: keras.Model, ranges: Mapping[str, Range]) -> Iterator[None]:
    """While this lasts, the model computes as its int8 file will: weights and tensors in 256 steps.

    Rounding lets the gradient through as if it were not there (Jacob et al. 2018, Quantization and Training of
    Neural Networks for Efficient Integer-Arithmetic-Only Inference). Batch normalization stands still, as it is
    folded into the weights whose rounding is felt. What was traced before is not changed: compile anew inside.
    """
    norms = {norm.input._keras_history.operation: norm for norm in leaves(model) if _is_norm(norm)}

    def convolve(layer: Any, inner: Any, inputs: Any) -> Any:
        gain = _gain(norms.get(layer))
        outputs = layer.convolution_op(inputs, _round_weights(layer.kernel * gain) / gain)
        outputs = outputs + layer.bias if layer.use_bias else outputs
        return layer.activation(outputs)

    def bound(span: Range, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: round_values(call(*args, **kwargs), span)

    with ExitStack() as stack:
        for layer in leaves(model):
            call: Callable[..., Any] = layer.call
            if type(layer) is layers.Conv2D:
                call = partial(convolve, layer, call)
            elif _is_norm(layer):
                call = partial(_stand_still, call)
            if layer.name in ranges:
                call = bound(ranges[layer.name], call)
            stack.enter_context(patched(layer, partial(_instead, call)))
        yield


@contextmanager
def norms_still(model: keras.Model) -> Iterator[None]:
    """While this lasts, batch normalization uses what it has seen before, in training, too; its scale and offset learn.

    What was traced before is not changed: compile anew inside.
    """
    with ExitStack() as stack:
        for layer in leaves(model):
            if _is_norm(layer):
                stack.enter_context(patched(layer, _stand_still))
        yield


def round_values(values: Any, span: Range) -> Any:
    """Values clipped to a range and rounded to its 256 steps, one of which is 0; the gradient is that of the clip."""
    step = (span[1] - span[0]) / 255
    low = -step * round(-span[0] / step)
    clipped = ops.clip(values, low, low + 255 * step)
    return clipped + ops.stop_gradient(ops.round((clipped - low) / step) * step + low - clipped)


@contextmanager
def patched(layer: Any, call: Callable[..., Any]) -> Iterator[None]:
    """While this lasts, `call(inner, ...)` stands in for the layer's own call, which it gets as `inner`."""
    original = layer.call
    layer.call = partial(call, original)
    try:
        yield
    finally:
        layer.call = original


def leaves(model: keras.Model) -> Iterator[Any]:
    """The layers of a model and of the models in it."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer)
        else:
            yield layer


def maker(tensor: Any) -> Any:
    """The layer that computes a tensor: inside a model that is a layer, and before what only moves values about."""
    layer, node, index = tensor._keras_history
    if isinstance(layer, keras.Model):
        return maker(layer.outputs[index])
    if isinstance(layer, (layers.Reshape, layers.Flatten, PixelShuffle)):
        return maker(layer._inbound_nodes[node].input_tensors[0])
    return layer


def _instead(call: Callable[..., Any], _inner: Any, *args: Any, **kwargs: Any) -> Any:
    return call(*args, **kwargs)


def _stand_still(inner: Any, inputs: Any, **_training: Any) -> Any:
    return inner(inputs, training=False)


def _is_norm(layer: Any) -> bool:
    return isinstance(layer, layers.BatchNormalization)


def _gain(norm: Any) -> Any:
    """What a batch normalization multiplies each channel by; 1 without one."""
    if norm is None:
        return 1.0
    gain = ops.rsqrt(norm.moving_variance + norm.epsilon)
    return gain * norm.gamma if norm.scale else gain


def _round_weights(kernel: Any) -> Any:
    """A (height, width, in, out) kernel in symmetric 8-bit steps, a scale for each output channel."""
    scale = ops.maximum(ops.max(ops.abs(kernel), axis=(0, 1, 2), keepdims=True) / 127, 1e-12)
    return kernel + ops.stop_gradient(ops.round(kernel / scale) * scale - kernel)


def _ends_an_operation(layer: Any) -> bool:
    if not isinstance(layer, (*_LINEAR, *_FUSED)):
        return False
    readers = [node.operation for node in layer._outbound_nodes]
    if any(isinstance(reader, layers.Concatenate) for reader in readers):
        return False  # what is joined has one range: a noise level's would be the picture's, too
    return not (len(readers) == 1 and isinstance(readers[0], _FUSED))
