"""Write a .tflite file as C++ source for TensorFlow Lite for Microcontrollers (TFLM), which runs it first."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

import quietframe
from quietframe.errors import ModelLoadError, OutputError, UsageError
from quietframe.images import write_whole
from quietframe.tasks.base import open_engine
from quietframe_export.apart import run_apart
from quietframe_export.formats.tflite import OPERATORS, TFLite

ALIGNMENT = 16
SUFFIXES = (".h", ".cc")

_PACKAGE = "tflite-micro"
_METHODS = {  # of MicroMutableOpResolver, where capital letters do not follow from the operator's name
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
_BYTES_PER_LINE = 24
# Bytes that the estimate takes for what TFLM keeps beside the activations: somewhat more than the built-in models need.
_OF_TENSOR, _OF_CHANNEL, _OF_OPERATION, _OF_INTERPRETER = 24, 10, 112, 3072


@dataclass(frozen=True)
class Proof:
    """How TFLM's interpreter fared on random inputs, on this machine, beside LiteRT.

    Attributes:
        version: of the package tflite-micro.
        arena_bytes: memory that was enough for it.
        inputs: how many there were.
        max_difference, share: of all tensors, inner ones too, from LiteRT's reference kernels, in steps of the tensor,
            and in what share of values.
        max_difference_litert, share_litert: of the outputs, from LiteRT as it runs by default, with XNNPACK.
    """

    version: str
    arena_bytes: int
    inputs: int
    max_difference: int
    share: float
    max_difference_litert: int
    share_litert: float


@dataclass(frozen=True)
class CArray:
    """What was written for a microcontroller.

    Attributes:
        source: the .tflite file.
        files: the header and the C++ source.
        size_bytes: of the model.
        operators: as methods of `MicroMutableOpResolver` name them, without `Add`.
        arena_bytes: memory for the interpreter: measured, or estimated where there is no proof.
        proof: None where the package tflite-micro is not installed.
    """

    source: Path
    files: Sequence[Path]
    size_bytes: int
    operators: Sequence[str]
    arena_bytes: int
    proof: Proof | None

    def lines(self) -> list[str]:
        """Say in lines what was written and how it was proved."""
        arena = f"{self.arena_bytes:,} bytes, {'measured' if self.proof else 'estimated'}"
        lines = [
            f"{self.files[1]} and {SUFFIXES[0]}: {self.size_bytes:,} bytes; arena: {arena}; operators: "
            + ", ".join(self.operators)
        ]
        if self.proof is None:
            return [*lines, f"not run: {_PACKAGE} is not installed (pip install {_PACKAGE}, on x86-64 Linux)"]
        return [*lines, _compared(self.proof)]


def write_c_array(path: str | Path, out: str | Path | None = None, *, overwrite: bool = False) -> CArray:
    """Write an int8 .tflite file as C++ source: `NAME.h` and `NAME.cc` of `NAME.tflite`.

    Where the package tflite-micro is installed, its interpreter runs the model first.

    Args:
        path: the file.
        out: folder for both; made if missing. None: that of the file.
        overwrite: replace files of the same names.

    Raises:
        ModelLoadError: it is not a .tflite file, or the interpreter does not run it.
        UsageError: it computes in floats.
        OutputError: a file exists and `overwrite` is off, or the folder takes no file.
    """
    path = Path(path)
    out = path.parent if out is None else Path(out)
    files = [out / f"{path.stem}{suffix}" for suffix in SUFFIXES]
    if (taken := next(filter(Path.exists, files), None)) and not overwrite:
        raise OutputError(f"{taken}: exists; pass --overwrite to replace it, or another --out")
    if path.suffix.lower() != ".tflite":
        raise UsageError(f"{path}: c-array takes .tflite files")
    open_engine(path, threads=1)  # or an error that says why it is not a model
    data = path.read_bytes()
    if floats := sorted({operation.type for operation in TFLite().operations(data) if operation.is_float}):
        raise UsageError(f"{path}: computes in floats ({', '.join(floats)}); c-array takes int8 files")
    model = schema.ModelT.InitFromPackedBuf(data)
    operators = sorted({_method(_operator(code)) for code in model.operatorCodes})
    estimate = _estimate_arena(model)
    proof = _prove(path, estimate)
    made = CArray(path, files, len(data), operators, proof.arena_bytes if proof else estimate, proof)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{out}: cannot be made a folder ({exc.strerror or exc})") from exc
    for file, text in zip(files, (_header(made, data, model), _source(made, data)), strict=True):
        write_whole(file, text.encode())
    return made


def _operator(code: Any) -> str:
    return OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _method(operator: str) -> str:
    """Name an operator as TFLM's resolver does: `DepthwiseConv2D` for DEPTHWISE_CONV_2D."""
    return _METHODS.get(operator) or "".join(part.capitalize().replace("2d", "2D") for part in operator.split("_"))


