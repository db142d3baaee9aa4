"""Startup: from nothing to the first clean frame in fresh processes, and imports against the bare libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import click
import msgspec
import numpy as np

from quietframe.cpu import physical_cores
from quietframe.errors import QuietFrameError
from quietframe.tasks.base import open_model
from quietframe_bench import options, plan
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.plan import OnStep, failing, ignore_step
from quietframe_bench.process import fresh_environment
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, SizedRow, Time, p50_ms
from quietframe_bench.subject import LIBRARIES

TITLE = "Startup"
STEPS = ("process", "import", "load", "first_frame")
"""Python's own start; NumPy, OpenCV, the engine and quietframe; the model file; a frame. Nothing between is timed."""
MAX_RATIO = 1.3
"""The goal: import and first model take at most so many times as long as importing the bare libraries."""
_LIBRARIES = "import numpy, cv2, {engine}"
_FIRST_MODEL = "import quietframe; quietframe.{kind}({model!r})"
_TIMED = """
from time import perf_counter_ns as clock, process_time_ns as cpu_clock
begin, cpu_begin = clock(), cpu_clock()
{statement}
print(clock() - begin, cpu_clock() - cpu_begin)
"""
_COLD = """
from time import perf_counter_ns as clock
stamps = [clock()]
import json, sys
from quietframe_bench.subject import import_task
model, task, width, height, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
task_class = import_task(task, model)
stamps.append(clock())
subject = task_class(model, threads=threads)
stamps.append(clock())
from quietframe_bench.frames import feed_for
frame = feed_for(subject.card, None, (width, height)).frame(0)
begin = clock()
subject(frame)
first_frame_ns = clock() - begin
from quietframe_bench.subject import rss_mb
print(json.dumps({"stamps": stamps, "first_frame_ns": first_frame_ns, "rss_mb": rss_mb()}))
"""


@dataclass(frozen=True)
class StartupSettings:
    """How to measure startup.

    Attributes:
        runs: fresh processes for each model, after one that only fills the caches.
        size_wh, threads: of the first frame; models of a fixed size have a frame of theirs.
    """

    runs: int = 50
    size_wh: tuple[int, int] = (640, 480)
    threads: int = 1


class StartupRow(SizedRow, kw_only=True, tag="startup"):
    """What one model takes to start.

    Attributes:
        samples_ns: of each of `STEPS`, a time for each process.
        rss_samples_mb: the memory of each process after its first frame.
        libraries_ns, model_ns: of the first model, by the clock, in fresh processes without the interpreter's own
            start: importing NumPy, OpenCV and its engine and nothing else; importing quietframe and opening the model.
        libraries_cpu_ns, model_cpu_ns: the same in processor time, which says more on a busy machine.
    """

    samples_ns: dict[str, list[Time]] = msgspec.field(default_factory=lambda: {step: [] for step in STEPS})
    rss_samples_mb: list[float] = msgspec.field(default_factory=list)
    libraries_ns: list[Time] = msgspec.field(default_factory=list)
    model_ns: list[Time] = msgspec.field(default_factory=list)
    libraries_cpu_ns: list[Time] = msgspec.field(default_factory=list)
    model_cpu_ns: list[Time] = msgspec.field(default_factory=list)
    max_ratio: float = MAX_RATIO

    def p50_ms(self, step: str) -> float | None:
        """Return the median of a step."""
        return p50_ms(self.samples_ns[step])

    @property
    def ready_ms(self) -> float | None:
        """The medians added up."""
        return None if self.error else sum(self.p50_ms(step) or 0 for step in STEPS)

    @property
    def rss_mb(self) -> float | None:
        """The median of the memory after the first frame."""
        return float(np.median(self.rss_samples_mb)) if self.rss_samples_mb else None

    @property
    def libraries(self) -> str:
        """The import of the bare libraries."""
        return _LIBRARIES.format(engine=LIBRARIES[Path(self.file).suffix.lower()])

    @property
    def ratio(self) -> float | None:
        """Median time of the model over that of the libraries, by the clock."""
        return _ratio(self.model_ns, self.libraries_ns)

    @property
    def cpu_ratio(self) -> float | None:
        """The same of processor time."""
        return _ratio(self.model_cpu_ns, self.libraries_cpu_ns)

    def failures(self) -> list[str]:
        """Say what failed, and whether the goal was missed."""
        if self.error or self.ratio is None or self.ratio <= self.max_ratio:
            return super().failures()
        missed = f"import and first model take {self.ratio:.2f} times as long as the bare libraries"
        return [f"{self.file}: {missed}, above {self.max_ratio}"]


def _ratio(times_ns: Sequence[int], base_ns: Sequence[int]) -> float | None:
    return float(np.median(times_ns) / np.median(base_ns)) if times_ns else None


