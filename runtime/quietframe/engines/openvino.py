"""OpenVINO: runs .xml files of its own format (IR), with their weights in the .bin beside them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quietframe.card import CARD_KEY
from quietframe.engines.base import TensorInfo, first_line, none_empty, read_model_file, run_error
from quietframe.errors import MissingExtraError, ModelLoadError

# OpenVINO tells Google of every import of it, unless its user has opted out. It does without the package that does so
# where that is missing: for this process it is.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

CARD_PATH = CARD_KEY.split(".")
"""Where the card stands among the model's metadata (`rt_info`)."""


class OpenVinoEngine:
    """Runs an OpenVINO IR file on the CPU.

    It computes in float32 where the file does: left to itself OpenVINO takes bfloat16 on processors that have it. When
    much smaller inputs come, what larger ones took is given back.

    Args:
        path: the .xml file; the .bin of the same name lies beside it.
        threads: how many it may use.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelLoadError: unreadable, not an IR file, without its .bin, or with operations that this OpenVINO lacks.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".xml",)
    package: ClassVar[str] = "openvino"

    def __init__(self, path: Path, *, threads: int) -> None:
        try:
            import openvino
        except ImportError as exc:
            raise MissingExtraError("OpenVINO", "openvino") from exc
        if b"<net" not in read_model_file(path)[:4096]:
            raise ModelLoadError(f"{path}: not an OpenVINO model (its content is something else)")
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise ModelLoadError(f"{path}: its weights are missing: lay {weights.name} beside it")
        core = openvino.Core()
        try:
            model = core.read_model(path, weights)
            self.card_json: str | None = (
                model.get_rt_info(CARD_PATH).astype(str) if model.has_rt_info(CARD_PATH) else None
            )
            self.inputs: Mapping[str, TensorInfo] = {info.name: info for info in map(_info, model.inputs)}
            self.outputs: Mapping[str, TensorInfo] = {info.name: info for info in map(_info, model.outputs)}
            self._compiled = core.compile_model(model, "CPU", settings(threads))
            self._request = self._compiled.create_infer_request()
            self._model = model
            self._shapes: dict[str, tuple[int | None, ...]] = {name: info.shape for name, info in self.inputs.items()}
        except (RuntimeError, ValueError, TypeError) as exc:
            raise ModelLoadError(f"{path}: not an OpenVINO model that runs here ({_cause(exc)})") from exc
        self._path, self._tensor = path, openvino.Tensor
        self._lock = threading.Lock()  # one request has one set of tensors
        self._max_elements = 0  # in the inputs of one run since memory was given back

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once. See `Engine.run`."""
        try:
            with self._lock:
                return self._run(inputs)
        except (RuntimeError, ValueError) as exc:
            raise run_error(self._path, inputs, self.inputs, ValueError(_cause(exc))) from exc

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        _check(inputs, self.inputs)  # OpenVINO would convert, reshape or keep the inputs before
        shapes = {name: array.shape for name, array in inputs.items()}
        if shapes != self._shapes:  # with one thread, OpenVINO would take sizes that no operation can, and do nothing
            self._model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._shapes = dict(shapes)
        elements = sum(array.size for array in inputs.values())
        if 2 * elements < self._max_elements:
            self._request = None
            self._compiled.release_memory()
            self._request, self._max_elements = self._compiled.create_infer_request(), 0
        self._max_elements = max(self._max_elements, elements)
        # OpenVINO takes no others than contiguous arrays that may be written to.
        held = {name: np.require(array, requirements=["C", "W"]) for name, array in inputs.items()}
        for name, array in held.items():
            self._request.set_tensor(name, self._tensor(array, shared_memory=True))
        self._request.infer()
        results = {name: np.array(self._request.get_tensor(name).data) for name in self.outputs}
        return none_empty(self._path, results)


def settings(threads: int) -> dict[str, Any]:
    """OpenVINO's settings as the engine uses them."""
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }


def _check(inputs: Mapping[str, NDArray[Any]], stated: Mapping[str, TensorInfo]) -> None:
    """Raise ValueError unless these are the tensors that a file takes."""
    if inputs.keys() != stated.keys():
        raise ValueError("other inputs than the file's")
    for name, info in stated.items():
        array = inputs[name]
        fits = len(array.shape) == len(info.shape) and all(
            size in (None, given) for size, given in zip(info.shape, array.shape, strict=True)
        )
        if not fits or array.dtype != info.dtype:
            raise ValueError(f"{name} does not fit")


def _cause(exc: Exception) -> str:
    """Say why OpenVINO refuses something: the last line of what it says that is no place in its source."""
    lines = [line.strip() for line in str(exc).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return telling[-1] if telling else first_line(exc)


def _info(port: Any) -> TensorInfo:
    sizes = port.get_partial_shape()
    if sizes.rank.is_dynamic:
        raise ValueError(f"tensor {port.any_name!r} has no number of axes")
    shape = tuple(int(size.get_length()) if size.is_static else None for size in sizes)
    return TensorInfo(name=port.any_name, shape=shape, dtype=np.dtype(port.element_type.to_dtype()))
