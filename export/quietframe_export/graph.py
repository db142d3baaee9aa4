"""Measure the ranges of a file's tensors: 8 bits do not hold all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

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
