"""Copies of functional Keras models, changed on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers


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
    functional = keras.Model(one_or_all(model.inputs), one_or_all(model.outputs))  # of a Sequential one, too
    copies: dict[int, tuple[Any, Any]] = {}

    def copied(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return with_calls(layer, call, config=config, weights=weights, input_dtype=input_dtype)
        if not isinstance(layer, keras.Layer) or isinstance(layer, (layers.Lambda, layers.TFSMLayer)):
            return layer  # an operation has no weights; a Lambda and a SavedModel no configuration that is safe to load
        copy = layer.from_config(config(layer))
        copies[id(layer)] = layer, copy
        return copy

    tensors = [
        keras.Input(batch_shape=tensor.shape, dtype=input_dtype or tensor.dtype, name=tensor.name)
        for tensor in functional.inputs
    ]
    result: keras.Model = keras.models.clone_model(
        functional, clone_function=copied, call_function=call, input_tensors=one_or_all(tensors)
    )
    for layer, copy in copies.values():
        copy.set_weights(weights(layer))
    return result


def one_or_all(tensors: list[Any]) -> Any:
    """Return the only tensor of a list, or the list: Keras warns if a model of one input is called otherwise."""
    return tensors[0] if len(tensors) == 1 else tensors


def plainly(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer as it is: for `with_calls`."""
    return layer(*args, **kwargs)
