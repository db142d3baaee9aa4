"""The layers of a Keras model, and what passes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import layers
from numpy.typing import NDArray

from quietframe_train.graph import one_or_all, plainly, with_calls
from quietframe_train.layers import PixelShuffle

__all__ = ["all_layers", "maker", "observed", "one_or_all", "plainly", "with_calls"]


def all_layers(model: keras.Model) -> Iterator[Any]:
    """Yield the layers of a model, and of the models and wrapped layers in it."""
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if not isinstance(layer, keras.Model):
            yield layer


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


def maker(tensor: Any) -> Any:
    """Find the layer that computes a tensor: within models that are layers, before what only moves values about."""
    layer, node, index = tensor._keras_history
    if isinstance(layer, keras.Model):
        return maker(layer.outputs[index])
    if isinstance(layer, (layers.Reshape, layers.Flatten, PixelShuffle)):
        return maker(layer._inbound_nodes[node].input_tensors[0])
    return layer
