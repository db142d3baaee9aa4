"""Operators of an .onnx file under ONNX Runtime's own profiler."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from quietframe.engines.onnx import session_options
from quietframe_bench.profiles import Inputs, Node, Operator, Profiled, Times, convolution_macs, short_name

_KERNEL = "_kernel_time"
_BYTES = {"float": 4, "double": 8, "float16": 2, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
_DECORATION = re.compile(r"(_nchwc|_token_\d+|_nhwc|/duplicated|:\d+)+$")
_SOURCE = "ONNX Runtime's profiler"


class OnnxProfile:
    """An .onnx file under the profiler of ONNX Runtime, with the settings of `OnnxEngine`.

    What a layer computes is read from a run of the graph as it is in the file: in the optimized one channels are
    padded and weights repacked.
    """

    def __init__(self, path: Path, inputs: Inputs, *, threads: int) -> None:
        self._inputs = dict(inputs)
        self._nodes = _nodes(path, self._inputs, threads)
        self._folder = tempfile.TemporaryDirectory(prefix="quietframe-profile-")
        self._session = _open(path, threads, Path(self._folder.name))
        self._runs = 0

    def step(self) -> None:
        """Run it once."""
        self._session.run(None, self._inputs)
        self._runs += 1

    def result(self) -> tuple[Profiled, Times]:
        """Return the operators, without times, and the times of all runs. The last call."""
        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        self._folder.cleanup()
        runs = split_runs(events, self._runs)
        whole_ns = [event["dur"] * 1000 for event in events if event["name"] == "model_run"]
        times = [(ns, [event["dur"] * 1000 for event in run]) for ns, run in zip(whole_ns, runs, strict=True)]
        found, complete = match(runs[0], self._nodes)
        operators = [_operator(event, node) for event, node in zip(runs[0], found, strict=True)]
        notes = [] if complete else ["which layer each operator is could not be found: some have no work stated"]
        return Profiled(_SOURCE, operators, notes), times


def split_runs(events: Iterable[Mapping[str, Any]], runs: int) -> list[list[Mapping[str, Any]]]:
    """Return the kernels of each run, in order, out of ONNX Runtime's trace. Raises ValueError unless all are alike."""
    kernels = sorted((event for event in events if event["name"].endswith(_KERNEL)), key=lambda event: event["ts"])
    count, rest = divmod(len(kernels), runs)
    found = [kernels[index * count : (index + 1) * count] for index in range(runs)]
    if rest or not count or any([_name(one) for one in run] != [_name(one) for one in found[0]] for run in found):
        raise ValueError(f"ONNX Runtime's profile of {runs} runs has {len(kernels)} kernels, not the same in each run")
    return found


def match(kernels: Sequence[Mapping[str, Any]], nodes: Sequence[Node]) -> tuple[list[Node | None], bool]:
    """Return the layer that each kernel computes, or None, and whether all that multiply were found.

    By name; where fusing has changed that, the next one with an output of that size, or that and padded channels.
    """
    waiting = [node for node in nodes if node.macs]
    found: list[Node | None] = [None] * len(kernels)
    multiplying = [index for index, event in enumerate(kernels) if _family(event)]
    for fits in (_same_name, _same_size):
        for index in multiplying:
            node = None if found[index] else next((one for one in waiting if fits(kernels[index], one)), None)
            if node:
                found[index] = node
                waiting.remove(node)
    return found, not waiting and all(found[index] for index in multiplying)


def _same_name(event: Mapping[str, Any], node: Node) -> bool:
    return _plain(event) == node.name


def _same_size(event: Mapping[str, Any], node: Node) -> bool:
    shape, other = _shapes(event, "output")[0], node.output_shape
    return prod(shape) == prod(other) or (shape[:1] + shape[2:] == other[:1] + other[2:] and prod(shape) > prod(other))


def _nodes(path: Path, inputs: dict[str, Any], threads: int) -> list[Node]:
    """Return the file's own operators, from one profiled run without any optimization."""
    with tempfile.TemporaryDirectory(prefix="quietframe-profile-") as folder:
        session = _open(path, threads, Path(folder), optimized=False)
        session.run(None, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [_node(event) for event in split_runs(events, 1)[0]]


def _open(path: Path, threads: int, folder: Path, *, optimized: bool = True) -> Any:
    import onnxruntime as ort

    options = session_options(threads)
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "run")
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.disable_prepacking", "1")  # repacked weights have no shape
    return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def _node(event: Mapping[str, Any]) -> Node:
    kind, ins = _kind(event), _shapes(event, "input")
    first = next(iter(_shapes(event, "output")), ())
    macs = weights = 0
    family = _family(event)
    if family == "convolution":
        kernel = ins[3] if kind == "QLinearConv" else ins[1]  # between them: scales and zero points
        macs, weights = convolution_macs(first, kernel, first[1]), prod(kernel)
    elif family == "transposed":
        macs, weights = convolution_macs(ins[0], ins[1], ins[0][1]), prod(ins[1])
    elif family == "product":
        macs = prod(ins[0]) * first[-1] if first else 0
        weights = macs // prod(first[:-1]) if prod(first[:-1]) else 0
    return Node(kind, _plain(event), first, macs, _moved(event), weights)


def _operator(event: Mapping[str, Any], node: Node | None) -> Operator:
    shape, macs, moved = next(iter(_shapes(event, "output")), ()), 0, _moved(event)
    if node:
        macs, held = node.macs, int(event["args"].get("parameter_size", 0))  # without weights that were repacked
        moved += max(held, node.weights * _width(event)) - held
    return Operator(_kind(event), short_name(_plain(event)), shape, macs, moved)


def _kind(event: Mapping[str, Any]) -> str:
    return str(event["args"]["op_name"])


def _family(event: Mapping[str, Any]) -> str:
    """Return how an operator multiplies, before or after ONNX Runtime has fused and replaced it; empty: not at all."""
    kind = _kind(event)
    if "Conv" in kind:
        return "transposed" if "Transpose" in kind else "convolution"
    return "product" if "MatMul" in kind or "Gemm" in kind else ""


def _name(event: Mapping[str, Any]) -> str:
    return str(event["name"]).removesuffix(_KERNEL)


def _plain(event: Mapping[str, Any]) -> str:
    """Return a node's name without what optimizing has appended."""
    return _DECORATION.sub("", _name(event))


def _shapes(event: Mapping[str, Any], side: str) -> list[tuple[int, ...]]:
    return [tuple(shape) for entry in event["args"].get(f"{side}_type_shape", []) for shape in entry.values()]


def _moved(event: Mapping[str, Any]) -> int:
    """Return bytes of inputs, weights that the kernel still takes as inputs, and outputs."""
    return sum(int(event["args"].get(key, 0)) for key in ("activation_size", "parameter_size", "output_size"))


def _width(event: Mapping[str, Any]) -> int:
    """Return bytes of one number of the first input."""
    types = [kind for entry in event["args"].get("input_type_shape", []) for kind in entry]
    return _BYTES.get(types[0], 4) if types else 4
