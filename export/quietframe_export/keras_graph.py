"""The layers of a Keras model, and what passes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
from keras import layers
from numpy.typing import NDArray

from quietframe_train.layers import PixelShuffle


@contextmanager
def patched(layer: Any, call: Callable[..., Any]) -> Iterator[None]:
    """While this lasts, `call(inner, ...)` stands in for the layer's own call, which it gets as `inner`."""
    original = layer.call
    layer.call = partial(call, original)
    try:
        yield
    finally:
        layer.call = original


def observed(
    model: keras.Model,
    examples: Sequence[Sequence[NDArray[Any]]],
    wanted: Callable[[Any], bool],
    *,
    inputs: bool = False,
) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Yield each wanted layer with its output, or its first input, for every example.

    model: functional; models in it are looked into. examples: inputs in the model's order.
    """
    by_depth = getattr(model, "_functional", model)._nodes_by_depth
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    watched = [node for node in nodes if wanted(node.operation) and node.input_tensors]
    inner = [node for node in nodes if isinstance(node.operation, keras.Model)]
    tensors = [(node.input_tensors if inputs else node.output_tensors)[0] for node in watched]
    tensors += [tensor for node in inner for tensor in node.input_tensors]
    if not tensors:
        return
    probe = keras.Model(model.inputs, tensors)
    for example in examples:
        found = probe(list(example), training=False)
        values = [keras.ops.convert_to_numpy(value) for value in (found if isinstance(found, list) else [found])]
        yield from zip((node.operation for node in watched), values, strict=False)
        rest = iter(values[len(watched) :])
        for node in inner:
            of_inner = [next(rest) for _ in node.input_tensors]
            yield from observed(node.operation, [of_inner], wanted, inputs=inputs)


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
