"""Read the flatbuffer of a .tflite file before anything in it runs: its card, and whether its tensors make sense."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers.number_types import BoolFlags, Int8Flags, Int32Flags, Uint32Flags
from numpy.typing import NDArray

from quietframe.card import CARD_KEY

# Numbers of the fields that are read, in LiteRT's schema.fbs, which only ever adds fields. The classes that are
# generated from it and come with LiteRT take 12 ms to import, a tenth of what a device waits for the first frame.
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA, _MODEL_SIGNATURES = 1, 2, 4, 6, 7
_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS, _SIGNATURE_GRAPH = 0, 1, 4
_MAP_TENSOR = 1
_CODE_OLD, _CODE = 0, 3
_METADATA_NAME, _METADATA_BUFFER = 0, 1
_BUFFER_DATA = 0
_GRAPH_TENSORS, _GRAPH_OPERATORS = 0, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_QUANTIZATION = 0, 1, 4
_QUANTIZATION_SCALE, _QUANTIZATION_ZERO_POINT = 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS = 0, 1, 2, 4
_ADD_POWERS_OF_TWO = 1
_SMALL_INTEGERS = {3: (0, 255), 7: (-32768, 32767), 9: (-128, 127)}
"""Types of quantized tensors (uint8, int16, int8) and the ranges of their zero points."""

_BYTES = {0: 4, 1: 2, 2: 4, 3: 1, 4: 8, 6: 1, 7: 2, 8: 8, 9: 1, 10: 8, 11: 16, 12: 8, 13: 8, 15: 4, 16: 2, 18: 2}
"""Types of tensors and the size of an element; those of others are smaller than a byte."""
_MAX_BYTES = 2**31
_INT16 = 7
_ADD, _SUB = 0, 41
_OF_ONE_TYPE = {_ADD, 1, 2, 5, 17, 26, _SUB, 42}
"""Operations whose tensors all have one type: arithmetic, pools, concatenation, space to depth and back."""
_ADD_BITS = {3: 20, 7: 15, 9: 20}
"""By how many bits additions of a type raise their inputs."""
_OPTIONAL_FROM = {3: 2, 4: 2, 9: 2, 16: 1, 27: 4, 32: 0, 44: 1, 46: 1, 52: 1, 67: 3, 132: 2, 141: 3}
"""Operations (convolutions, dense and recurrent layers, custom ones) and the first of their inputs that may lack."""
_SCALES = (1e-9, 1e6)  # far beyond what any image or feature needs


class Table:
    """A table of a flatbuffer with its fields by number, as the generated classes have them by name.

    Args:
        data: the whole file. LiteRT must have verified it: here nothing is checked.
        start: where the table begins.
    """

    def __init__(self, data: bytes, start: int) -> None:
        self._table = flatbuffers.table.Table(data, start)

    def number(self, field: int, flags: Any, missing: int = 0) -> int:
        """A number of a type of `flatbuffers.number_types`; `missing` where the field is missing."""
        offset = self._offset(field)
        return self._table.Get(flags, self._table.Pos + offset) if offset else missing

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


def validate_graphs(model: Table) -> None:
    """Raise ValueError on tensors and operations with which LiteRT would abort the process or fill the memory.

    LiteRT verifies that a flatbuffer is whole, not that its numbers make sense: one flipped bit in a zero point
    makes its kernels read beyond their tables.
    """
    codes = [
        max(code.number(_CODE_OLD, Int8Flags), code.number(_CODE, Int32Flags)) for code in model.tables(_MODEL_CODES)
    ]
    _check_signatures(model, [len(list(graph.tables(_GRAPH_TENSORS))) for graph in model.tables(_MODEL_SUBGRAPHS)])
    for graph in model.tables(_MODEL_SUBGRAPHS):
        tensors = list(graph.tables(_GRAPH_TENSORS))
        for index, tensor in enumerate(tensors):
            _check_shape(tensor, index)
        scales = [_scale_of(tensor, index) for index, tensor in enumerate(tensors)]
        types = [tensor.number(_TENSOR_TYPE, Int8Flags) for tensor in tensors]
        for index, operation in enumerate(graph.tables(_GRAPH_OPERATORS)):
            kind = codes[operation.number(_OPERATOR_CODE, Uint32Flags)]
            inputs, outputs = (operation.numbers(f, "<i4").tolist() for f in (_OPERATOR_INPUTS, _OPERATOR_OUTPUTS))
            if -1 in (*inputs[: _OPTIONAL_FROM.get(kind, len(inputs))], *outputs):
                raise ValueError(f"operation {index} lacks an input or output")
            given = [each for each in (*inputs, *outputs) if each != -1]
            if not all(0 <= each < len(tensors) for each in given):
                raise ValueError(f"operation {index} names tensors that are not there")
            if kind in _OF_ONE_TYPE and len({types[each] for each in given}) > 1:
                raise ValueError(f"operation {index} mixes tensors of several types")
            if len({scales[each] is None for each in given if types[each] in _SMALL_INTEGERS}) > 1:
                raise ValueError(f"operation {index} mixes integer tensors with and without a scale")
            if kind in (_ADD, _SUB) and outputs and types[outputs[0]] in _SMALL_INTEGERS:
                shapes = {tuple(tensors[each].numbers(_TENSOR_SHAPE, "<i4")) for each in given}
                _check_addition(operation, index, types[outputs[0]], [scales[each] for each in given], shapes)


def _check_signatures(model: Table, tensor_counts: list[int]) -> None:
    """Raise ValueError for a signature of a graph or a tensor that is not there."""
    for signature in model.tables(_MODEL_SIGNATURES):
        graph = signature.number(_SIGNATURE_GRAPH, Uint32Flags)
        tensors = [
            named.number(_MAP_TENSOR, Uint32Flags)
            for field in (_SIGNATURE_INPUTS, _SIGNATURE_OUTPUTS)
            for named in signature.tables(field)
        ]
        if graph >= len(tensor_counts) or any(tensor >= tensor_counts[graph] for tensor in tensors):
            raise ValueError("its signature names tensors that are not there")


def _check_shape(tensor: Table, index: int) -> None:
    shape = tensor.numbers(_TENSOR_SHAPE, "<i4")
    size = np.prod(shape, dtype=float) * _BYTES.get(tensor.number(_TENSOR_TYPE, Int8Flags), 1)
    if size >= _MAX_BYTES:
        raise ValueError(f"tensor {index} has the shape {shape.tolist()}, too large to hold")


def _scale_of(tensor: Table, index: int) -> float | None:
    """The scale of a quantized tensor of small integers, the first of several; ValueError if it makes no sense."""
    limits = _SMALL_INTEGERS.get(tensor.number(_TENSOR_TYPE, Int8Flags))
    quantization = tensor.table(_TENSOR_QUANTIZATION)
    if limits is None or quantization is None or not len(scales := quantization.numbers(_QUANTIZATION_SCALE, "<f4")):
        return None
    # One scale per channel belongs to weights, and those of a dead channel may well be tiny or 0.
    low, high = _SCALES if len(scales) == 1 else (0.0, _SCALES[1])
    if not np.all((scales >= low) & (scales <= high)):
        raise ValueError(f"tensor {index} has the quantization scale {scales.min():g}")
    zero_points = quantization.numbers(_QUANTIZATION_ZERO_POINT, "<i8")
    if len(zero_points) and (zero_points.min() < limits[0] or zero_points.max() > limits[1]):
        raise ValueError(f"tensor {index} has the zero point {zero_points[0]}, expected {limits[0]}…{limits[1]}")
    return float(scales[0])


def _check_addition(operation: Table, index: int, dtype: int, scales: list[float | None], shapes: set[Any]) -> None:
    """Raise ValueError for scales with which LiteRT's addition or subtraction of integers would abort."""
    *given, result = [scale for scale in scales if scale is not None] or [1.0]
    options = operation.table(_OPERATOR_OPTIONS)
    if dtype == _INT16 and options is not None and options.number(_ADD_POWERS_OF_TWO, BoolFlags, missing=1):
        # Its inputs are shifted right to the scale of the result, one of them by nothing, and of one shape.
        powers = all(math.frexp(scale)[0] == 0.5 for scale in (*given, result))
        if not powers or max(given, default=result) != result or len(shapes) > 1:
            raise ValueError(f"operation {index} adds 16-bit integers by shifts, in scales or shapes that it cannot")
    elif 2 * max(given, default=result) >= 2 ** _ADD_BITS[dtype] * result:
        raise ValueError(f"operation {index} adds tensors of the scale {max(given):g} to one of {result:g}, too fine")
