"""ONNX Runtime: runs .onnx files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quietframe.card import CARD_KEY
from quietframe.engines.base import TensorInfo, first_line, none_empty, read_model_file, run_error
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
_ERROR, _FATAL = 3, 4
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"
_NEWER = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")


class OnnxEngine:
    """Runs an .onnx file with ONNX Runtime on the CPU.

    Waiting threads sleep instead of spinning: spinning threads slow whatever runs beside them
    (https://github.com/microsoft/onnxruntime/issues/13808). Memory is not planned ahead for sizes that were seen
    before: the plans hold as much again as the first run took, and save no time that could be measured. When much
    smaller inputs come, what larger ones took is given back.

    Args:
        path: the file.
        threads: how many the session may use.

    Raises:
        MissingExtraError: ONNX Runtime is not installed.
        ModelLoadError: unreadable, not an ONNX model, or with tensors of a type that is not supported.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    package: ClassVar[str] = "onnxruntime"

    def __init__(self, path: Path, *, threads: int) -> None:
        try:
            import onnxruntime as ort
        except ImportError as exc:
            raise MissingExtraError("ONNX Runtime", "onnx") from exc
        data = read_model_file(path)
        options = session_options(threads)
        options.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent.absolute()))
        self._path = path
        try:
            # The fallback would print to standard output and try the same again.
            session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"], enable_fallback=0)
            self.card_json: str | None = session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
            self.inputs: Mapping[str, TensorInfo] = {arg.name: _info(arg, path) for arg in session.get_inputs()}
            self.outputs: Mapping[str, TensorInfo] = {arg.name: _info(arg, path) for arg in session.get_outputs()}
        except Exception as exc:
            if not _is_onnx_error(exc):
                raise
            raise ModelLoadError(f"{path}: not an ONNX model that runs here ({_cause(exc)})") from exc
        self._session = session
        self._shrinking = ort.RunOptions()
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._max_elements = 0  # in the inputs of one run since the arena was given back
        self._output_names = list(self.outputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once. See `Engine.run`."""
        elements = sum(array.size for array in inputs.values())
        shrinks = 2 * elements < self._max_elements
        self._max_elements = elements if shrinks else max(self._max_elements, elements)
        try:
            results = self._session.run(self._output_names, dict(inputs), self._shrinking if shrinks else None)
        except Exception as exc:
            if not _is_onnx_error(exc):
                raise
            raise run_error(self._path, inputs, self.inputs, exc) from exc
        return none_empty(self._path, dict(zip(self._output_names, results, strict=True)))


def session_options(threads: int) -> Any:
    """ONNX Runtime's options as the engine uses them: an `onnxruntime.SessionOptions`.

    Its default logger is set to errors: operators warn through it, whatever the session's own level is.
    """
    import onnxruntime as ort

    ort.set_default_logger_severity(_ERROR)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False
    options.log_severity_level = _FATAL
    return options


def _cause(exc: Exception) -> str:
    """Say why ONNX Runtime does not open a file, without the names of its functions."""
    line = first_line(exc)
    if newer := _NEWER.search(line):
        return (
            f"it has IR version {newer[1]}, the installed ONNX Runtime reads up to {newer[2]}: upgrade that, or save "
            "the model for an older one"
        )
    return line


def _is_onnx_error(exc: Exception) -> bool:
    """ONNX Runtime's own exceptions share no base class."""
    return "onnxruntime" in type(exc).__module__ or isinstance(exc, (RuntimeError, ValueError))


def _info(arg: Any, path: Path) -> TensorInfo:
    dtype = _DTYPES.get(arg.type)
    if dtype is None:
        raise ModelLoadError(f"{path}: tensor {arg.name!r} is {arg.type}, which is not supported")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in arg.shape)
    return TensorInfo(name=arg.name, shape=shape, dtype=np.dtype(dtype))
