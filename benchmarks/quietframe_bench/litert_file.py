"""A .tflite file at the size it runs at: its operators, a copy that has no other size, and what LiteRT's tool says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.errors import QuietFrameError
from quietframe_bench.profiles import Node, Shape, convolution_macs, product_macs, short_name, transposed_macs

LITERT_BENCHMARK = "litert-benchmark"
_MODULE = "ai_edge_litert.tools.benchmark_litert_model"  # what the command of that name runs
_MAX_SECS = 600
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception): ")


class ToolError(QuietFrameError):
    """LiteRT's tool is not installed, or fails."""


def tflite_nodes(data: bytes, shapes: Mapping[str, Shape]) -> list[Node]:
    """Return the operators of a file's main graph, in the order in which they run.

    The graph is read with the classes that LiteRT generates from the published schema, the shapes from the
    interpreter's public tensor details.

    Args:
        data: the file, which the engine has opened before.
        shapes: of the inputs, by the signature's names.
    """
    model = _read(data)
    tensors = _tensors_at(data, model, shapes)
    return [_node(index, model, operator, tensors) for index, operator in enumerate(model.subgraphs[0].operators)]


def copy_at_size(data: bytes, shapes: Mapping[str, Shape]) -> bytes:
    """Return the same model with these shapes written into it: LiteRT's own tools take files as they are.

    Args: as of `tflite_nodes`.
    """
    import flatbuffers

    model = _read(data)
    tensors = _tensors_at(data, model, shapes)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        if index in tensors:
            tensor.shape = [int(size) for size in tensors[index]["shape"]]
        tensor.shapeSignature = None
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_at_size(*, model: str, shapes: dict[str, list[int]], target: str) -> None:
    """Write a copy of a file with these shapes of inputs. See `copy_at_size`."""
    Path(target).write_bytes(copy_at_size(Path(model).read_bytes(), shapes))


def run_litert_benchmark(model: Path, *, threads: int, warmup: int, runs: int) -> dict[str, Any]:
    """Return what LiteRT's own command `litert-benchmark` says of a file, in a process of its own, on random inputs.

    It cannot resize: give it a file of the size that is meant (`write_at_size`).

    Returns:
        `avg_ms`, `median_ms`, `min_ms`, `max_ms` (rounded to 0.01 by the tool) and `num_runs`.

    Raises:
        ToolError: it is not installed, or fails.
    """
    try:
        found = importlib.util.find_spec(_MODULE)
    except ModuleNotFoundError:  # not even its package
        found = None
    if found is None:
        raise ToolError(f"{LITERT_BENCHMARK} is not installed: it comes with ai-edge-litert 2.2 and later")
    with tempfile.TemporaryDirectory(prefix="quietframe-tool-") as folder:
        result = Path(folder) / "result.json"
        command = [
            *(sys.executable, "-P", "-m", _MODULE),
            *(f"--model={model}", f"--num_threads={threads}", f"--result_json={result}"),
            *(f"--num_runs={runs}", f"--warmup_runs={warmup}"),
        ]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=_MAX_SECS, errors="replace"
            )
            latency = json.loads(result.read_text(encoding="utf-8"))["latency"]
        except subprocess.TimeoutExpired as exc:
            raise ToolError(f"{LITERT_BENCHMARK} was still running after {_MAX_SECS} s") from exc
        except (OSError, ValueError, KeyError) as exc:
            raise ToolError(f"{LITERT_BENCHMARK} fails: {_last_error(done)}") from exc
    return {key: latency[key] for key in ("avg_ms", "median_ms", "min_ms", "max_ms", "num_runs")}


def _last_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the exception in one line, out of standard error: LiteRT writes on after it."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return (raised or lines or [f"exit code {done.returncode}"])[-1]


def _read(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(data)


def _tensors_at(data: bytes, model: Any, shapes: Mapping[str, Shape]) -> dict[int, Mapping[str, Any]]:
    """Return details of the main graph's tensors by their index, with the shapes that these inputs give them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # A delegate would take the operators out of the graph, and with them the shapes between them. Nothing is run.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=plain)
    for name, index in _inputs(model).items():
        interpreter.resize_tensor_input(index, list(shapes[name]))
    interpreter.allocate_tensors()
    return {int(detail["index"]): detail for detail in interpreter.get_tensor_details()}


def _inputs(model: Any) -> dict[str, int]:
    """Return the main graph's inputs by the names that `LiteRtEngine` gives them."""
    if model.signatureDefs and len(model.signatureDefs) == 1:
        return {_text(entry.name): int(entry.tensorIndex) for entry in model.signatureDefs[0].inputs}
    graph = model.subgraphs[0]
    return {_text(graph.tensors[index].name): int(index) for index in graph.inputs}


def _node(index: int, model: Any, operator: Any, tensors: Mapping[int, Mapping[str, Any]]) -> Node:
    inputs, outputs = ([tensors.get(int(one)) for one in side] for side in (operator.inputs, operator.outputs))
    kind = _kind(model.operatorCodes[operator.opcodeIndex])
    first = _shape(outputs[0]) if outputs else ()
    name = str(outputs[0]["name"]) if outputs and outputs[0] else kind
    macs, weights = _work(kind, list(map(_shape, inputs)), first)
    return Node(index, kind, short_name(name), first, macs, sum(map(_bytes, [*inputs, *outputs])), weights)


def _work(kind: str, inputs: list[tuple[int, ...]], output: tuple[int, ...]) -> tuple[int, int]:
    """Return (MACs, weights). Kernels lie as (out, …, in), depthwise ones as (1, …, out), images as NHWC."""
    if kind in ("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D"):
        return convolution_macs(output, inputs[1], output[-1]), int(np.prod(inputs[1]))
    if kind == "TRANSPOSE_CONV":  # its first input is the shape of its output
        return transposed_macs(inputs[2], inputs[1], inputs[2][-1]), int(np.prod(inputs[1]))
    if kind in ("FULLY_CONNECTED", "BATCH_MATMUL"):
        return product_macs(inputs[0], output), int(np.prod(inputs[1])) if kind == "FULLY_CONNECTED" else 0
    return 0, 0


def _kind(code: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    number = max(code.builtinCode, code.deprecatedBuiltinCode)  # numbers above 127 are in the first alone
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    if names.get(number) == "CUSTOM":
        return _text(code.customCode)
    return names.get(number, f"operator {number}")


def _shape(detail: Mapping[str, Any] | None) -> tuple[int, ...]:
    return tuple(map(int, detail["shape"])) if detail else ()


def _bytes(detail: Mapping[str, Any] | None) -> int:
    return int(np.prod(_shape(detail))) * np.dtype(detail["dtype"]).itemsize if detail else 0


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
