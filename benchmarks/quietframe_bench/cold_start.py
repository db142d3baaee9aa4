"""From nothing to the first clean frame in fresh processes: Python's start, imports, load, first frame."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from quietframe_bench.process import Child, ChildError, fresh_environment

STEPS = ("process", "import", "load", "first_frame")
"""Python's own start; NumPy, OpenCV, the engine and quietframe; the model file; a frame. Nothing between is timed."""

_CODE = """
from time import perf_counter_ns as clock
stamps = [clock()]
import json, sys
from quietframe_bench.child import import_kind, rss_mb
model, task, width, height, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
kind = import_kind(task, model)
stamps.append(clock())
subject = kind(model, threads=threads)
stamps.append(clock())
from quietframe_bench.frames import feed_for
frame = feed_for(subject.card, None, (width, height)).frame(0)
begin = clock()
subject(frame)
print(json.dumps({"stamps": stamps, "first_frame_ns": clock() - begin, "rss_mb": rss_mb("VmRSS")}))
"""


@dataclass
class ColdStart:
    """What one model takes to start.

    Attributes:
        model: the file.
        size_wh, threads: of the first frame.
        task: what the model does; None where it does not say.
        samples_ns: of each of `STEPS`, a time for each process.
        rss_mb: the memory of each process after its first frame.
        error: why there is none.
    """

    model: Path
    size_wh: tuple[int, int]
    threads: int
    task: str | None = None
    samples_ns: dict[str, list[int]] = field(default_factory=lambda: {step: [] for step in STEPS})
    rss_mb: list[float] = field(default_factory=list)
    error: str | None = None

    def as_record(self) -> dict[str, Any]:
        """The figures for JSON: medians, their sum, and the samples."""
        record: dict[str, Any] = {"size_wh": self.size_wh, "threads": self.threads, "error": self.error}
        if self.error is None:
            medians = {f"{step}_ms": float(np.median(times)) / 1e6 for step, times in self.samples_ns.items()}
            record |= {**medians, "ready_ms": sum(medians.values()), "rss_mb": float(np.median(self.rss_mb))}
        return record | {"samples_ns": self.samples_ns, "rss_samples_mb": self.rss_mb}


def measure_cold_starts(
    models: Sequence[Path],
    size_wh: tuple[int, int],
    threads: int,
    *,
    runs: int,
    on_step: Callable[[str, int, int], None] = lambda text, step, steps: None,
) -> list[ColdStart]:
    """Start each model in turn, `runs` times after one time that only fills the caches.

    Of models of a fixed size the first frame has that size.
    """
    found = [ColdStart(model, size_wh, threads) for model in models]
    for start in found:
        try:
            with Child() as child:
                facts = child.ask("describe", model=str(start.model))
        except ChildError as exc:
            start.error = str(exc)
            continue
        start.task = facts["task"]
        start.size_wh = tuple(facts["own_size_wh"] or size_wh)
    for run in range(runs + 1):
        for index, start in enumerate(found):
            on_step(f"start {start.model.name}", run * len(found) + index, (runs + 1) * len(found))
            if start.error is None:
                _start(start, count=run > 0)
    return found


def _start(cold: ColdStart, *, count: bool) -> None:
    arguments = [str(cold.model), str(cold.task), *map(str, cold.size_wh), str(cold.threads)]
    begin_ns = perf_counter_ns()  # the same clock in all processes of a machine: CLOCK_MONOTONIC
    done = subprocess.run(
        [sys.executable, "-P", "-c", _CODE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=fresh_environment(),
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        cold.error = f"the starting process failed: {last[0]}"
    elif count:
        told = json.loads(done.stdout.strip().splitlines()[-1])
        times = [*np.diff([begin_ns, *told["stamps"]]).tolist(), told["first_frame_ns"]]
        for step, duration in zip(STEPS, times, strict=True):
            cold.samples_ns[step].append(duration)
        cold.rss_mb.append(told["rss_mb"])
