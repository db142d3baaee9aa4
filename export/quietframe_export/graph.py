"""Measure the ranges of a file's tensors: 8 bits do not hold all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from quietframe.engines import TensorInfo
from quietframe.tasks.tensors import dequantize, quantize

OUTLIER_RATIO = 30.0
"""A tensor whose range is so many standard deviations wide loses its detail in 8 bits."""


@dataclass(frozen=True)
class TensorRange:
    """The range of a tensor over some example inputs: `ratio` is (high − low) / std."""

    name: str
    low: float
    high: float
    std: float
    ratio: float


class Inspected:
    """A TFLite file, run by plain kernels that keep every tensor.

    Attributes:
        computed: the tensors that its operations compute, by index, with their names.
        outputs: the indices of its outputs, by the names of its signature.
    """

    def __init__(self, data: bytes) -> None:
        self._interpreter = Interpreter(
            model_content=data,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        # The runner must go before the first resize: the interpreter counts it as a hold on its memory.
        runner = self._interpreter.get_signature_runner()
        self._inputs = {name: int(detail["index"]) for name, detail in runner.get_input_details().items()}
        self.outputs = {name: int(detail["index"]) for name, detail in runner.get_output_details().items()}
        del runner
        graph = schema.ModelT.InitFromPackedBuf(data).subgraphs[0]
        indices = sorted({index for operator in graph.operators for index in operator.outputs})
        self.computed = {index: graph.tensors[index].name.decode() for index in indices}

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Mapping[str, NDArray[np.float32]]:
        """Run the file on real values, which integer inputs are rounded to. Returns its outputs as real values."""
        for name, value in inputs.items():
            self._interpreter.resize_tensor_input(self._inputs[name], value.shape)
        self._interpreter.allocate_tensors()
        for name, value in inputs.items():
            info = _info(self._interpreter._get_tensor_details(self._inputs[name], 0))
            self._interpreter.set_tensor(self._inputs[name], quantize(value, info))
        self._interpreter.invoke()
        return {name: self.value(index) for name, index in self.outputs.items()}

    def value(self, index: int) -> NDArray[np.float32]:
        """Return the real values of a tensor."""
        return dequantize(self._interpreter.get_tensor(index), _info(self._interpreter._get_tensor_details(index, 0)))


def _info(detail: Mapping[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    return TensorInfo(detail["name"], (), np.dtype(detail["dtype"]), scale, zero_point)


def tensor_ranges(fp32_tflite: bytes, examples: Sequence[Mapping[str, NDArray[np.float32]]]) -> Sequence[TensorRange]:
    """Measure the ranges of all computed tensors of a float32 TFLite file over some inputs, widest ratio first.

    The float graph is the one that the quantizer starts from, so this shows where 8 bits will not do.
    """
    file = Inspected(fp32_tflite)
    seen = {index: _Moments() for index in file.computed}
    for inputs in examples:
        file.run(inputs)
        for index, moments in seen.items():
            moments.add(file.value(index))
    ranges = [seen[index].range(name) for index, name in file.computed.items()]
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
