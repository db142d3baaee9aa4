"""Writes small .onnx files with NumPy alone: devices that measure have ONNX Runtime, but not the onnx package.

The numbers of the fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, in the wire format of
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7}
_IR_VERSION, _OPSET = 8, 13


@dataclass
class OnnxGraph:
    """A graph under construction: a chain of operators with one input and one output.

    Attributes:
        nodes, constants: as they are written.
    """

    nodes: list[bytes] = field(default_factory=list)
    constants: list[bytes] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant; returns its name."""
        array = np.asarray(value)
        dims = b"".join(_number(1, size) for size in array.shape)
        data = np.ascontiguousarray(array).tobytes()
        kind = _number(2, _TYPES[array.dtype.name])
        self.constants.append(dims + kind + _text(8, name) + _bytes(9, data))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | Sequence[int]) -> str:
        """Add an operator with integer attributes; returns its output's name."""
        names = b"".join(_text(1, name) for name in inputs)
        settings = b"".join(_bytes(5, _attribute(name, value)) for name, value in attributes.items())
        self.nodes.append(names + _text(2, output) + _text(3, f"node_{output}") + _text(4, kind) + settings)
        return output

    def to_bytes(
        self, inputs: Mapping[str, tuple[str, Sequence[int]]], outputs: Mapping[str, tuple[str, Sequence[int]]]
    ) -> bytes:
        """The file. inputs, outputs: type (such as `uint8`) and shape by name."""
        graph = b"".join(_bytes(1, node) for node in self.nodes) + _text(2, "graph")
        graph += b"".join(_bytes(5, constant) for constant in self.constants)
        for number, tensors in ((11, inputs), (12, outputs)):
            graph += b"".join(_bytes(number, _tensor(name, *tensor)) for name, tensor in tensors.items())
        opset = _text(1, "") + _number(2, _OPSET)
        return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, opset)


def _tensor(name: str, dtype: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, size)) for size in shape)
    kind = _bytes(1, _number(1, _TYPES[dtype]) + _bytes(2, dims))
    return _text(1, name) + _bytes(2, kind)


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, 2)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, 7)


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """A whole number ≥ 0 in groups of seven bits, the lowest first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
