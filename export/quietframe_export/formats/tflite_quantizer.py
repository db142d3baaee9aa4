"""Int8 TFLite files some layers of which stay in float, from one calibrated file."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe_export.formats.base import RefusedTargetError
from quietframe_export.formats.quantizer import (
    MIN_MAX,
    PERCENTILES,
    Quantizer,
    Range,
    Values,
    graph_order,
    percentile,
    sqnr_db,
)
from quietframe_export.formats.tflite import TFLite, save_frozen, spanning
from quietframe_export.formats.tflite_converter import convert_folder, quantize_calibrated
from quietframe_export.graph import Inspected
from quietframe_export.keras_graph import maker

if TYPE_CHECKING:
    from quietframe_export.keras_engine import KerasEngine
    from quietframe_export.subject import Inputs, Subject

_LEAST_ERROR = "least squared error"
_VALUES = 100_000
_EXAMPLES = 32

# Their results' ranges are laid down by TFLite.
_OF_FIXED_RANGE = {"LOGISTIC", "SOFTMAX", "TANH", "LOG_SOFTMAX", "L2_NORMALIZATION"}


class TFLiteQuantizer(Quantizer):
    """See `Quantizer`.

    The float graph is calibrated once. Each file is that graph with other ranges in it, quantized by TensorFlow.
    """

    def __init__(self, subject: Subject, ends: str = "int8") -> None:
        self._subject, self._ends = subject, ends
        scopes: dict[str, str] = {}
        self._float = _calibrated(subject.engine, subject.card, subject.calibration, scopes)
        self._rounded = _calibrated(subject.corrected, subject.card, subject.calibration, scopes)
        if _operations(self._rounded) != _operations(self._float):  # a weight that became 0 or 1 was folded
            self._rounded = self._float
        self._file = Inspected(self._float)
        self._graph = schema.ModelT.InitFromPackedBuf(self._rounded).subgraphs[0]
        self._names = _paired_names(schema.ModelT.InitFromPackedBuf(self._float).subgraphs[0], self._graph)
        self._layers = _layers_by_tensor(
            self._graph, scopes, [maker(each).name for each in subject.engine.model.outputs]
        )
        self.layers = graph_order(self._layers.values(), scopes)
        self.calibrations = (_LEAST_ERROR, *map(percentile, PERCENTILES), MIN_MAX)
        self._scopes = scopes
        # TensorFlow quantizes these whatever list they are on, unless their results have no range; what reads those is
        # then in float as well.
        types = [operation.type for operation in TFLite().operations(self._rounded)]
        self._unnamed = {
            self._graph.tensors[operator.outputs[0]].name.decode(): operator.outputs[0]
            for operator, kind in zip(self._graph.operators, types, strict=True)
            if kind == "TRANSPOSE_CONV"
        }

    def bound(self, name: str) -> Sequence[str]:
        """See `Quantizer`: what reads the result of a transposed convolution."""
        results = {index for tensor, index in self._unnamed.items() if self._layers[tensor] == name}
        readers = [operator for operator in self._graph.operators if results & {*operator.inputs}]
        tensors = (self._graph.tensors[operator.outputs[0]].name.decode() for operator in readers)
        return [layer for tensor in tensors if (layer := self._layers.get(tensor)) and layer != name]

    def build(self, calibration: str, float_layers: Collection[str] = ()) -> bytes:
        """See `Quantizer`."""
        model, original = (schema.ModelT.InitFromPackedBuf(data) for data in (self._rounded, self._float))
        graph, ranges = model.subgraphs[0], self._ranges(calibration)
        for tensor in graph.tensors:
            if (span := ranges.get(tensor.name.decode())) is not None:
                tensor.quantization.min, tensor.quantization.max = ([np.float32(end)] for end in span)
        computed = {index for operator in graph.operators for index in operator.outputs}
        names = []
        for operator, its_original in zip(graph.operators, original.subgraphs[0].operators, strict=True):
            name = graph.tensors[operator.outputs[0]].name.decode()
            if self._layers.get(name) not in float_layers:
                continue
            names.append(name)
            if name in self._unnamed:
                graph.tensors[operator.outputs[0]].quantization = None
            for index, of_original in zip(operator.inputs, its_original.inputs, strict=True):
                if index >= 0 and index not in computed:
                    constant = original.subgraphs[0].tensors[of_original]
                    model.buffers[graph.tensors[index].buffer].data = original.buffers[constant.buffer].data
        builder = flatbuffers.Builder(len(self._float) + 4096)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        try:
            return quantize_calibrated(bytes(builder.Output()), names, self._ends)
        except Exception as exc:  # the converter's own error derives from Exception alone
            raise RefusedTargetError("tflite-int8", str(exc)) from exc

    def run(self, data: bytes, examples: Sequence[Inputs]) -> Values:
        """See `Quantizer`."""
        return _collected(Inspected(data).run(inputs) for inputs in examples)

    def reference(self, examples: Sequence[Inputs]) -> Values:
        """See `Quantizer`."""
        return _collected(self._file.run(inputs) for inputs in examples)

    def errors(self, data: bytes, examples: Sequence[Inputs]) -> Mapping[str, float]:
        """See `Quantizer`."""
        file = Inspected(data)
        indices = {name: index for index, name in file.computed.items()}
        expected, found = (
            _collected(values) for values in (self._tensors(examples), _tensors(file, indices, examples))
        )
        its_own = {name: name if name in found else f"{name}1" for name in self._layers}
        return {name: sqnr_db(expected[name], found[its]) for name, its in its_own.items() if its in found}

    def layer_of(self, tensor: str) -> str:
        """See `Quantizer`."""
        numbered = (tensor, tensor[:-1], tensor[:-2])  # where a name is taken, TensorFlow adds a number
        known = next((self._layers[name] for name in numbered if name in self._layers), "")
        return known or _first_layer(tensor, self._scopes)

    def _tensors(self, examples: Sequence[Inputs]) -> Iterator[Mapping[str, NDArray[Any]]]:
        indices = {self._names[name]: index for index, name in self._file.computed.items()}
        return _tensors(self._file, indices, examples)

    def _ranges(self, calibration: str) -> Mapping[str, Range]:
        """Choose the ranges of tensors by name; what is not among them keeps the least and the greatest value."""
        if calibration == _LEAST_ERROR:
            return self._chosen | self._bounds
        if calibration == MIN_MAX:
            return self._bounds
        share = next(each for each in PERCENTILES if percentile(each) == calibration)
        cut = (100 - share, share)
        spans = {name: np.percentile(values, cut) for name, values in self._sampled.items()}
        return {
            name: (min(0.0, float(low)), max(0.0, float(high))) for name, (low, high) in spans.items() if low < high
        } | self._bounds

    @cached_property
    def _chosen(self) -> dict[str, Range]:
        """The exporter's ranges of layers, for the last tensor of each."""
        last = {self._scopes[scope]: name for name in self._layers for scope in _scopes_of(name, self._scopes)}
        return {last[layer]: span for layer, span in self._subject.ranges.items() if layer in last}

    @cached_property
    def _bounds(self) -> dict[str, Range]:
        """The value ranges of output images, so that 8-bit results are 8-bit images."""
        types = [operation.type for operation in TFLite().operations(self._float)]
        graph = schema.ModelT.InitFromPackedBuf(self._float).subgraphs[0]
        computed_by = {
            index: kind for operator, kind in zip(graph.operators, types, strict=True) for index in operator.outputs
        }
        images = {spec.name: spec.value_range for spec in self._subject.card.outputs if spec.role == "image"}
        return {
            self._names[self._file.computed[index]]: images[name]
            for name, index in self._file.outputs.items()
            if name in images and computed_by.get(index) not in _OF_FIXED_RANGE
        }

    @cached_property
    def _sampled(self) -> Mapping[str, NDArray[np.float32]]:
        """Some values of each tensor, evenly from the calibration frames."""
        rng, examples = np.random.default_rng(0), self._subject.calibration[:_EXAMPLES]
        found: dict[str, list[NDArray[np.float32]]] = {}
        for inputs in examples:
            for values in self._tensors([inputs]):
                for name, array in values.items():
                    flat = array.ravel()
                    found.setdefault(name, []).append(flat[rng.integers(flat.size, size=_VALUES // len(examples))])
        return {name: np.concatenate(parts) for name, parts in found.items()}


def _calibrated(engine: KerasEngine, card: ModelCard, calibration: Sequence[Inputs], scopes: dict[str, str]) -> bytes:
    from quietframe_export.trace import in_scopes

    with tempfile.TemporaryDirectory() as folder:
        if save_frozen(engine, card, folder, bound_images=False, call=in_scopes(scopes)).has_loops:
            raise RefusedTargetError("tflite-int8", "a loop in it is not quantized layer by layer")
        try:
            return convert_folder(folder, "int8", list(spanning(calibration, card)), "int8", calibrate_only=True)
        except Exception as exc:  # the converter's own error derives from Exception alone
            raise RefusedTargetError("tflite-int8", str(exc)) from exc


def _operations(data: bytes) -> list[tuple[str, list[tuple[int, ...]]]]:
    """List the operations of a file by type and the shapes of what they read."""
    graph = schema.ModelT.InitFromPackedBuf(data).subgraphs[0]
    of_tensors = [() if tensor.shape is None else tuple(tensor.shape) for tensor in graph.tensors]
    shapes = [[of_tensors[index] for index in operator.inputs if index >= 0] for operator in graph.operators]
    return list(zip((operation.type for operation in TFLite().operations(data)), shapes, strict=True))


def _paired_names(float_graph: Any, graph: Any) -> dict[str, str]:
    """Map the names of computed tensors in one graph to those in another of the same operations."""
    return {
        float_graph.tensors[a].name.decode(): graph.tensors[b].name.decode()
        for of_float, operator in zip(float_graph.operators, graph.operators, strict=True)
        for a, b in zip(of_float.outputs, operator.outputs, strict=True)
    }


def _layers_by_tensor(graph: Any, scopes: Mapping[str, str], outputs: Sequence[str]) -> dict[str, str]:
    """Find the layer of each float tensor that the main graph computes; outputs: the layers of the model's outputs."""
    found: dict[int, str] = {}
    for operator in graph.operators:
        for index in operator.outputs:
            tensor = graph.tensors[index]
            if tensor.type != schema.TensorType.FLOAT32:
                continue
            of_it = _first_layer(tensor.name.decode(), scopes)
            before = next((found[each] for each in operator.inputs if each in found), "")
            is_output = index in graph.outputs and len(outputs) == 1
            found[index] = of_it or (outputs[0] if is_output else before)
    return {graph.tensors[index].name.decode(): layer for index, layer in found.items()}


def _first_layer(tensor: str, scopes: Mapping[str, str]) -> str:
    """Return the layer in the name of a tensor that was called first; empty if there is none."""
    found = _scopes_of(tensor, scopes)
    return scopes[min(found, key=list(scopes).index)] if found else ""


def _scopes_of(tensor: str, scopes: Mapping[str, str]) -> list[str]:
    """List the scopes in the name of a tensor, which names all that was fused into its operation."""
    return [scope for part in tensor.split(";") if (scope := part.partition("/")[0]) in scopes]


def _tensors(
    file: Inspected, indices: Mapping[str, int], examples: Sequence[Inputs]
) -> Iterator[Mapping[str, NDArray[Any]]]:
    for inputs in examples:
        file.run(inputs)
        yield {name: file.value(index) for name, index in indices.items()}


def _collected(runs: Iterator[Mapping[str, NDArray[Any]]]) -> Values:
    found: dict[str, list[NDArray[Any]]] = {}
    for values in runs:
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return found
