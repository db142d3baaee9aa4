"""Read the flatbuffer of a .tflite file before anything in it runs: its card, and whether its tensors make sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers.number_types import Int8Flags, Uint32Flags
from numpy.typing import NDArray

from quietframe.card import CARD_KEY

# Numbers of the fields that are read, in LiteRT's schema.fbs, which only ever adds fields. The classes that are
# generated from it and come with LiteRT take 12 ms to import, a tenth of what a device waits for the first frame.
_MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA = 2, 4, 6
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0
_GRAPH_TENSORS, _GRAPH_OPERATORS = 0, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_QUANTIZATION = 0, 1, 4
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT = 2, 3
_OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 1, 2
_SMALL_INTEGERS = {3: (0, 255), 7: (-32768, 32767), 9: (-128, 127)}
"""Types of quantized tensors (uint8, int16, int8) and the ranges of their zero points."""

_MAX_ELEMENTS = 2**31  # LiteRT counts them in 32 bits
_SCALES = (1e-9, 1e6)  # far beyond what any image or feature needs


class Table:
    """A table of a flatbuffer with its fields by number, as the generated classes have them by name.

    Args:
        data: the whole file. LiteRT must have verified it: here nothing is checked.
        start: where the table begins.
    """

    def __init__(self, data: bytes, start: int) -> None:
        self._table = flatbuffers.table.Table(data, start)

    def number(self, field: int, flags: Any) -> int:
        """A number of a type of `flatbuffers.number_types`; 0 where the field is missing."""
        offset = self._offset(field)
        return self._table.Get(flags, self._table.Pos + offset) if offset else 0

    def numbers(self, field: int, dtype: str) -> NDArray[Any]:
        """A vector of numbers; empty where the field is missing."""
        at, count = self._vector(field)
        return np.frombuffer(self._table.Bytes, dtype, count, at)

    def table(self, field: int) -> Table | None:
        """A table, or None."""
        offset = self._offset(field)
        return Table(self._table.Bytes, self._table.Indirect(self._table.Pos + offset)) if offset else None

    def tables(self, field: int) -> Iterator[Table]:
        """A vector of tables; none where the field is missing."""
        at, count = self._vector(field)
        for entry in range(at, at + 4 * count, 4):
            yield Table(self._table.Bytes, self._table.Indirect(entry))

    def _vector(self, field: int) -> tuple[int, int]:
        """Where a vector's first entry is, and how many there are."""
        offset = self._offset(field)
        return (self._table.Vector(offset), self._table.VectorLen(offset)) if offset else (0, 0)

    def _offset(self, field: int) -> int:
        return int(self._table.Offset(4 + 2 * field))


def open_flatbuffer(data: bytes) -> Table:
    """The file's root table. LiteRT must have verified the flatbuffer: here nothing is checked."""
    return Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))


def read_card(model: Table) -> str | None:
    """The text of the card in the file's metadata, or None. Raises UnicodeDecodeError if it is not UTF-8."""
    for metadata in model.tables(_MODEL_METADATA):
        if metadata.numbers(_METADATA_NAME, "u1").tobytes() == CARD_KEY.encode():
            buffers = list(model.tables(_MODEL_BUFFERS))
            for buffer in buffers[metadata.number(_METADATA_BUFFER, Uint32Flags) :][:1]:
                return buffer.numbers(_BUFFER_DATA, "u1").tobytes().decode()
    return None


def validate_tensors(model: Table) -> None:
    """Raise ValueError on tensors with which LiteRT would abort the process or fill the memory.

    LiteRT verifies that a flatbuffer is whole, not that its numbers make sense: one flipped bit in a zero point
    makes its kernels read beyond their tables.
    """
    for graph in model.tables(_MODEL_SUBGRAPHS):
        quantized = {}
        for index, tensor in enumerate(graph.tables(_GRAPH_TENSORS)):
            shape = tensor.numbers(_TENSOR_SHAPE, "<i4")
            if np.prod(shape, dtype=float) >= _MAX_ELEMENTS:
                raise ValueError(f"tensor {index} has the shape {shape.tolist()}, too large to hold")
            if limits := _SMALL_INTEGERS.get(tensor.number(_TENSOR_TYPE, Int8Flags)):
                quantized[index] = _check_quantization(tensor, index, limits)
        for index, operation in enumerate(graph.tables(_GRAPH_OPERATORS)):
            states = {quantized[tensor] for tensor in _tensors_of(operation) if tensor in quantized}
            if len(states) > 1:
                raise ValueError(f"operation {index} mixes integer tensors with and without a scale")


def _check_quantization(tensor: Table, index: int, limits: tuple[int, int]) -> bool:
    """Whether a tensor is quantized; ValueError if by senseless numbers."""
    quantization = tensor.table(_TENSOR_QUANTIZATION)
    if quantization is None or not len(scales := quantization.numbers(_QUANTIZATION_SCALE, "<f4")):
        return False
    # One scale per channel belongs to weights, and those of a dead channel may well be tiny or 0.
    low, high = _SCALES if len(scales) == 1 else (0.0, _SCALES[1])
    if not np.all((scales >= low) & (scales <= high)):
        raise ValueError(f"tensor {index} has the quantization scale {scales.min():g}")
    zero_points = quantization.numbers(_QUANTIZATION_ZERO_POINT, "<i8")
    if len(zero_points) and (zero_points.min() < limits[0] or zero_points.max() > limits[1]):
        raise ValueError(f"tensor {index} has the zero point {zero_points[0]}, expected {limits[0]}…{limits[1]}")
    return True


def _tensors_of(operation: Table) -> Iterator[int]:
    for field in (_OPERATOR_INPUTS, _OPERATOR_OUTPUTS):
        yield from operation.numbers(field, "<i4").tolist()
