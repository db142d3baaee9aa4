"""Keras behind the runtime's engine seam: the reference that every exported file is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.engines import TensorInfo
from quietframe.errors import ModelLoadError
from quietframe.tasks.base import fits
from quietframe_export.keras_graph import one_or_all


class KerasEngine:
    """Runs a functional Keras model in float32, with the names of its card.

    Inputs go by the names of `keras.Input`; outputs take the card's names in the model's order. Of a model with more
    outputs than the card names, each is the one of its name, or else the first that fits, and the rest is cut off.
    Raises ModelLoadError if the card does not fit the model.
    """

    def __init__(self, model: keras.Model, card: ModelCard) -> None:
        self.card_json: str | None = card.to_json()
        named = {tensor.name: tensor for tensor in model.inputs}
        if len(named) == len(card.inputs) == 1:  # one input needs no name
            named = {card.inputs[0].name: model.inputs[0]}
        expected = {spec.name for spec in card.inputs}
        if named.keys() != expected:
            raise ModelLoadError(f"{card.name}: the model's inputs are {sorted(named)}, the card's {sorted(expected)}")
        if len(model.outputs) > len(card.outputs):
            model = keras.Model(one_or_all(model.inputs), one_or_all(_named(model, card)), name=model.name)
        if len(model.outputs) < len(card.outputs):
            raise ModelLoadError(
                f"{card.name}: the model has {len(model.outputs)} outputs, the card {len(card.outputs)}"
            )
        self.model = model
        self.inputs: Mapping[str, TensorInfo] = {name: _info(name, tensor) for name, tensor in named.items()}
        self.outputs: Mapping[str, TensorInfo] = {
            spec.name: _info(spec.name, tensor) for spec, tensor in zip(card.outputs, model.outputs, strict=True)
        }

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once. See `quietframe.engines.Engine.run`."""
        results = self._compiled({name: tf.convert_to_tensor(inputs[name]) for name in self.inputs})
        return {name: np.asarray(result) for name, result in results.items()}

    @cached_property
    def _compiled(self) -> Any:
        return tf.function(self.call, autograph=False)

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Call the model on backend tensors, by name: what the converters trace."""
        values = [inputs[name] for name in self.inputs]
        results = self.model(values if len(values) > 1 else values[0], training=False)
        return dict(zip(self.outputs, results if isinstance(results, (list, tuple)) else [results], strict=True))


def _named(model: keras.Model, card: ModelCard) -> list[Any]:
    """Find the outputs that a card names."""
    left = dict(zip(model.output_names, model.outputs, strict=True))
    found = []
    for spec in card.outputs:
        fitting = [name for name, tensor in left.items() if fits(spec, card.spatial, tuple(tensor.shape))]
        name = spec.name if spec.name in left else next(iter(fitting), None)
        if name is None:
            shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in left.items())
            raise ModelLoadError(f"{card.name}: none of the model's outputs ({shapes}) can be the card's {spec.name!r}")
        found.append(left.pop(name))
    return found


def _info(name: str, tensor: Any) -> TensorInfo:
    return TensorInfo(name=name, shape=tuple(tensor.shape), dtype=np.dtype(np.float32))
