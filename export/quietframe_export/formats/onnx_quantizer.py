"""Int8 ONNX files some layers of which stay in float, by ONNX Runtime's quantizer and its debugger."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from quietframe_export.formats.onnx import PERCENTILE, CalibrationReader, convert_fp32, stride
from quietframe_export.formats.quantizer import (
    MIN_MAX,
    PERCENTILES,
    Quantizer,
    Values,
    graph_order,
    percentile,
    sqnr_db,
)
from quietframe_export.keras_graph import maker
from quietframe_export.weights import normalized

if TYPE_CHECKING:
    from quietframe_export.subject import Inputs, Subject

_FUSED = ("Relu", "Clip")
_SYMMETRIC = "symmetric "


class OnnxQuantizer(Quantizer):
    """See `Quantizer`. Each way of calibrating runs once; each file is quantized anew."""

    def __init__(self, subject: Subject) -> None:
        from quietframe_export.trace import in_scopes

        self._subject = subject
        scopes: dict[str, str] = {}
        self._float, self._rounded = (
            _prepared(convert_fp32(engine, subject.card, call=in_scopes(scopes)))
            for engine in (subject.engine, subject.corrected)
        )
        graph, rounded = (onnx.load_from_string(data).graph for data in (self._float, self._rounded))
        if [(node.op_type, node.output) for node in graph.node] != [
            (node.op_type, node.output) for node in rounded.node
        ]:  # a weight that became 0 or 1 was folded
            self._rounded = self._float
        outputs = [maker(each).name for each in subject.engine.model.outputs]
        names = scopes | {
            scope: folded[name]
            for folded in [{norm.name: source.name for source, norm in normalized(subject.engine.model)}]
            for scope, name in scopes.items()
            if name in folded
        }
        self._layers, self._nodes = _layers(graph, names, outputs)
        self.layers = graph_order(self._nodes.values(), scopes)
        self.calibrations = (_SYMMETRIC + percentile(PERCENTILE), *map(percentile, PERCENTILES), MIN_MAX)
        self._ranges: dict[str, Any] = {}

    def build(self, calibration: str, float_layers: Collection[str] = ()) -> bytes:
        """See `Quantizer`."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        model, original = onnx.load_from_string(self._rounded), onnx.load_from_string(self._float)
        kept = sorted(name for name, layer in self._nodes.items() if layer in float_layers)
        weights = {weight.name: weight for weight in original.graph.initializer}
        read = {name for node in original.graph.node if node.name in kept for name in node.input}
        for weight in model.graph.initializer:
            if weight.name in read and weight.name in weights:
                weight.CopyFrom(weights[weight.name])
        if calibration not in self._ranges:
            self._ranges[calibration] = self._calibrated(calibration)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "prepared.onnx"
            path.write_bytes(model.SerializeToString())
            quantizer = QDQQuantizer(
                load_model_with_shape_infer(path),
                True,  # weights by channel
                False,
                QuantType.QInt8,
                QuantType.QInt8,
                self._ranges[calibration],
                [],
                kept,
                _quantized_types(),
                {},
            )
            quantizer.quantize_model()
            return bytes(quantizer.model.model.SerializeToString())

    def run(self, data: bytes, examples: Sequence[Inputs]) -> Values:
        """See `Quantizer`."""
        import onnxruntime

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        results = [session.run(names, dict(inputs)) for inputs in examples]
        return {name: [of_run[index] for of_run in results] for index, name in enumerate(names)}

    def reference(self, examples: Sequence[Inputs]) -> Values:
        """See `Quantizer`."""
        return self.run(self._float, examples)

    def errors(self, data: bytes, examples: Sequence[Inputs]) -> Mapping[str, float]:
        """See `Quantizer`: by `onnxruntime.quantization.qdq_loss_debug`."""
        from onnxruntime.quantization.qdq_loss_debug import compute_activation_error, create_activation_matching

        matched = create_activation_matching(_activations(data, examples), _activations(self._float, examples))
        complete = {name: match for name, match in matched.items() if "float" in match}
        return {
            name: error["xmodel_err"]
            for name, error in compute_activation_error(complete, sqnr_db).items()
            if name in self._layers
        }

    def layer_of(self, tensor: str) -> str:
        """See `Quantizer`."""
        return self._layers.get(tensor, "")

    def _calibrated(self, calibration: str) -> Any:
        """Collect the ranges of tensors, in one of the ways of ONNX Runtime."""
        from onnxruntime.quantization import CalibrationMethod
        from onnxruntime.quantization.calibrate import create_calibrator

        calibration, symmetric = calibration.removeprefix(_SYMMETRIC), calibration.startswith(_SYMMETRIC)
        options: dict[str, Any] = {"symmetric": symmetric}
        method = CalibrationMethod.MinMax
        if calibration != MIN_MAX:
            method = CalibrationMethod.Percentile
            options["percentile"] = next(share for share in PERCENTILES if percentile(share) == calibration)
        examples = self._subject.calibration
        reader, step = CalibrationReader(examples), stride(examples)
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "prepared.onnx"
            path.write_bytes(self._rounded)
            calibrator = create_calibrator(
                path,
                _quantized_types(),
                augmented_model_path=str(Path(name) / "augmented.onnx"),
                calibrate_method=method,
                extra_options=options,
            )
            for start in range(0, len(examples), step):
                reader.set_range(start, start + step)
                calibrator.collect_data(reader)
            return calibrator.compute_data()


def _quantized_types() -> list[str]:
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return sorted({*QLinearOpsRegistry, *QDQRegistry})


def _prepared(fp32: bytes) -> bytes:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fp32.onnx").write_bytes(fp32)
        quant_pre_process(folder / "fp32.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        return (folder / "prepared.onnx").read_bytes()


def _layers(graph: Any, scopes: Mapping[str, str], outputs: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Find the layer of each tensor and of each node; what has no layer's name is of the layer before it.

    outputs: the layers of the model's outputs.
    """
    tensors: dict[str, str] = {}
    nodes: dict[str, str] = {}
    ends = {value.name for value in graph.output} if len(outputs) == 1 else set()
    for node in graph.node:
        scope = next((part for name in (node.name, *node.output) if (part := name.partition("/")[0]) in scopes), None)
        before = next((tensors[name] for name in node.input if tensors.get(name)), "")
        layer = scopes[scope] if scope else outputs[0] if ends & {*node.output} and not before else before
        if node.op_type in _FUSED and before:
            layer = before
        nodes[node.name] = layer
        tensors |= dict.fromkeys(node.output, layer)
    return tensors, nodes


def _activations(data: bytes, examples: Sequence[Inputs]) -> dict[str, list[np.ndarray[Any, Any]]]:
    from onnxruntime.quantization.qdq_loss_debug import collect_activations, modify_model_output_intermediate_tensors

    with tempfile.TemporaryDirectory() as name:
        file, augmented = str(Path(name) / "file.onnx"), str(Path(name) / "augmented.onnx")
        Path(file).write_bytes(data)
        modify_model_output_intermediate_tensors(file, augmented)
        found: dict[str, list[np.ndarray[Any, Any]]] = collect_activations(augmented, [dict(each) for each in examples])
        return found
