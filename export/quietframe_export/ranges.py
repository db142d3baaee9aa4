"""Ranges on their way into a TFLite file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from quietframe_train.quantization import Range, leaves, maker, patched

_STEPS = 255  # from the lowest of 256 values to the highest


def in_whole_levels(model: keras.Model, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges, with steps of one 8-bit level for what a model adds to its frame at the end, if they nearly are so.

    The sum is rounded to whole levels. Steps of 1.1 of them before that are a second rounding, which costs 0.06 dB at
    sigma 5; of what was to be taken away at sigma 50, a bit more is clipped. Frames are in [0, 1].

    ranges: by layer name, from `quietframe_train.quantization.choose_ranges`.
    """
    found = dict(ranges)
    for output in model.outputs:
        last = maker(output)
        for tensor in last.input if isinstance(last, keras.layers.Add) else ():
            name = maker(tensor).name
            low, high = found.get(name, (0.0, 0.0))
            step_255 = 255 * (high - low) / _STEPS
            if 0.7 < step_255 < 1.4:
                found[name] = -128 / 255, 127 / 255
    return found


@contextmanager
def bounded(model: keras.Model, ranges: Mapping[str, Range]) -> Iterator[None]:
    """While this lasts, calling the model traces the ranges into the graph, where TFLite's quantizer takes them.

    ranges: by layer name, from `quietframe_train.quantization.choose_ranges`.
    """

    def bound(span: Range, inner: Any, *args: Any, **kwargs: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_args(inner(*args, **kwargs), *span)

    with ExitStack() as stack:
        for layer in leaves(model):
            if layer.name in ranges:
                stack.enter_context(patched(layer, partial(bound, ranges[layer.name])))
        yield
