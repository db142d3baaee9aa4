"""LiteRT: runs .tflite files."""

from __future__ import annotations

import os
import re
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quietframe.descriptors import STDERR, diverted
from quietframe.engines.base import TensorInfo, first_line, none_empty, read_model_file, run_error
from quietframe.engines.flatbuffer import open_flatbuffer, read_card, validate_graphs
from quietframe.errors import ModelLoadError
from quietframe.log import log

# LiteRT raises the first two; the others come from a flatbuffer that is whole and makes no sense.
_DAMAGE = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, struct.error)
_FLEX = re.compile(r"\((Flex\w+)\) failed to prepare")
_CUSTOM = re.compile(r"unresolved custom op: (\S+?)\.?(?:See|\s|$)")
_SIGN = 128  # the bit, and the difference, between a signed byte and an unsigned one that stands for the same


class _SignFlipped(TensorInfo):
    """An int8 tensor that is taken and given as uint8, all 128 higher, as 8-bit images are.

    The engine flips the sign while it copies, which costs no pass of its own.
    """

    @property
    def declared(self) -> TensorInfo:
        """See `TensorInfo.declared`."""
        return TensorInfo(self.name, self.shape, np.dtype(np.int8), self.scale, self.zero_point - _SIGN)

    def as_declared(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `TensorInfo.as_declared`."""
        return (array ^ np.uint8(_SIGN)).view(np.int8)

    def from_declared(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `TensorInfo.from_declared`."""
        return array.view(np.uint8) ^ np.uint8(_SIGN)


class LiteRtEngine:
    """Runs a .tflite file with LiteRT on the CPU (XNNPACK).

    Tensors go by the names of the file's signature, or by their own where it has none. A file with free sizes is
    prepared when its first inputs come: at the size that is stored in it, which need not even be a possible one,
    the work would be for nothing. When much smaller inputs come, the interpreter is made anew: LiteRT keeps up to two
    thirds of the memory that its largest inputs took, and a new one costs hardly more than resizing it.

    Quantized int8 tensors are taken and given as uint8; `TensorInfo.declared` is what the file says.

    Args:
        path: the file.
        threads: how many the interpreter may use.

    Raises:
        ModelLoadError: unreadable, not a LiteRT model, or with operations that plain LiteRT lacks.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)
    package: ClassVar[str] = "ai_edge_litert"

    def __init__(self, path: Path, *, threads: int) -> None:
        data = read_model_file(path)
        if data[4:8] != b"TFL3":
            raise ModelLoadError(f"{path}: not a LiteRT model (its content is something else)")
        self._path = path
        self._data, self._threads = data, threads
        self._lock = threading.Lock()  # LiteRT lets go of the GIL while it runs, and is not thread-safe
        try:
            self._interpreter = self._open()  # verifies the flatbuffer
            model = open_flatbuffer(data)
            self.card_json = read_card(model)
            validate_graphs(model)
            inputs, outputs = self._signature()
            self.inputs: Mapping[str, TensorInfo] = {name: _info(name, detail) for name, detail in inputs.items()}
            self.outputs: Mapping[str, TensorInfo] = {name: _info(name, detail) for name, detail in outputs.items()}
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._max_elements = 0  # in the inputs of one run of this interpreter
            if all(None not in info.shape for info in self.inputs.values()):
                self._allocate()
                self._shapes |= {name: tuple(map(int, detail["shape"])) for name, detail in inputs.items()}
        except _DAMAGE as exc:
            cause = _lacking_operation(exc) or f"not a LiteRT model that runs here ({first_line(exc)})"
            raise ModelLoadError(f"{path}: {cause}") from exc
        self._input_indices = {name: int(detail["index"]) for name, detail in inputs.items()}
        self._output_indices = {name: int(detail["index"]) for name, detail in outputs.items()}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once. See `Engine.run`."""
        try:
            with self._lock:
                return self._run(inputs)
        except (RuntimeError, ValueError, KeyError) as exc:
            if lacks := _lacking_operation(exc):  # a file of free sizes says so at its first run
                raise ModelLoadError(f"{self._path}: {lacks}") from exc
            raise run_error(self._path, inputs, self.inputs, exc) from exc

    def _run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        resized = {name: array.shape for name, array in inputs.items() if array.shape != self._shapes.get(name)}
        if resized:
            for name, shape in resized.items():
                _check_shape(shape, self.inputs[name].shape)
            self._shapes.clear()  # until all went well: a failure must not leave them half changed
            elements = sum(array.size for array in inputs.values())
            if 2 * elements < self._max_elements:
                log.debug("%s: a new interpreter for much smaller inputs", self._path)
                self._interpreter, self._max_elements = self._open(), 0
                resized = {name: array.shape for name, array in inputs.items()}
            for name, shape in resized.items():
                self._interpreter.resize_tensor_input(self._input_indices[name], shape)
            self._allocate()
            self._max_elements = max(self._max_elements, elements)
            self._shapes.update({name: array.shape for name, array in inputs.items()})
        for name, index in self._input_indices.items():
            self._put(index, inputs[name], self.inputs[name])
        self._interpreter.invoke()
        results = {name: self._get(index, self.outputs[name]) for name, index in self._output_indices.items()}
        return none_empty(self._path, results)

    def _put(self, index: int, array: NDArray[Any], info: TensorInfo) -> None:
        if not isinstance(info, _SignFlipped):
            self._interpreter.set_tensor(index, array)
        elif array.dtype != info.dtype:
            raise ValueError(f"{array.dtype} for {info.dtype}")
        else:
            np.bitwise_xor(array, np.uint8(_SIGN), out=self._bytes(index))

    def _get(self, index: int, info: TensorInfo) -> NDArray[Any]:
        if isinstance(info, _SignFlipped):
            return np.bitwise_xor(self._bytes(index), np.uint8(_SIGN))
        return np.asarray(self._interpreter.get_tensor(index))

    def _bytes(self, index: int) -> NDArray[np.uint8]:
        """The interpreter's own memory of an int8 tensor: it refuses to run while anybody holds this array."""
        return np.asarray(self._interpreter.tensor(index)()).view(np.uint8)

    def _open(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_content=self._data, num_threads=self._threads)

    def _allocate(self) -> None:
        with _native_output_logged():
            self._interpreter.allocate_tensors()

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


def _lacking_operation(exc: Exception) -> str:
    """Say which operation LiteRT lacks, if that is why it refuses a file, and what to do; else empty."""
    if flex := _FLEX.search(str(exc)):
        return f"needs TensorFlow's operation {flex[1]}: convert it anew with built-in operations only"
    if custom := _CUSTOM.search(str(exc)):
        remedy = "give the compiler's input, the file before Vela" if custom[1] == "ethos-u" else "convert it without"
        return f"needs the custom operation {custom[1]!r}, which LiteRT lacks on a CPU: {remedy}"
    return ""


def _check_shape(given: tuple[int, ...], stated: tuple[int | None, ...]) -> None:
    """Raise ValueError unless a tensor may take that shape. LiteRT would resize to any, and compute something.

    Converters write fully convolutional models with one fixed size, too: a file without a free axis may be
    given other sizes, and its operations decide.
    """
    fixed = [size for size in stated if size is not None]
    if len(given) != len(stated) or (
        len(fixed) < len(stated) and any(b not in (a, None) for a, b in zip(given, stated, strict=True))
    ):
        raise ValueError(f"shape {list(given)} for {list(stated)}")


_redirecting = threading.Lock()


@contextmanager
def _native_output_logged() -> Iterator[None]:
    """Log the line 'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.' instead of printing it to standard error.

    LiteRT 2.3 writes it from C++ and has no switch for it, neither in Python nor in the environment. So the file
    descriptor is redirected meanwhile, and all other lines are passed on.
    """
    if sys.stderr is None:  # closed
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(reading, False)  # a child of another thread may hold the other end for as long as it runs
    os.set_blocking(writing, False)  # a full pipe must not block LiteRT
    with _redirecting, os.fdopen(reading, "rb", buffering=0) as pipe:
        try:
            with os.fdopen(writing, "wb"), ExitStack() as stack:
                with suppress(OSError):  # closed since
                    stack.enter_context(diverted(STDERR, writing))
                yield
        finally:
            for line in (pipe.read() or b"").splitlines(keepends=True):
                if line.startswith(b"INFO: "):
                    log.debug("LiteRT: %s", line.removeprefix(b"INFO: ").decode(errors="replace").strip())
                else:
                    os.write(STDERR, line)


def _info(name: str, detail: Mapping[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    shape = detail.get("shape_signature", ())
    shape = shape if len(shape) else detail["shape"]
    flipped = bool(scale) and detail["dtype"] == np.int8
    return (_SignFlipped if flipped else TensorInfo)(
        name=name,
        shape=tuple(None if size < 0 else int(size) for size in shape),
        dtype=np.dtype(np.uint8 if flipped else detail["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point) + (_SIGN if flipped else 0),
    )
