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


class KerasEngine:
    """Runs a functional Keras model in float32, with the names of its card.

    Inputs go by the names of `keras.Input`; outputs take the card's names in the model's order.
    Raises ModelLoadError if the card does not fit the model.
    """

    def __init__(self, model: keras.Model, card: ModelCard) -> None:
        self.model = model
        self.card_json: str | None = card.to_json()
        named = {tensor.name: tensor for tensor in model.inputs}
        if len(named) == len(card.inputs) == 1:  # one input needs no name
            named = {card.inputs[0].name: model.inputs[0]}
        expected = {spec.name for spec in card.inputs}
        if named.keys() != expected:
            raise ModelLoadError(f"{card.name}: the model's inputs are {sorted(named)}, the card's {sorted(expected)}")
        counts = len(model.outputs), len(card.outputs)
        if counts[0] != counts[1]:
            raise ModelLoadError(f"{card.name}: the model has {counts[0]} outputs, the card {counts[1]}")
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


def _info(name: str, tensor: Any) -> TensorInfo:
    return TensorInfo(name=name, shape=tuple(tensor.shape), dtype=np.dtype(np.float32))
