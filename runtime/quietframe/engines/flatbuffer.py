"""What a .tflite file's flatbuffer says, read before anything in it runs: its card, and whether it makes sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table
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

_MOST_ELEMENTS = 2**31  # LiteRT counts them in 32 bits
_SCALES = (1e-9, 1e6)  # far beyond what any picture or feature needs


def open_flatbuffer(data: bytes) -> Table:
    """The file's root table. LiteRT must have verified the flatbuffer: here nothing is checked."""
    return Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))


def read_card(model: Table) -> str | None:
    """The text of the card in the file's metadata, or None. Raises UnicodeDecodeError if it is not UTF-8."""
    for metadata in _tables(model, _MODEL_METADATA):
        name = metadata.Offset(_slot(_METADATA_NAME))
        if name and metadata.String(metadata.Pos + name) == CARD_KEY.encode():
            buffer = metadata.GetSlot(_slot(_METADATA_BUFFER), 0, number_types.Uint32Flags)
            for data in list(_tables(model, _MODEL_BUFFERS))[buffer : buffer + 1]:
                return _numbers(data, _BUFFER_DATA, number_types.Uint8Flags).tobytes().decode()
    return None


def refuse_absurd_tensors(model: Table) -> None:
    """Raise ValueError on tensors with which LiteRT would abort the process or fill the memory.

    LiteRT verifies that a flatbuffer is whole, not that its numbers make sense: one flipped bit in a zero point
    makes its kernels read beyond their tables.
    """
    for graph in _tables(model, _MODEL_SUBGRAPHS):
        quantized = {}
        for index, tensor in enumerate(_tables(graph, _GRAPH_TENSORS)):
            shape = _numbers(tensor, _TENSOR_SHAPE, number_types.Int32Flags)
            if np.prod(shape, dtype=float) >= _MOST_ELEMENTS:
                raise ValueError(f"tensor {index} has the shape {shape.tolist()}, too large to hold")
            kind = tensor.GetSlot(_slot(_TENSOR_TYPE), 0, number_types.Int8Flags)
            if limits := _SMALL_INTEGERS.get(kind):
                quantized[index] = _check_quantization(tensor, index, limits)
        for index, operation in enumerate(_tables(graph, _GRAPH_OPERATORS)):
            states = {quantized[tensor] for tensor in _tensors_of(operation) if tensor in quantized}
            if len(states) > 1:
                raise ValueError(f"operation {index} mixes integer tensors with and without a scale")


def _check_quantization(tensor: Table, index: int, limits: tuple[int, int]) -> bool:
    """Whether a tensor is quantized; ValueError if by senseless numbers."""
    offset = tensor.Offset(_slot(_TENSOR_QUANTIZATION))
    if not offset:
        return False
    quantization = Table(tensor.Bytes, tensor.Indirect(tensor.Pos + offset))
    scales = _numbers(quantization, _QUANTIZATION_SCALE, number_types.Float32Flags)
    if not len(scales):
        return False
    # One scale per channel belongs to weights, and those of a dead channel may well be tiny or 0.
    low, high = _SCALES if len(scales) == 1 else (0.0, _SCALES[1])
    if not np.all((scales >= low) & (scales <= high)):
        raise ValueError(f"tensor {index} has the quantization scale {scales.min():g}")
    zero_points = _numbers(quantization, _QUANTIZATION_ZERO_POINT, number_types.Int64Flags)
    if len(zero_points) and (zero_points.min() < limits[0] or zero_points.max() > limits[1]):
        raise ValueError(f"tensor {index} has the zero point {zero_points[0]}, expected {limits[0]}…{limits[1]}")
    return True


def _tensors_of(operation: Table) -> Iterator[int]:
    for field in (_OPERATOR_INPUTS, _OPERATOR_OUTPUTS):
        yield from _numbers(operation, field, number_types.Int32Flags).tolist()


def _slot(field: int) -> int:
    """Where a table's own table of offsets (after two sizes of two bytes each) tells of a field."""
    return 4 + 2 * field


def _tables(table: Table, field: int) -> Iterator[Table]:
    """The tables in a field that is a vector of them."""
    if offset := table.Offset(_slot(field)):
        start = table.Vector(offset)
        for index in range(table.VectorLen(offset)):
            yield Table(table.Bytes, table.Indirect(start + 4 * index))


def _numbers(table: Table, field: int, kind: Any) -> NDArray[Any]:
    """A field that is a vector of numbers; empty where it is missing."""
    offset = table.Offset(_slot(field))
    return table.GetVectorAsNumpy(kind, offset) if offset else np.empty(0)
