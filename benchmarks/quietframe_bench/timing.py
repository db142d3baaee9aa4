"""The stopwatch: how long each stage of a call takes.

A task is called as a user calls it; its engine is wrapped so that it stamps when it starts and ends. What lies
before its first run is `pre`, all the rest is `post`: of a frame that goes in tiles also what lies between the runs, in
which a tile is put in place and the next is cut. Nothing else is timed: frames are made between the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quietframe.engines import Engine

STAGES = ("pre", "engine", "post", "total")
PERCENTILES = (50, 95, 99)


class Task(Protocol):
    """A denoiser or classifier: called with a frame, it runs its engine once or more."""

    engine: Engine

    def __call__(self, frame: NDArray[np.uint8], /) -> Any:
        """Return the result for a frame."""
        ...


class Stopwatch:
    """Times calls of a task, stage by stage.

    A call's frame and result are held until the next call has its own, as a loop's variables are. Let go of at once,
    they left the top of the heap free: glibc gave it back after each call, and 420 page faults a frame of 640×480,
    0.35 ms, counted as the task's.

    Args:
        task: the denoiser or classifier; its `engine` stays wrapped.
        frame: gives the frame for a call by its number, outside the timed part.
        call: what is timed in place of the task itself, and calls it.
    """

    def __init__(
        self,
        task: Task,
        frame: Callable[[int], NDArray[np.uint8]],
        call: Callable[[NDArray[np.uint8]], Any] | None = None,
    ) -> None:
        self._engine = StampedEngine(task.engine)
        self._call = call or task
        self._frame = frame
        self._calls = 0
        self._held: tuple[Any, ...] = ()
        task.engine = self._engine

    def run(self, *, warmup: int, runs: int, min_secs: float) -> dict[str, Any]:
        """Time at least `runs` calls, for at least `min_secs` seconds, after `warmup` calls that are kept apart.

        Returns raw times in nanoseconds: `warmup_ns` of whole calls, and `stages_ns` of each timed call by stage.
        """
        warmup_ns = [self.call()[-1] for _ in range(warmup)]
        calls: list[tuple[int, ...]] = []
        started = perf_counter_ns()
        while len(calls) < runs or perf_counter_ns() - started < min_secs * 1e9:
            calls.append(self.call())
        by_stage = zip(*calls, strict=True) if calls else [()] * len(STAGES)
        return {"warmup_ns": warmup_ns, "stages_ns": dict(zip(STAGES, map(list, by_stage), strict=True))}

    def call(self) -> tuple[int, int, int, int]:
        """Call the task with a fresh frame; nanoseconds of each of `STAGES`."""
        frame = self._frame(self._calls)
        self._calls += 1
        stamps = self._engine.stamps
        stamps.clear()
        start = perf_counter_ns()
        result = self._call(frame)
        end = perf_counter_ns()
        self._held = frame, result
        pre, engine = stamps[0][0] - start, sum(stop - begin for begin, stop in stamps)
        return pre, engine, end - start - pre - engine, end - start


def percentiles_ms(samples_ns: Sequence[int]) -> dict[str, float]:
    """Return `p50_ms`, `p95_ms` and `p99_ms` of times in nanoseconds (NumPy's linear percentiles)."""
    values = np.percentile(np.asarray(samples_ns), PERCENTILES) / 1e6
    return {f"p{percent}_ms": float(value) for percent, value in zip(PERCENTILES, values, strict=True)}


class StampedEngine:
    """An engine that writes down when each run begins and ends, in `stamps`, by `time.perf_counter_ns()`."""

    def __init__(self, engine: Engine) -> None:
        self._run = engine.run
        self.inputs = engine.inputs
        self.outputs = engine.outputs
        self.card_json = engine.card_json
        self.stamps: list[tuple[int, int]] = []

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the engine. See `Engine.run`."""
        begin = perf_counter_ns()
        results = self._run(inputs)
        self.stamps.append((begin, perf_counter_ns()))
        return results
