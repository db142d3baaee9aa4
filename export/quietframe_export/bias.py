"""Bias correction: what 8-bit weights add to the mean of a channel is taken off beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from quietframe_train.quantization import leaves, patched

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)


def correct_biases(model: keras.Model, examples: Sequence[Sequence[NDArray[np.float32]]]) -> keras.Model:
    """A copy of a functional model whose convolutions expect their weights to be rounded to 8 bits.

    Rounding a kernel (symmetric, one scale for each output channel, as TFLite and ONNX Runtime do, with batch
    normalization folded in) shifts a channel's mean by the rounding error times the mean input. That is known
    beforehand, and is taken off the bias, or put on the normalization's mean (Nagel et al. 2019, Data-Free
    Quantization, section 4.2, with measured means). It matters where inputs are far from zero.

    Args:
        model: left as it is.
        examples: inputs in the model's order, batch size 1.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    norms = dict(_normalized(copy))
    with _mean_inputs(copy) as means:
        for inputs in examples:
            copy(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    for layer, seen in means.items():
        _correct(layer, norms.get(layer), np.mean(seen, axis=0))
    return copy


def _correct(layer: Any, norm: Any, mean_input: NDArray[np.float32]) -> None:
    kernel, *rest = layer.get_weights()
    axes = _output_axes(layer)
    shape = [kernel.shape[axis] if axis in axes else 1 for axis in range(4)]
    scale = np.ones(math.prod(shape), kernel.dtype)
    if norm is not None:
        scale = scale / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
        scale = scale * np.asarray(norm.gamma) if norm.scale else scale
    folded = kernel * scale.reshape(shape)
    shift = _response(layer, _rounded(folded, axes) - folded, mean_input)
    if norm is not None:
        norm.moving_mean.assign(norm.moving_mean + np.divide(shift, scale, out=np.zeros_like(shift), where=scale != 0))
    elif rest:
        layer.set_weights([kernel, rest[0] - shift])


def _normalized(model: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Convolutions without activation and the batch normalization that is their only reader."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _normalized(layer)
        elif isinstance(layer, layers.BatchNormalization):
            source = layer.input._keras_history.operation
            alone = len(source._outbound_nodes) == 1
            if isinstance(source, _CONVOLUTIONS) and alone and source.activation is keras.activations.linear:
                yield source, layer


def _output_axes(layer: Any) -> tuple[int, ...]:
    """The axes of a kernel that number its output channels."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return (2, 3)
    return (2,) if isinstance(layer, layers.Conv2DTranspose) else (3,)


def _rounded(kernel: NDArray[np.float32], output_axes: tuple[int, ...]) -> NDArray[np.float32]:
    others = tuple(axis for axis in range(4) if axis not in output_axes)
    scale = np.abs(kernel).max(axis=others, keepdims=True) / 127
    scale[scale == 0] = 1
    return np.rint(kernel / scale) * scale


def _response(layer: Any, error: NDArray[np.float32], mean_input: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a kernel gives for an input that is `mean_input` everywhere: (output channels,)."""
    taps = error.sum(axis=(0, 1))
    if isinstance(layer, layers.DepthwiseConv2D):
        return (taps * mean_input[:, None]).ravel()
    if isinstance(layer, layers.Conv2DTranspose):
        # With a stride each output pixel meets only a part of the taps, on average 1 / stride² of them.
        return taps @ mean_input / np.prod(layer.strides)
    return mean_input @ taps


@contextmanager
def _mean_inputs(model: keras.Model) -> Iterator[Mapping[Any, list[NDArray[np.float32]]]]:
    """Record each convolution's mean input by channel while the model runs."""
    means: dict[Any, list[NDArray[np.float32]]] = {}
    with ExitStack() as stack:
        for layer in leaves(model):
            if isinstance(layer, _CONVOLUTIONS):
                stack.enter_context(patched(layer, _recording(means.setdefault(layer, []))))
        yield means


def _recording(seen: list[NDArray[np.float32]]) -> Callable[..., Any]:
    def call(inner: Any, inputs: Any) -> Any:
        seen.append(np.asarray(keras.ops.mean(inputs, axis=(0, 1, 2))))
        return inner(inputs)

    return call
