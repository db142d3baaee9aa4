"""Run a .tflite file in the interpreter of TensorFlow Lite for Microcontrollers, with a given memory, and in LiteRT.

`python -m quietframe_export.micro_run FILE BYTES` prints JSON: the fields of `micro.Proof`. Imports no TensorFlow.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from tflite_micro import runtime

INPUTS = 16
_SPOT = 5  # side in pixels
_TRACE_BYTES = 256 << 20  # where every tensor is kept


def run(path: Path, arena_bytes: int) -> dict[str, Any]:
    """Compare on random inputs. Raises RuntimeError if the interpreter does not take the model or the memory."""
    data = path.read_bytes()
    litert = Interpreter(model_content=data)
    reference = Interpreter(
        model_content=_for_reference(data),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    operators = schema.ModelT.InitFromPackedBuf(data).subgraphs[0].operators
    tensors = [int(index) for operator in operators for index in operator.outputs]
    micro = _open(data, arena_bytes)
    traced = _open(data, max(arena_bytes, _TRACE_BYTES), runtime.InterpreterConfig.kPreserveAllTensors)
    from_reference, from_litert = [], []
    for inputs in _random_inputs(litert):
        for interpreter in (micro, traced):
            for index, array in enumerate(inputs):
                interpreter.set_input(array, index)
            interpreter.invoke()
        _invoke(reference, inputs)
        for index in tensors:
            ours = traced.GetTensor(index, 0)["tensor_data"]
            from_reference.append(_difference(reference.get_tensor(index), ours))
        for index, array in enumerate(_invoke(litert, inputs)):
            from_litert.append(_difference(array, micro.get_output(index)))
    of_reference, of_litert = np.concatenate(from_reference), np.concatenate(from_litert)
    return {
        "arena_bytes": _used(micro),
        "inputs": INPUTS,
        "max_difference": int(of_reference.max()),
        "share": float(np.mean(of_reference > 0)),
        "max_difference_litert": int(of_litert.max()),
        "share_litert": float(np.mean(of_litert > 0)),
    }


def _open(
    data: bytes, arena_bytes: int, config: Any = runtime.InterpreterConfig.kAllocationRecording
) -> runtime.Interpreter:
    with _standard_error() as said:
        try:
            return runtime.Interpreter.from_bytes(data, arena_size=arena_bytes, intrepreter_config=config)
        except RuntimeError as exc:
            failure = exc
    lines = [line for line in said() if line]
    raise RuntimeError(lines[0] if lines else str(failure)) from failure


def _difference(litert: NDArray[Any], micro: NDArray[Any]) -> NDArray[np.int64]:
    return np.abs(litert.astype(np.int64).ravel() - micro.ravel())


def _for_reference(data: bytes) -> bytes:
    """State version 1 of DEPTH_TO_SPACE: the only one in LiteRT's list of reference kernels, which has one for all."""
    model = schema.ModelT.InitFromPackedBuf(data)
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.DEPTH_TO_SPACE:
            code.version = 1
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _random_inputs(model: Interpreter) -> Iterator[list[NDArray[Any]]]:
    """Draw inputs of the whole range of their type: noise, and by turns spots of several pixels, as in images."""
    rng = np.random.default_rng(0)
    for number in range(INPUTS):
        arrays = []
        for tensor in model.get_input_details():
            shape, limits = tensor["shape"], np.iinfo(tensor["dtype"])
            side = _SPOT if number % 2 and len(shape) == 4 else 1
            array = rng.integers(limits.min, limits.max + 1, shape).astype(tensor["dtype"])
            if side > 1:
                array = array[:, ::side, ::side].repeat(side, axis=1).repeat(side, axis=2)[:, : shape[1], : shape[2]]
            arrays.append(array)
        yield arrays


def _invoke(model: Interpreter, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
    model.allocate_tensors()
    for tensor, array in zip(model.get_input_details(), inputs, strict=True):
        model.set_tensor(tensor["index"], array)
    model.invoke()
    return [model.get_tensor(tensor["index"]) for tensor in model.get_output_details()]


def _used(micro: runtime.Interpreter) -> int:
    """Read how much memory is in use."""
    with _standard_error() as said:
        micro.print_allocations()
    return next(int(found[1]) for line in said() if (found := re.search(r"Arena allocation total (\d+) bytes", line)))


@contextmanager
def _standard_error() -> Iterator[Callable[[], list[str]]]:
    """Collect what is written to standard error, the interpreter's only voice; yields a call for its lines."""
    with tempfile.TemporaryFile() as file:
        kept, text = os.dup(2), list[str]()
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: text
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            text += file.read().decode(errors="replace").splitlines()


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201  it is the result
