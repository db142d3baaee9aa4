"""ONNX Runtime: runs .onnx files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.card import CARD_KEY
from quietframe.engines.base import TensorInfo, read_model_file
from quietframe.errors import MissingExtraError, ModelLoadError

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
_FATAL = 4


class OnnxEngine:
    """Runs an .onnx file with ONNX Runtime on the CPU.

    Waiting threads sleep in place of spinning: spinning threads slow whatever runs beside them
    (https://github.com/microsoft/onnxruntime/issues/13808).

    Args:
        path: the file.
        threads: how many the session may use.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelLoadError: unreadable, not an ONNX model, or with tensors of a type that is not supported.
    """

    def __init__(self, path: Path, *, threads: int) -> None:
        try:
            import onnxruntime as ort
        except ImportError as exc:
            raise MissingExtraError("ONNX Runtime", "onnx") from exc
        data = read_model_file(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _FATAL
        try:
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # ONNX Runtime's own exceptions share no base class
            if "onnxruntime" not in type(exc).__module__ and not isinstance(exc, (RuntimeError, ValueError)):
                raise
            first_line = str(exc).strip().partition("\n")[0]
            raise ModelLoadError(f"{path}: not an ONNX model that runs here ({first_line})") from exc
        self.inputs: Mapping[str, TensorInfo] = {arg.name: _info(arg, path) for arg in self._session.get_inputs()}
        self.outputs: Mapping[str, TensorInfo] = {arg.name: _info(arg, path) for arg in self._session.get_outputs()}
        self._output_names = list(self.outputs)
        self.card_json: str | None = self._session.get_modelmeta().custom_metadata_map.get(CARD_KEY)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once. See `Engine.run`."""
        results = self._session.run(self._output_names, dict(inputs))
        return dict(zip(self._output_names, results, strict=True))


def _info(arg: Any, path: Path) -> TensorInfo:
    dtype = _DTYPES.get(arg.type)
    if dtype is None:
        raise ModelLoadError(f"{path}: tensor {arg.name!r} is {arg.type}, which is not supported")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in arg.shape)
    return TensorInfo(name=arg.name, shape=shape, dtype=np.dtype(dtype))
