"""The stopwatch: how long each stage of a call takes.

A task is called as a user calls it; its engine is wrapped so that it stamps when it starts and ends. What lies
before its first run is `pre`, all the rest is `post`: of a frame that goes in tiles also what lies between the runs, in
which a tile is put in place and the next is cut. Nothing else is timed: frames are made between the calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quietframe.engines import Engine
from quietframe.noise.tracker import NoiseTracker
from quietframe.tasks import Denoiser

STAGES = ("pre", "engine", "post", "total")
PERCENTILES = (50, 95, 99)


class Task(Protocol):
    """A denoiser or classifier: called with a frame, it runs its engine once or more."""

    engine: Engine

    def __call__(self, frame: NDArray[np.uint8], /) -> Any:
        """Return the result for a frame."""
        ...


class AsVideo:
    """A denoiser as the real-time loop calls it: the noise level is followed from frame to frame.

    fps: frames a second of the video, which say how often the noise is looked at.
    """

    def __init__(self, denoiser: Denoiser, fps: float) -> None:
        self._denoiser, self._tracker = denoiser, NoiseTracker(fps)

    @property
    def engine(self) -> Engine:
        """The denoiser's."""
        return self._denoiser.engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._denoiser.engine = engine

    def __call__(self, frame: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """Denoise the next frame of the video."""
        return self._denoiser(frame, sigma_255=self._tracker(frame))


@dataclass
class Samples:
    """Raw times in nanoseconds: `warmup_ns` of whole calls, and `stages_ns` of each timed call by stage."""

    warmup_ns: list[int] = field(default_factory=list)
    stages_ns: dict[str, list[int]] = field(default_factory=lambda: {stage: [] for stage in STAGES})

    def __len__(self) -> int:
        return len(self.stages_ns["total"])

    def extend(self, other: Samples) -> None:
        """Append another's times."""
        self.warmup_ns += other.warmup_ns
        for stage, times in other.stages_ns.items():
            self.stages_ns[stage] += times


class Stopwatch:
    """Times calls of a task, stage by stage.

    A call's frame and result are held until the next call has its own, as a loop's variables are. Let go of at once,
    they left the top of the heap free: glibc gave it back after each call, and 420 page faults a frame of 640×480,
    0.35 ms, counted as the task's.

    Args:
        task: the denoiser or classifier; its `engine` stays wrapped.
        frame: gives the frame for a call by its number, outside the timed part.
    """

    def __init__(self, task: Task, frame: Callable[[int], NDArray[np.uint8]]) -> None:
        self._engine = StampedEngine(task.engine)
        self._task = task
        self._frame = frame
        self._calls = 0
        self._held: tuple[Any, ...] = ()
        task.engine = self._engine

    def run(self, *, warmup: int, runs: int, min_secs: float) -> Samples:
        """Time at least `runs` calls, for at least `min_secs` seconds, after `warmup` calls that are kept apart."""
        samples = Samples()
        samples.warmup_ns += [self.call()[-1] for _ in range(warmup)]
        started = perf_counter_ns()
        while len(samples) < runs or perf_counter_ns() - started < min_secs * 1e9:
            for stage, duration in zip(STAGES, self.call(), strict=True):
                samples.stages_ns[stage].append(duration)
        return samples

    def call(self) -> tuple[int, int, int, int]:
        """Call the task with a fresh frame; nanoseconds of each of `STAGES`."""
        frame = self._frame(self._calls)
        self._calls += 1
        stamps = self._engine.stamps
        stamps.clear()
        start = perf_counter_ns()
        result = self._task(frame)
        end = perf_counter_ns()
        self._held = frame, result
        pre, engine = stamps[0][0] - start, sum(stop - begin for begin, stop in stamps)
        return pre, engine, end - start - pre - engine, end - start


def percentiles_ms(samples_ns: list[int]) -> dict[str, float]:
    """`p50_ms`, `p95_ms` and `p99_ms` of times in nanoseconds (NumPy's linear percentiles)."""
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