def _estimate_arena(model: Any) -> int:
    """Estimate the interpreter's memory: the most that activations need at once, and what it keeps of each layer."""
    graph = model.subgraphs[0]
    sizes = [_size(tensor) if model.buffers[tensor.buffer].data is None else 0 for tensor in graph.tensors]
    first, last = dict.fromkeys(graph.inputs, 0), {index: len(graph.operators) for index in graph.outputs}
    for step, operator in enumerate(graph.operators):
        for index in operator.outputs:
            first.setdefault(index, step)
        for index in (*operator.inputs, *operator.outputs):
            last[index] = max(step, last.get(index, 0))
    steps = range(len(graph.operators))
    live = [sum(sizes[index] for index in first if first[index] <= step <= last[index]) for step in steps]
    scales = (tensor.quantization.scale for tensor in graph.tensors if tensor.quantization is not None)
    channels = sum(len(scale) for scale in scales if scale is not None and len(scale) > 1)
    kept = _OF_TENSOR * len(graph.tensors) + _OF_CHANNEL * channels + _OF_OPERATION * len(graph.operators)
    columns = max((sizes[index] for operator in graph.operators for index in operator.outputs), default=0)
    accumulators = 4 * columns if any(_is_transposed(model, operator) for operator in graph.operators) else 0
    return _aligned(max(live) + accumulators + kept + _OF_INTERPRETER)


def _is_transposed(model: Any, operator: Any) -> bool:
    """Return whether an operation is a transposed convolution, which adds up in 32 bits in a buffer of its own."""
    return _operator(model.operatorCodes[operator.opcodeIndex]) == "TRANSPOSE_CONV"


def _size(tensor: Any) -> int:
    item = 2 if tensor.type == schema.TensorType.INT16 else 4 if tensor.type == schema.TensorType.INT32 else 1
    return _aligned(item * int(np.prod(tensor.shape)))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _prove(path: Path, estimate: int) -> Proof | None:
    """Run a file in TFLM's interpreter and in LiteRT; find the memory that it needs. None without the package.

    Each attempt is a process of its own: with too little memory the interpreter may crash. Raises ModelLoadError if it
    does not run the model.
    """
    try:
        package = version(_PACKAGE)
    except PackageNotFoundError:
        return None
    module = "quietframe_export.micro_run"
    try:
        done = json.loads(run_apart(module, str(path), str(16 * estimate + (1 << 20))))
    except RuntimeError as exc:
        raise ModelLoadError(f"{path}: TensorFlow Lite for Microcontrollers does not run it ({exc})") from exc
    arena = _aligned(done["arena_bytes"])  # in use after a run: starting up may take more
    for more in (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1):
        try:
            found = json.loads(run_apart(module, str(path), str(_aligned(int(arena * (1 + more))))))
        except RuntimeError:
            continue
        return Proof(package, **found | {"arena_bytes": _aligned(int(arena * (1 + more)))})
    raise ModelLoadError(f"{path}: TensorFlow Lite for Microcontrollers runs it in no {2 * arena:,} bytes of memory")


