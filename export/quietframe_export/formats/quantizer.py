"""What a format can do layer by layer: int8 files some layers of which stay in float."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from quietframe_export.subject import Inputs

Range: TypeAlias = tuple[float, float]
Values: TypeAlias = Mapping[str, Sequence[NDArray[Any]]]
"""Tensors by name, an array for each example."""

PERCENTILES = (99.99, 99.9)
"""Shares of a tensor's values that a range may hold, in percent."""

MIN_MAX = "min-max"


def graph_order(names: Iterable[str], scopes: Mapping[str, str]) -> list[str]:
    """Sort the names of layers by the order in which they were called; scopes: as `trace.in_scopes` filled it."""
    order = {name: index for index, name in enumerate(dict.fromkeys(scopes.values()))}
    return sorted(dict.fromkeys(filter(None, names)), key=lambda name: order.get(name, len(order)))


def percentile(share: float) -> str:
    """Name a calibration by percentile."""
    return f"percentile {share:g}"


class Quantizer(ABC):
    """Makes int8 files of one model, calibrated in several ways, with any of its layers in float.

    Attributes:
        calibrations: how ranges can be chosen; first the way that `Format.convert` takes.
        layers: the Keras layers that have operations in the file, in the order of the graph. What a converter fuses,
            such as a convolution, its normalization and its activation, goes by the first of them.
    """

    calibrations: Sequence[str]
    layers: Sequence[str]

    @abstractmethod
    def build(self, calibration: str, float_layers: Collection[str] = ()) -> bytes:
        """Quantize the model, but for some layers, which keep their float weights and tensors."""

    @abstractmethod
    def run(self, data: bytes, examples: Sequence[Inputs]) -> Values:
        """Run a file of `build` on float inputs. Returns its outputs, in float."""

    @abstractmethod
    def errors(self, data: bytes, examples: Sequence[Inputs]) -> Mapping[str, float]:
        """Compare the tensors of a file of `build` with those of the float model: SQNR in dB by tensor name."""

    @abstractmethod
    def layer_of(self, tensor: str) -> str:
        """Return the layer that computes a tensor; empty if none does."""

    def bound(self, name: str) -> Sequence[str]:
        """List the layers that a converter keeps in float with a layer."""
        return ()

    def with_bound(self, names: Sequence[str]) -> list[str]:
        """Add to some layers those that stay in float with them."""
        found = dict.fromkeys(names)
        pending = list(names)
        while pending:
            new = [name for name in self.bound(pending.pop(0)) if name not in found]
            found |= dict.fromkeys(new)
            pending += new
        return list(found)

    def output_sqnr_db(self, data: bytes, examples: Sequence[Inputs]) -> float:
        """Return the SQNR of a file's outputs against the float model, in dB; of several outputs the worst."""
        found, expected = self.run(data, examples), self.reference(examples)
        return min(sqnr_db(expected[name], found[name]) for name in expected)

    @abstractmethod
    def reference(self, examples: Sequence[Inputs]) -> Values:
        """Return the outputs of the float model."""


def sqnr_db(signal: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> float:
    """Compute the signal-to-quantization-noise ratio of a quantized tensor in dB, as ONNX Runtime's debugger does.

    Tensors with NaN or infinity have −inf.
    """
    from onnxruntime.quantization.qdq_loss_debug import compute_signal_to_quantization_noice_ratio

    ratio = float(compute_signal_to_quantization_noice_ratio(_flat(signal), _flat(found)))
    return ratio if math.isfinite(ratio) else -math.inf


def _flat(arrays: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
    return [np.asarray(array, np.float32).ravel() for array in arrays]
