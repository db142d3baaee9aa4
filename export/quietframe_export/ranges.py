"""Which range each tensor of an 8-bit file spans: chosen for the least error, not for the furthest outlier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from quietframe_export.bias import leaves, patched

Range: TypeAlias = tuple[float, float]

SHRINKS = np.linspace(1.0, 0.3, 29)
"""Shares of the half-ranges below and above the mean that are tried."""

_VALUES = 100_000

# What the converter makes one operation of: a linear layer, its normalization, its activation.
_LINEAR = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.Dense, layers.Add)
_FUSED = (layers.BatchNormalization, layers.ReLU, layers.Activation, layers.LeakyReLU)


def choose_ranges(model: keras.Model, examples: Sequence[Sequence[NDArray[np.float32]]]) -> Mapping[Any, Range]:
    """The ranges of the tensors between a model's fused operations, by layer.

    A converter takes the least and the greatest value that it has seen. A few outliers then cost every other value
    its precision. Here the range is the one whose 256 steps give the least mean squared error over the examples,
    clipping included. Tensors of which that is the whole range are left out, and so are the model's outputs.

    Args:
        model: a functional Keras model.
        examples: inputs in the model's order, batch size 1.
    """
    outputs = {tensor._keras_history.operation for tensor in model.outputs}
    watched = [layer for layer in leaves(model) if _ends_an_operation(layer) and layer not in outputs]
    seen: dict[Any, list[NDArray[np.float32]]] = {layer: [] for layer in watched}
    rng = np.random.default_rng(0)

    def watch(layer: Any) -> Any:
        def call(inner: Any, *args: Any, **kwargs: Any) -> Any:
            result = inner(*args, **kwargs)
            values = np.ravel(result)
            seen[layer].append(rng.choice(values, min(len(values), _VALUES // len(examples)), replace=False))
            return result

        return call

    with ExitStack() as stack:
        for layer in watched:
            stack.enter_context(patched(layer, watch(layer)))
        for inputs in examples:
            model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)
    found = {layer: least_error_range(np.concatenate(values)) for layer, values in seen.items() if values}
    return {layer: span for layer, span in found.items() if span is not None}


def least_error_range(values: NDArray[np.float32]) -> Range | None:
    """The range whose 256 steps represent the values with the least squared error; None: the whole range.

    values: any shape. Zero is always inside, as TFLite demands of a quantized range.
    """
    low, high, middle = float(values.min()), float(values.max()), float(values.mean())
    best, least = None, np.inf
    for below in SHRINKS:
        for above in SHRINKS:
            span = (min(0.0, middle - (middle - low) * below), max(0.0, middle + (high - middle) * above))
            step = (span[1] - span[0]) / 255
            if step <= 0:
                continue
            clipped = np.clip(values, *span)
            error = float(np.mean((values - clipped) ** 2)) + step**2 / 12
            if error < least:
                best, least = span, error
    return None if best == (min(0.0, low), max(0.0, high)) else best


@contextmanager
def bounded(ranges: Mapping[Any, Range]) -> Iterator[None]:
    """While this lasts, calling the model traces the ranges into the graph, where TFLite's quantizer takes them."""
    import tensorflow as tf

    def bound(span: Range) -> Any:
        def call(inner: Any, *args: Any, **kwargs: Any) -> Any:
            return tf.quantization.fake_quant_with_min_max_args(inner(*args, **kwargs), *span)

        return call

    with ExitStack() as stack:
        for layer, span in ranges.items():
            stack.enter_context(patched(layer, bound(span)))
        yield


def _ends_an_operation(layer: Any) -> bool:
    if not isinstance(layer, (*_LINEAR, *_FUSED)):
        return False
    readers = [node.operation for node in layer._outbound_nodes]
    return not (len(readers) == 1 and isinstance(readers[0], _FUSED))