def _compared(proof: Proof) -> str:
    reference = "all tensors equal those of LiteRT's reference kernels bit for bit"
    if proof.max_difference:
        reference = (
            f"{proof.share:.2%} of all tensors' values differ from those of LiteRT's reference kernels, "
            f"by up to {proof.max_difference} steps"
        )
    default = "the results those of LiteRT with XNNPACK"
    if proof.max_difference_litert:
        default = (
            f"{proof.share_litert:.2%} of the results differ from those of LiteRT with XNNPACK, "
            f"by up to {proof.max_difference_litert}"
        )
    return f"{proof.inputs} random inputs in {_PACKAGE} {proof.version}: {reference}; {default}"


def _header(made: CArray, data: bytes, model: Any) -> str:
    graph = model.subgraphs[0]
    tensors = [("input ", index) for index in graph.inputs] + [("output", index) for index in graph.outputs]
    about = [
        f"{made.source.name} for TensorFlow Lite for Microcontrollers, written by QuietFrame {quietframe.__version__}.",
        f"SHA-256 of the file: {hashlib.sha256(data).hexdigest()}",
        *(f"{side} {_describe(graph.tensors[index])}" for side, index in tensors),
        _compared(made.proof) if made.proof else "Not run: the package tflite-micro was not there.",
    ]
    name = _identifier(made.source.stem)
    calls = " &&\n         ".join(f"resolver.Add{operator}() == 0" for operator in made.operators)
    arena = (
        "measured on an x86-64 processor with the reference kernels.\n"
        "// CMSIS-NN takes scratch buffers as well: read interpreter.arena_used_bytes() on the device."
        if made.proof
        else "estimated.\n// Begin with more, and read interpreter.arena_used_bytes() on the device."
    )
    return f"""{_comment(about)}
#ifndef {name.upper()}_H_
#define {name.upper()}_H_

#include <cstddef>

namespace {name} {{

// The file, at an address that is a multiple of {ALIGNMENT}.
extern const unsigned char kModel[];
constexpr std::size_t kModelSize = {made.size_bytes};

// Bytes of memory for the interpreter: {arena}
constexpr std::size_t kArenaSize = {made.arena_bytes};

constexpr unsigned int kOperatorCount = {len(made.operators)};

// Add the operators of the model to a tflite::MicroMutableOpResolver<kOperatorCount>. Returns whether it took all.
template <typename Resolver>
bool AddOperators(Resolver& resolver) {{
  return {calls};
}}

}}  // namespace {name}

#endif  // {name.upper()}_H_
"""


def _source(made: CArray, data: bytes) -> str:
    rows = (data[at : at + _BYTES_PER_LINE] for at in range(0, len(data), _BYTES_PER_LINE))
    values = "\n".join("  " + ",".join(map(str, row)) + "," for row in rows)
    name = _identifier(made.source.stem)
    return f"""{_comment([f"{made.source.name}, written by QuietFrame {quietframe.__version__}."])}
#include "{made.files[0].name}"

namespace {name} {{

alignas({ALIGNMENT}) const unsigned char kModel[kModelSize] = {{
{values}
}};

}}  // namespace {name}
"""


def _describe(tensor: Any) -> str:
    kind = next(name for name, value in vars(schema.TensorType).items() if value == tensor.type).lower()
    shape = "x".join(map(str, tensor.shape))
    quantization = tensor.quantization
    text = f"{tensor.name.decode()}: {kind} {shape}"
    if quantization is None or quantization.scale is None:
        return text
    return f"{text}, real = {quantization.scale[0]:.9g} * (value - {quantization.zeroPoint[0]})".replace("- -", "+ ")


def _comment(lines: Sequence[str]) -> str:
    return "\n".join("// " + re.sub(r"[^ -~]|\\$", "?", line) for line in lines)


def _identifier(stem: str) -> str:
    name = re.sub(r"\W", "_", stem, flags=re.ASCII)
    return f"model_{name}" if name[:1].isdigit() else name
