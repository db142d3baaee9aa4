"""Ranges on their way into a TFLite file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from quietframe_train.quantization import Range, leaves, patched


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
