"""Inspect an exported file: its operations, and the ranges of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

OUTLIER_RATIO = 30.0
"""A tensor whose range is so many standard deviations wide loses its detail in 8 bits."""

_BUILTIN_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_FLOAT_TYPES = (schema.TensorType.FLOAT16, schema.TensorType.FLOAT32, schema.TensorType.FLOAT64)
_QDQ = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Operation:
    """One operation of a file: its type, and whether any tensor that it reads or writes is floating point."""

    type: str
    is_float: bool


@dataclass(frozen=True)
class TensorRange:
    """The range of a tensor over some example inputs.

    Attributes:
        name: the tensor's name in the file.
        low, high: least and greatest value.
        std: standard deviation.
        ratio: (high − low) / std.
    """

    name: str
    low: float
    high: float
    std: float
    ratio: float


def tflite_operations(data: bytes) -> Sequence[Operation]:
    """List the operations of a TFLite file's main graph, in order; a custom one (`Flex…`) goes by its own name."""
    model = schema.ModelT.InitFromPackedBuf(data)
    graph = model.subgraphs[0]
    operations = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = code.customCode.decode() if code.customCode else _BUILTIN_NAMES[builtin]
        tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
        operations.append(Operation(name, any(tensor.type in _FLOAT_TYPES for tensor in tensors)))
    return operations


def onnx_operations(data: bytes) -> Sequence[Operation]:
    """List the operations of an ONNX file, in order.

    In a QDQ file each tensor is float between its QuantizeLinear and DequantizeLinear, which the runtime fuses:
    an operation counts as float unless all its computed inputs come from DequantizeLinear.
    """
    graph = onnx.load_from_string(data).graph
    producer = {name: node.op_type for node in graph.node for name in node.output}
    return [
        Operation(
            node.op_type,
            node.op_type not in _QDQ
            and any(producer.get(name, "") != "DequantizeLinear" for name in node.input if name),
        )
        for node in graph.node
    ]


def tensor_ranges(fp32_tflite: bytes, examples: Sequence[Mapping[str, NDArray[np.float32]]]) -> Sequence[TensorRange]:
    """Measure the ranges of all computed tensors of a float32 TFLite file over some inputs, widest ratio first.

    The float graph is the one that the quantizer starts from, so this shows where 8 bits will not do.
    """
    interpreter = Interpreter(
        model_content=fp32_tflite,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    # The runner must go before the first resize: the interpreter counts it as a hold on its memory.
    indices = {name: detail["index"] for name, detail in interpreter.get_signature_runner().get_input_details().items()}
    graph = schema.ModelT.InitFromPackedBuf(fp32_tflite).subgraphs[0]
    computed = sorted({index for operator in graph.operators for index in operator.outputs})
    seen = {index: _Moments() for index in computed}
    for inputs in examples:
        for name, value in inputs.items():
            interpreter.resize_tensor_input(indices[name], value.shape)
        interpreter.allocate_tensors()
        for name, value in inputs.items():
            interpreter.set_tensor(indices[name], value)
        interpreter.invoke()
        for index in computed:
            seen[index].add(interpreter.get_tensor(index))
    ranges = [seen[index].range(graph.tensors[index].name.decode()) for index in computed]
    return sorted(ranges, key=lambda found: -found.ratio)


@dataclass
class _Moments:
    """Running moments of a tensor: the values of several examples would not fit into memory."""

    low: float = np.inf
    high: float = -np.inf
    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.count += values.size
        self.total += float(values.sum(dtype=np.float64))
        self.squares += float(np.square(values, dtype=np.float64).sum())

    def range(self, name: str) -> TensorRange:
        mean = self.total / self.count
        std = max(0.0, self.squares / self.count - mean**2) ** 0.5
        ratio = (self.high - self.low) / std if std > 0 else 0.0
        return TensorRange(name.partition(";")[0], self.low, self.high, std, ratio)