def startup(
    models: Sequence[str | Path] = ("camera",),
    settings: StartupSettings | None = None,
    *,
    on_step: OnStep = ignore_step,
) -> Results:
    """Start each model in turn in fresh processes, then compare the first one that starts with the bare libraries.

    Each is started `runs` times, after one time that only fills the caches.
    """
    settings = settings or StartupSettings(threads=physical_cores())
    jobs = plan.plan_rows(Run(settings), StartupRow, plan.find_models(models), [settings.size_wh], [settings.threads])
    turns = settings.runs + 1
    for turn in range(turns):
        for index, (path, row) in enumerate(jobs):
            on_step(f"start {path.name}", turn * len(jobs) + index, turns * len(jobs))
            if row.error is None:
                with failing(row):
                    _start(path, row, count=turn > 0)
    for path, row in [job for job in jobs if job[1].error is None][:1]:
        measure_overhead(path, row, settings.runs, on_step)
    return Results([row for _, row in jobs])


def _start(path: Path, row: StartupRow, *, count: bool) -> None:
    arguments = [str(path), str(row.task), *map(str, row.size_wh or ()), str(row.threads)]
    begin_ns = perf_counter_ns()  # the same clock in all processes of a machine: CLOCK_MONOTONIC
    found = json.loads(_run(_COLD, *arguments))
    if count:
        times = [*np.diff([begin_ns, *found["stamps"]]).tolist(), found["first_frame_ns"]]
        for step, duration in zip(STEPS, times, strict=True):
            row.samples_ns[step].append(duration)
        row.rss_samples_mb.append(found["rss_mb"])


def measure_overhead(path: Path, row: StartupRow, runs: int, on_step: OnStep = ignore_step) -> None:
    """Start processes in turn, each `runs` times after one of each that only fills the caches."""
    with failing(row):
        card = open_model(path)[1]
        kinds = {"denoise": "VideoDenoiser" if card.has_state else "Denoiser", "classify": "Classifier"}
        model = _FIRST_MODEL.format(kind=kinds.get(card.task, "DenoiseClassifier"), model=str(path))
        subjects = (
            (row.libraries, row.libraries_ns, row.libraries_cpu_ns),
            (model, row.model_ns, row.model_cpu_ns),
        )
        for turn in range(runs + 1):
            on_step("start", turn, runs + 1)
            for statement, wall_ns, cpu_ns in subjects:
                wall, cpu = map(int, _run(_TIMED.format(statement=statement)).split())
                if turn:
                    wall_ns.append(wall)
                    cpu_ns.append(cpu)


def _run(code: str, *arguments: str) -> str:
    """Return the last line that a fresh interpreter prints."""
    command = [sys.executable, "-P", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=fresh_environment())
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise QuietFrameError(f"the starting process failed: {last[0]}")
    return done.stdout.strip().splitlines()[-1]


def _step(step: str) -> Column:
    return Column(f"{step.replace('_', ' ')} ms", lambda row: row.p50_ms(step), ".1f", f"{step}_ms")


_FIGURES = (*map(_step, STEPS), Column("sum ms", "ready_ms", ".1f"), Column("MB then", "rss_mb", ".0f"))
_OVERHEAD = (
    Column("libraries", "libraries", words=True),
    Column("libraries ms", lambda row: p50_ms(row.libraries_ns), ".1f", "libraries_p50_ms"),
    Column("model ms", lambda row: p50_ms(row.model_ns), ".1f", "model_p50_ms"),
    Column("ratio", "ratio", ".3f", "startup_ratio"),
    Column("ratio of CPU time", "cpu_ratio", ".3f", "startup_cpu_ratio"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {StartupRow: (*WHAT, *_FIGURES, *_OVERHEAD, *CIRCUMSTANCES)}


def tables(rows: Sequence[StartupRow]) -> list[Table]:
    """Make the tables of cold starts and of the overhead over the libraries."""
    overhead = (
        "importing quietframe and opening the first model, against importing the bare libraries of its engine; "
        f"goal: a ratio of at most {MAX_RATIO}"
    )
    return [
        Table("cold start in fresh processes, medians in milliseconds", (*WHAT, *_FIGURES), rows),
        Table(overhead, (WHAT[0], *_OVERHEAD), [row for row in rows if row.ratio is not None]),
    ]


@click.command()
@options.models_argument
@options.number("--runs", 50, "Fresh processes a model.", low=1)
@options.size_option
@options.thread_option
@options.output_options
def command(models: tuple[str, ...], on_step: OnStep, **how: Any) -> Results:
    """Measure the time from nothing to the first frame, and imports against those of the bare libraries.

    Without MODEL: camera.
    """
    options.warn_if_busy(models)
    return startup(models or ("camera",), StartupSettings(**how), on_step=on_step)
