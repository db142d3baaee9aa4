"""The layers of a Keras model, and what passes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import layers
from numpy.typing import NDArray

from quietframe_train.layers import PixelShuffle


def with_calls(
    model: keras.Model,
    call: Callable[..., Any],
    *,
    config: Callable[[Any], dict[str, Any]] = lambda layer: layer.get_config(),
    weights: Callable[[Any], list[Any]] = lambda layer: layer.get_weights(),
    input_dtype: str | None = None,
) -> keras.Model:
    """Copy a functional model with its weights; in the copy, `call(layer, *args)` is what calling a layer was.

    config, weights: what a copy is made of, and what it holds. input_dtype: of the copy's inputs; None: as they are.
    """
    functional = keras.Model(_one_or_all(model.inputs), _one_or_all(model.outputs))  # of a Sequential one, too
    copies: dict[int, tuple[Any, Any]] = {}

    def copied(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return with_calls(layer, call, config=config, weights=weights, input_dtype=input_dtype)
        if not isinstance(layer, keras.Layer) or isinstance(layer, layers.Lambda):
            return layer  # an operation has no weights, and a Lambda no configuration that is safe to load
        copy = layer.from_config(config(layer))
        copies[id(layer)] = layer, copy
        return copy

    tensors = [
        keras.Input(batch_shape=tensor.shape, dtype=input_dtype or tensor.dtype, name=tensor.name)
        for tensor in functional.inputs
    ]
    result: keras.Model = keras.models.clone_model(
        functional, clone_function=copied, call_function=call, input_tensors=_one_or_all(tensors)
    )
    for layer, copy in copies.values():
        copy.set_weights(weights(layer))
    return result


def _one_or_all(tensors: list[Any]) -> Any:
    """Return the only tensor of a list, or the list: Keras warns if a model of one input is called otherwise."""
    return tensors[0] if len(tensors) == 1 else tensors


def plainly(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer as it is: for `with_calls`."""
    return layer(*args, **kwargs)


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
