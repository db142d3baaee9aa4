"""The machine's peak, in the process that measures it: small models that only multiply, and copies of memory.

The models are written here, without a training framework.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from quietframe.engines import ENGINES, Engine

LAYERS = 4
"""Layers of a trial, one behind the other: what goes in and out of the engine then hardly counts."""

_TENSORS = ("in", *(f"layer_{index}" for index in range(LAYERS - 1)), "out")
_SCALE = 1 / 64  # of the integers that stand for values around 0
_DTYPES = {
    (".tflite", "fp32"): ("float32",),
    (".tflite", "int8"): ("int8",),
    (".onnx", "fp32"): ("float32",),
    (".onnx", "int8"): ("uint8", "int8"),  # which of them is fast is another one on x86 and on ARM
}
_WARMUP, _MIN_RUNS = 2, 5
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_LARGE_BYTES = 128 * 2**20
_MAX_CACHED_BYTES = 8 * 2**20
_TASK_SECS = 0.01  # of copying: handing a task to a thread hardly counts then


@dataclass(frozen=True)
class Trial:
    """A stack of equal convolutions.

    Attributes:
        channels: into and out of each layer.
        size_hw: height and width of the image.
        kernel: side of the convolution; one of 1 is a matrix product.
    """

    channels: int
    size_hw: tuple[int, int]
    kernel: int

    @property
    def name(self) -> str:
        """Its description."""
        height, width = self.size_hw
        return f"{self.kernel}×{self.kernel} convolution, {self.channels} channels, {height}×{width}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return LAYERS * self.size_hw[0] * self.size_hw[1] * self.channels**2 * self.kernel**2

    def image(self, dtype: str, *, channels_first: bool) -> NDArray[Any]:
        """Return an input: (1, H, W, C) or (1, C, H, W), of values around 0."""
        shape = (1, self.channels, *self.size_hw) if channels_first else (1, *self.size_hw, self.channels)
        values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        return values if dtype == "float32" else _integers(values / _SCALE, dtype)

    def weights(self, dtype: str) -> tuple[NDArray[Any], float]:
        """Return (weights as (out, kernel, kernel, in), their scale); outputs are as large as inputs."""
        fan_in = self.channels * self.kernel**2
        shape = self.channels, self.kernel, self.kernel, self.channels
        values = np.random.default_rng(1).standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(fan_in))
        if dtype == "float32":
            return values, 1.0
        scale = float(np.abs(values).max()) / 127
        return _integers(values / scale, "int8"), scale


TRIALS = (
    Trial(64, (64, 64), kernel=3),
    Trial(128, (40, 40), kernel=3),
    Trial(256, (48, 48), kernel=1),
)
"""The trials. The fastest one counts: which it is differs between engines, precisions and machines."""


def onnx_trial(trial: Trial, dtype: str) -> bytes:
    """Return the .onnx file. dtype: `float32`, or `uint8` or `int8` for 8-bit integers (weights are int8)."""
    from onnx import helper, numpy_helper

    weights, weight_scale = trial.weights(dtype)
    constants: dict[str, Any] = {"weights": weights.transpose(0, 3, 1, 2)}
    kind, around = "Conv", ["weights"]
    if dtype != "float32":
        kind = "QLinearConv"
        constants |= {
            "zero": np.array(128 if dtype == "uint8" else 0, dtype),
            "scale": np.array(_SCALE, np.float32),
            "weight_scale": np.array(weight_scale, np.float32),
            "weight_zero": np.array(0, np.int8),
        }
        around = ["scale", "zero", "weights", "weight_scale", "weight_zero", "scale", "zero"]
    nodes = [
        helper.make_node(kind, [before, *around], [after], pads=[trial.kernel // 2] * 4)
        for before, after in pairwise(_TENSORS)
    ]
    shape = trial.image(dtype, channels_first=True).shape
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ends = [helper.make_tensor_value_info(name, element, shape) for name in ("in", "out")]
    tensors = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def litert_trial(trial: Trial, dtype: str) -> bytes:
    """Return the .tflite file. dtype: `float32` or `int8`, which has a scale for each output channel."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    weights, weight_scale = trial.weights(dtype)
    floats = dtype == "float32"
    bias = np.zeros(trial.channels, np.float32 if floats else np.int32)
    shape = list(trial.image(dtype, channels_first=False).shape)
    kinds = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}

    def tensor(name: str, shape: list[int], dtype: str, buffer: int = 0, scales: tuple[float, ...] = ()) -> Any:
        quantization = None
        if not floats:
            zeros = [0] * len(scales)
            quantization = schema.QuantizationParametersT(scale=list(scales), zeroPoint=zeros, quantizedDimension=0)
        return schema.TensorT(
            shape=shape, type=kinds[dtype], name=name, buffer=buffer, quantization=quantization, hasRank=True
        )

    many = (weight_scale,) * trial.channels
    tensors = [
        tensor("weights", list(weights.shape), dtype, 1, many),
        tensor("bias", [trial.channels], bias.dtype.name, 2, tuple(scale * _SCALE for scale in many)),
        *(tensor(name, shape, dtype, 0, (_SCALE,)) for name in _TENSORS),
    ]
    options: Any = schema.Conv2DOptionsT(padding=schema.Padding.SAME, strideH=1, strideW=1)
    kind, options_kind = schema.BuiltinOperator.CONV_2D, schema.BuiltinOptions.Conv2DOptions
    operators = [
        schema.OperatorT(
            inputs=[index, 0, 1], outputs=[index + 1], builtinOptionsType=options_kind, builtinOptions=options
        )
        for index in range(2, LAYERS + 2)
    ]
    buffers = [schema.BufferT(), *(schema.BufferT(data=np.frombuffer(a.tobytes(), np.uint8)) for a in (weights, bias))]
    model = schema.ModelT(
        version=3,
        operatorCodes=[schema.OperatorCodeT(deprecatedBuiltinCode=kind, builtinCode=kind, version=1 if floats else 3)],
        subgraphs=[schema.SubGraphT(tensors=tensors, operators=operators, inputs=[2], outputs=[LAYERS + 2])],
        buffers=buffers,
    )
    builder = flatbuffers.Builder(weights.nbytes + 8192)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _integers(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    offset = 128 if dtype == "uint8" else 0
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values) + offset, limits.min, limits.max).astype(dtype)


