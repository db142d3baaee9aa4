"""LiteRT: runs .tflite files."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.card import CARD_KEY
from quietframe.engines.base import TensorInfo, read_model_file
from quietframe.errors import ModelLoadError


class LiteRtEngine:
    """Runs a .tflite file with LiteRT on the CPU (XNNPACK).

    Tensors go by the names of the file's signature, or by their own where it has none.

    Args:
        path: the file.
        threads: how many the interpreter may use.

    Raises:
        ModelLoadError: unreadable, not a LiteRT model, or with operations that plain LiteRT lacks.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        data = read_model_file(path)
        if data[4:8] != b"TFL3":
            raise ModelLoadError(f"{path}: not a LiteRT model (its content is something else)")
        try:
            self.card_json = _read_card(data)
            self._interpreter = Interpreter(model_content=data, num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs, outputs = self._signature()
        except (
            ValueError,
            RuntimeError,
            TypeError,
            struct.error,
        ) as exc:  # the latter two: damaged flatbuffers
            first_line = str(exc).strip().partition("\n")[0]
            raise ModelLoadError(f"{path}: not a LiteRT model that runs here ({first_line})") from exc
        self._input_indices = {name: int(detail["index"]) for name, detail in inputs.items()}
        self._output_indices = {name: int(detail["index"]) for name, detail in outputs.items()}
        self._shapes = {name: tuple(map(int, detail["shape"])) for name, detail in inputs.items()}
        self.inputs: Mapping[str, TensorInfo] = {name: _info(name, detail) for name, detail in inputs.items()}
        self.outputs: Mapping[str, TensorInfo] = {name: _info(name, detail) for name, detail in outputs.items()}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once. See `Engine.run`."""
        interpreter = self._interpreter
        resized = False
        for name, array in inputs.items():
            if array.shape != self._shapes[name]:
                interpreter.resize_tensor_input(self._input_indices[name], array.shape)
                self._shapes[name] = array.shape
                resized = True
        if resized:
            interpreter.allocate_tensors()
        for name, array in inputs.items():
            interpreter.set_tensor(self._input_indices[name], array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._output_indices.items()}

    def _signature(self) -> tuple[dict[str, Any], dict[str, Any]]:
        interpreter = self._interpreter
        keys = list(interpreter.get_signature_list())
        if len(keys) == 1:
            runner = interpreter.get_signature_runner(keys[0])
            return runner.get_input_details(), runner.get_output_details()
        return (
            {detail["name"]: detail for detail in interpreter.get_input_details()},
            {detail["name"]: detail for detail in interpreter.get_output_details()},
        )


def _read_card(data: bytes) -> str | None:
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(data)
    for index in range(model.MetadataLength()):
        metadata = model.Metadata(index)
        if metadata.Name() == CARD_KEY.encode():
            return bytes(model.Buffers(metadata.Buffer()).DataAsNumpy()).decode()
    return None


def _info(name: str, detail: Mapping[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    shape = detail.get("shape_signature", ())
    shape = shape if len(shape) else detail["shape"]
    return TensorInfo(
        name=name,
        shape=tuple(None if size < 0 else int(size) for size in shape),
        dtype=np.dtype(detail["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )
