"""What a .tflite file's flatbuffer says, read before anything in it runs: its card, and whether it makes sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from quietframe.card import CARD_KEY

_MOST_ELEMENTS = 2**31  # LiteRT counts them in 32 bits
_SCALES = (1e-9, 1e6)  # far beyond what any picture or feature needs


def open_flatbuffer(data: bytes) -> Any:
    """The file's root table. LiteRT must have verified the flatbuffer: here nothing is checked."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(data)


def read_card(model: Any) -> str | None:
    """The text of the card in the file's metadata, or None. Raises UnicodeDecodeError if it is not UTF-8."""
    for index in range(model.MetadataLength()):
        metadata = model.Metadata(index)
        if metadata.Name() == CARD_KEY.encode() and metadata.Buffer() < model.BuffersLength():
            return bytes(model.Buffers(metadata.Buffer()).DataAsNumpy()).decode()
    return None


def refuse_absurd_tensors(model: Any) -> None:
    """Raise ValueError on tensors with which LiteRT would abort the process or fill the memory.

    LiteRT verifies that a flatbuffer is whole, not that its numbers make sense: one flipped bit in a zero point
    makes its kernels read beyond their tables.
    """
    for graph in (model.Subgraphs(index) for index in range(model.SubgraphsLength())):
        quantized = {}
        for index in range(graph.TensorsLength()):
            tensor = graph.Tensors(index)
            if np.prod(tensor.ShapeAsNumpy(), dtype=float) >= _MOST_ELEMENTS:
                raise ValueError(f"tensor {index} has the shape {tensor.ShapeAsNumpy().tolist()}, too large to hold")
            if limits := _small_integers().get(tensor.Type()):
                quantized[index] = _check_quantization(tensor.Quantization(), index, limits)
        for index in range(graph.OperatorsLength()):
            states = {quantized[tensor] for tensor in _tensors_of(graph.Operators(index)) if tensor in quantized}
            if len(states) > 1:
                raise ValueError(f"operation {index} mixes integer tensors with and without a scale")


def _small_integers() -> dict[int, tuple[int, int]]:
    """The types of quantized tensors and the ranges of their zero points."""
    from ai_edge_litert.schema_py_generated import TensorType

    return {TensorType.INT8: (-128, 127), TensorType.UINT8: (0, 255), TensorType.INT16: (-32768, 32767)}


def _check_quantization(quantization: Any, index: int, limits: tuple[int, int]) -> bool:
    """Whether a tensor is quantized; ValueError if by senseless numbers."""
    if quantization is None or quantization.ScaleLength() == 0:
        return False
    scales = quantization.ScaleAsNumpy()
    # One scale per channel belongs to weights, and those of a dead channel may well be tiny or 0.
    low, high = _SCALES if len(scales) == 1 else (0.0, _SCALES[1])
    if not np.all((scales >= low) & (scales <= high)):
        raise ValueError(f"tensor {index} has the quantization scale {scales.min():g}")
    if quantization.ZeroPointLength():
        zero_points = quantization.ZeroPointAsNumpy()
        if zero_points.min() < limits[0] or zero_points.max() > limits[1]:
            raise ValueError(f"tensor {index} has the zero point {zero_points[0]}, expected {limits[0]}…{limits[1]}")
    return True


def _tensors_of(operation: Any) -> Iterator[int]:
    for length, item in ((operation.InputsLength, operation.Inputs), (operation.OutputsLength, operation.Outputs)):
        yield from map(item, range(length()))