def run_trials(*, suffix: str, precision: str, threads: int, secs: float) -> list[dict[str, Any]]:
    """Run every trial through one engine, each for at least `secs` seconds.

    suffix: the engine's: `.tflite` or `.onnx`. precision: `fp32` or `int8`.

    Returns for each trial its `name`, the type of its inputs, `macs` and `samples_ns`: times of whole runs of the
    engine.
    """
    found: list[dict[str, Any]] = []
    write = onnx_trial if suffix == ".onnx" else litert_trial
    with tempfile.TemporaryDirectory(prefix="quietframe-peak-") as folder:
        for trial in TRIALS:
            for dtype in _DTYPES[suffix, precision]:
                path = Path(folder) / f"trial{suffix}"
                path.write_bytes(write(trial, dtype))
                engine = ENGINES[suffix](path, threads=threads)
                image = trial.image(dtype, channels_first=suffix == ".onnx")
                inputs = {"in": engine.inputs["in"].from_declared(image)}
                samples_ns = [_time(engine, inputs) for _ in range(_WARMUP)]
                while len(samples_ns) < _MIN_RUNS or sum(samples_ns) < secs * 1e9:
                    samples_ns.append(_time(engine, inputs))
                found.append({"name": trial.name, "dtype": dtype, "macs": trial.macs, "samples_ns": samples_ns})
    return found


def copy_memory(*, threads: int, secs: float) -> list[dict[str, Any]]:
    """Measure how fast NumPy copies arrays, each thread its own: in memory, and in the last cache if its size is known.

    Returns for each its `level` (`memory` or `cache`), `held_bytes` of all arrays, and `rates`: bytes read and written
    by second, of rounds of copying that take `secs` together.
    """
    cache_bytes = last_cache_bytes() or 0
    large = min(max(_LARGE_BYTES, 8 * cache_bytes), psutil.virtual_memory().total // 8)
    levels = {"memory": large, "cache": min(cache_bytes // 2, _MAX_CACHED_BYTES)}
    return [
        {"level": level, "held_bytes": held, "rates": _rates(held, threads, secs)}
        for level, held in levels.items()
        if held
    ]


def last_cache_bytes() -> int | None:
    """Return the size of the processor's last cache; None where unknown."""
    found = {}
    for folder in _CACHES.glob("index*"):
        try:
            level = int((folder / "level").read_text(encoding="ascii"))
            size = (folder / "size").read_text(encoding="ascii").strip()
            found[level] = int(size[:-1]) * {"K": 2**10, "M": 2**20, "G": 2**30}[size[-1]]
        except (OSError, ValueError, KeyError, IndexError):
            continue
    return found[max(found)] if found else None


def _time(engine: Engine, inputs: Mapping[str, Any]) -> int:
    begin = perf_counter_ns()
    engine.run(inputs)
    return perf_counter_ns() - begin


def _rates(held_bytes: int, threads: int, secs: float) -> list[float]:
    """Return bytes a second in rounds of copying, half of `held_bytes` to the other half."""
    each = max(1, held_bytes // (2 * threads))
    pairs = [(np.ones(each, np.uint8), np.zeros(each, np.uint8)) for _ in range(threads)]

    def copy(pair: tuple[Any, Any], times: int) -> None:
        for _ in range(times):
            np.copyto(pair[1], pair[0])  # releases the GIL

    rates: list[float] = []
    with ThreadPoolExecutor(threads) as pool:
        times, spent_ns = 1, 0
        while spent_ns < secs * 1e9 or len(rates) < _MIN_RUNS:
            begin = perf_counter_ns()
            list(pool.map(copy, pairs, [times] * threads))
            took_ns = perf_counter_ns() - begin
            spent_ns += took_ns
            if took_ns < _TASK_SECS * 1e9:
                times *= 2
            else:
                rates.append(2 * each * threads * times / took_ns * 1e9)
    return rates
