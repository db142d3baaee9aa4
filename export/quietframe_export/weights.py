"""Round weights to 8 bits for their calibration inputs, and correct the biases for the rest.

The converters then find the weights on their steps, and round nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from quietframe_export.keras_graph import observed, plainly, with_calls

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)
_PATCHES = 20_000
"""Patches of its input on which a convolution is rounded, of all examples together."""
_MAX_STEPS = 4000


def round_weights(model: keras.Model, examples: Sequence[Sequence[NDArray[np.float32]]]) -> keras.Model:
    """Copy a functional model with its convolutions rounded to 8 bits.

    Steps are symmetric, one scale for each output channel, as TFLite and ONNX Runtime have them, with batch
    normalization folded in. Each weight goes up or down so that the outputs change least on the inputs which the
    convolution meets (the objective of AdaRound, Nagel et al. 2020, descended weight by weight): neighbouring pixels
    are alike, so errors of neighbouring weights can cancel, and rounded one by one they let brightness through filters
    that are to see detail alone. What remains shifts a channel's mean by the rounding error times the mean input; it is
    taken off the bias, or put on the normalization's mean (Nagel et al. 2019, section 4.2, with measured means).
    Depthwise, transposed, grouped and dilated convolutions are rounded to the nearest step.

    examples: inputs in the model's order, batch size 1.
    """
    copy = with_calls(model, plainly)
    norms = dict(normalized(copy))
    met: dict[Any, _Met] = {}
    for layer, inputs in observed(copy, examples, lambda layer: isinstance(layer, _CONVOLUTIONS), inputs=True):
        met.setdefault(layer, _Met(layer, _PATCHES // len(examples))).add(inputs)
    for layer, inputs_met in met.items():
        _round(layer, norms.get(layer), inputs_met)
    return copy


class _Met:
    """The inputs of a convolution: their mean by channel, and the covariance of what lay under its kernel."""

    def __init__(self, layer: Any, patches: int) -> None:
        self._layer, self._patches = layer, patches
        self._rng = np.random.default_rng(0)
        self._means: list[NDArray[np.float32]] = []
        self._count = 0
        self._sum: NDArray[np.float64] = np.zeros(())
        self._products: NDArray[np.float64] = np.zeros(())

    def add(self, frames: NDArray[np.float32]) -> None:
        """frames: (batch, height, width, channels)."""
        self._means.append(frames.mean(axis=(0, 1, 2)))
        layer = self._layer
        if type(layer) is not layers.Conv2D or layer.groups > 1 or layer.dilation_rate != (1, 1):
            return
        if layer.padding == "same":
            frames = np.pad(frames, ((0, 0), *((size // 2, size // 2) for size in layer.kernel_size), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(frames, layer.kernel_size, axis=(1, 2))
        chosen = tuple(self._rng.integers(0, size, self._patches) for size in windows.shape[:3])
        # (patches, channels, height, width) into the order of a kernel
        seen = windows[chosen].transpose(0, 2, 3, 1).reshape(self._patches, -1).astype(np.float64)
        self._sum = self._sum + seen.sum(axis=0)
        self._products = self._products + seen.T @ seen
        self._count += len(seen)

    @property
    def mean(self) -> NDArray[np.float32]:
        return np.mean(self._means, axis=0)

    @property
    def covariance(self) -> NDArray[np.float64] | None:
        """(weights, weights) of one output; None where a convolution is rounded to the nearest steps."""
        if not self._count:
            return None
        mean = self._sum / self._count
        return self._products / self._count - np.outer(mean, mean)


def _round(layer: Any, norm: Any, met: _Met) -> None:
    kernel, *rest = layer.get_weights()
    axes = _output_axes(layer)
    shape = [kernel.shape[axis] if axis in axes else 1 for axis in range(4)]
    scale = np.ones(math.prod(shape), kernel.dtype)
    if norm is not None:
        scale = scale / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
        scale = scale * np.asarray(norm.gamma) if norm.scale else scale
    folded = kernel * scale.reshape(shape)
    steps = np.abs(folded).max(axis=tuple(axis for axis in range(4) if axis not in axes), keepdims=True) / 127
    steps[steps == 0] = 1
    rounded = np.rint(folded / steps)
    if (covariance := met.covariance) is not None:
        rounded = round_for((folded / steps).reshape(-1, kernel.shape[-1]), covariance).reshape(kernel.shape)
    rounded = rounded * steps
    shift = _response(layer, rounded - folded, met.mean)
    alive = scale != 0
    kernel = np.divide(rounded, scale.reshape(shape), out=kernel.copy(), where=alive.reshape(shape))
    if norm is None and rest:
        rest = [rest[0] - shift]
    layer.set_weights([kernel, *rest])
    if norm is not None:
        norm.moving_mean.assign(norm.moving_mean + np.divide(shift, scale, out=np.zeros_like(shift), where=alive))


def round_for(weights: NDArray[np.floating[Any]], covariance: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Round each weight up or down, so that the outputs change least.

    From the nearest, the one weight of each output whose step helps most takes it, until none helps.

    weights: (inputs, outputs), in steps, so within ±127; those at ±127 stay: they are what makes the scale.
    covariance: (inputs, inputs), of the inputs. Returns (inputs, outputs).
    """
    rounded = np.rint(np.asarray(weights, np.float64))
    slope = covariance @ (rounded - weights)
    curvature = np.diagonal(covariance)[:, None]
    columns = np.arange(rounded.shape[1])
    for _ in range(_MAX_STEPS):
        step = -np.sign(slope)
        allowed = (np.abs(rounded) < 127) & (np.abs(rounded + step - weights) < 1)
        gain = np.where(allowed, 2 * np.abs(slope) - curvature, 0)
        best = np.argmax(gain, axis=0)
        helps = gain[best, columns] > max(0.0, 1e-9 * float(curvature.max()))
        if not helps.any():
            break
        taken = np.where(helps, step[best, columns], 0)
        rounded[best, columns] += taken
        slope += covariance[:, best] * taken
    return rounded


def normalized(model: keras.Model) -> Iterator[tuple[Any, Any]]:
    """Find convolutions without activation and the batch normalization that is their only consumer."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from normalized(layer)
        elif isinstance(layer, layers.BatchNormalization):
            source = layer.input._keras_history.operation
            alone = len(source._outbound_nodes) == 1
            if isinstance(source, _CONVOLUTIONS) and alone and source.activation is keras.activations.linear:
                yield source, layer


def _output_axes(layer: Any) -> tuple[int, ...]:
    """Return the axes of a kernel that number its output channels."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return (2, 3)
    return (2,) if isinstance(layer, layers.Conv2DTranspose) else (3,)


def _response(layer: Any, error: NDArray[np.float32], mean_input: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute a kernel's response to an input that is `mean_input` everywhere: (output channels,)."""
    taps = error.sum(axis=(0, 1))
    if isinstance(layer, layers.DepthwiseConv2D):
        return (taps * mean_input[:, None]).ravel()
    if isinstance(layer, layers.Conv2DTranspose):
        # With a stride each output pixel meets only a part of the taps, on average 1 / stride² of them.
        return taps @ mean_input / np.prod(layer.strides)
    groups = getattr(layer, "groups", 1)
    inputs, outputs = taps.shape
    by_group = taps.reshape(inputs, groups, outputs // groups)
    return np.einsum("gi,igo->go", mean_input.reshape(groups, inputs), by_group).ravel()
