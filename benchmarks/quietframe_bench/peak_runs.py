"""The machine's peak in the process that measures it: trials through the engines, and copies of memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import psutil

from quietframe.engines import ENGINES, Engine
from quietframe_bench.peak_models import TRIALS, litert_trial, onnx_trial

_DTYPES = {
    (".tflite", "fp32"): ("float32",),
    (".tflite", "int8"): ("int8",),
    (".onnx", "fp32"): ("float32",),
    (".onnx", "int8"): ("uint8", "int8"),  # which of them is fast is another one on x86 and on ARM
}
_WARMUP, _MIN_RUNS = 2, 5
_TOO_SLOW = 4  # times slower than the best so far
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_LARGE_BYTES = 128 * 2**20
_MAX_CACHED_BYTES = 8 * 2**20
_TASK_SECS = 0.01  # of copying: handing a task to a thread hardly counts then


def run_trials(*, suffix: str, precision: str, threads: int, secs: float) -> list[dict[str, Any]]:
    """Run every trial through one engine, each for at least `secs` seconds.

    Args:
        suffix: the engine's: `.tflite` or `.onnx`.
        precision: `fp32` or `int8`.
        threads: how many it may use.
        secs: for each trial, after its warm-up.

    Returns:
        For each trial its `name`, the type of its inputs, `macs` and `samples_ns`: times of whole runs of the engine,
        only one where that was far from the best.
    """
    found: list[dict[str, Any]] = []
    best = 0.0
    with tempfile.TemporaryDirectory(prefix="quietframe-peak-") as folder:
        for trial in TRIALS:
            for dtype in _DTYPES[suffix, precision]:
                path = Path(folder) / f"trial{suffix}"
                path.write_bytes((onnx_trial if suffix == ".onnx" else litert_trial)(trial, dtype))
                engine = ENGINES[suffix](path, threads=threads)
                image = trial.image(dtype, channels_first=suffix == ".onnx")
                inputs = {"in": engine.inputs["in"].from_declared(image)}
                samples_ns = [_time(engine, inputs) for _ in range(_WARMUP)][-1:]
                if trial.macs / samples_ns[0] > best / _TOO_SLOW:
                    samples_ns.clear()
                    while len(samples_ns) < _MIN_RUNS or sum(samples_ns) < secs * 1e9:
                        samples_ns.append(_time(engine, inputs))
                best = max(best, trial.macs / min(samples_ns))
                found.append({"name": trial.name, "dtype": dtype, "macs": trial.macs, "samples_ns": samples_ns})
    return found


def copy_memory(*, threads: int, secs: float) -> list[dict[str, Any]]:
    """Measure how fast NumPy copies arrays, each thread its own: in memory, and in the last cache if its size is known.

    Args:
        threads: how many copy at the same time.
        secs: for each of the two.

    Returns:
        For each its `level` (`memory` or `cache`), `held_bytes` of all arrays, and `rates`: bytes read and written by
        second, of rounds of copying.
    """
    cache_bytes = last_cache_bytes()
    large = max(_LARGE_BYTES, 8 * (cache_bytes or 0))
    large = min(large, psutil.virtual_memory().total // 8)
    levels = {"memory": large}
    if cache_bytes:
        levels["cache"] = min(cache_bytes // 2, _MAX_CACHED_BYTES)
    return [
        {"level": level, "held_bytes": held, "rates": _rates(held, threads, secs)} for level, held in levels.items()
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
