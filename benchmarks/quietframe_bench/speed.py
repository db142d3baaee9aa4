"""The speed of models: every model at every size with every number of threads, interleaved in blocks.

Rows of a block are measured in turn, round after round, each in a process of its own, so that a machine that grows slow
or busy meanwhile hurts them alike. What is compared most, the models at one size, stands in a block together. Finished
blocks are handed out, so that an interruption costs no more than the block under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.preview.health import Health
from quietframe_bench.machine import clock_mhz
from quietframe_bench.process import Child, ChildError
from quietframe_bench.timing import Samples, percentiles_ms

ROUNDS = 5
"""Each row is measured in so many rounds, spread over its block."""
BLOCK = 12
"""So many rows are measured in turn; each holds a process with its model."""
NOISY_SPREAD = 0.1
"""Medians of rounds that lie further apart, as a share of the row's, say that the machine did other things, too."""


@dataclass(frozen=True)
class SpeedSettings:
    """How to measure.

    Attributes:
        sizes_wh: (width, height) of the frames. Models of a fixed size that frames are resized to run at theirs.
        threads: numbers of CPU threads.
        runs: timed frames for each row, at least.
        min_secs: timed seconds for each row, at least.
        warmup: frames before each round's timed ones; kept, but apart.
        frames: a folder or video to take frames from; None: the bundled photograph with noise.
        video_fps: estimate the noise as in a video of so many frames a second; None: in every frame.
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 480),)
    threads: tuple[int, ...] = (1,)
    runs: int = 50
    min_secs: float = 1.0
    warmup: int = 3
    frames: str | None = None
    video_fps: float | None = None


@dataclass
class SpeedRow:
    """One model at one size with one number of threads.

    Attributes:
        model: the file.
        size_wh, threads: what was asked for; None where the model failed before that mattered.
        facts: what the model says of itself, its load time, first frame and memory.
        samples: the raw times.
        round_runs: how many of the timed frames each round gave, in order.
        round_health: after each round: `temperature_c`, `throttled` and `clock_mhz` where the system tells them.
        error: why the row failed.
    """

    model: Path
    size_wh: tuple[int, int] | None = None
    threads: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    samples: Samples = field(default_factory=Samples)
    round_runs: list[int] = field(default_factory=list)
    round_health: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    def figures(self) -> dict[str, Any]:
        """Percentiles of each stage, what is not the engine's, and how the rounds differ; empty if it failed."""
        if self.error:
            return {}
        spread = spread_of(self.samples.stages_ns["total"], self.round_runs)
        return {**figures_of(self.samples), "spread": spread, "noisy_machine": spread > NOISY_SPREAD}

    def as_record(self) -> dict[str, Any]:
        """The row for JSON, with its raw samples."""
        return {
            "size_wh": self.size_wh,
            "threads": self.threads,
            "error": self.error,
            **self.facts,
            **self.figures(),
            "round_runs": self.round_runs,
            "round_health": self.round_health,
            "warmup_ns": self.samples.warmup_ns,
            "samples_ns": self.samples.stages_ns,
        }


def measure_speed(
    models: Sequence[Path],
    settings: SpeedSettings,
    on_step: Callable[[str, int, int], None] = lambda text, step, steps: None,
    on_block: Callable[[Sequence[SpeedRow]], None] = lambda rows: None,
    is_done: Callable[[SpeedRow], bool] = lambda row: False,
) -> list[SpeedRow]:
    """Measure models, each row in a process of its own.

    Args:
        models: model files.
        settings: how to measure.
        on_step: told (what, step, steps) as it goes on.
        on_block: given the rows of each block when it is finished.
        is_done: which rows need not be measured; they are left out.

    Returns:
        A row for each model, size and number of threads, in that order; a model that cannot be opened gives one
        row with its error.
    """
    rows = [row for model in models for row in plan_rows(model, settings) if not is_done(row)]
    by_size = sorted(rows, key=lambda row: row.size_wh or (0, 0))
    steps = len(rows) * (min(ROUNDS, settings.runs) + 1)
    progress = iter(range(steps))
    for start in range(0, len(by_size), BLOCK):
        block = by_size[start : start + BLOCK]
        _measure_block(block, settings, lambda text: on_step(text, next(progress), steps))
        on_block(block)
    return rows


def _measure_block(rows: Sequence[SpeedRow], settings: SpeedSettings, on_step: Callable[[str], None]) -> None:
    with ExitStack() as stack:
        open_rows: list[tuple[SpeedRow, Child]] = []
        for row in rows:
            on_step(f"open {row.model.name}")
            if row.error is None:
                child = stack.enter_context(Child())
                if open_row(row, child, settings):
                    open_rows.append((row, child))
        for runs, order in _rounds(open_rows, settings):
            for row, child in order:
                on_step(f"measure {row.model.name}")
                if row.error is None:
                    _measure_round(row, child, settings, runs)
                    row.round_health.append(machine_now())
        for row, child in open_rows:
            if row.error is None:
                row.facts |= child.ask("memory")


def plan_rows(model: Path, settings: SpeedSettings) -> list[SpeedRow]:
    """The rows of one model; one with its error if it cannot be opened."""
    try:
        return [SpeedRow(model, *cell) for cell in grid_of(model, settings.sizes_wh, settings.threads)]
    except ChildError as exc:
        return [SpeedRow(model, error=str(exc))]


def grid_of(
    model: Path, sizes_wh: Sequence[tuple[int, int]], threads: Sequence[int]
) -> list[tuple[tuple[int, int], int, dict[str, Any]]]:
    """(size_wh, threads, what the model says of itself) for each: a model of a fixed size runs at that one alone.

    Raises ChildError if the model cannot be opened.
    """
    with Child() as child:
        facts = child.ask("describe", model=str(model))
    own_wh = facts.pop("own_size_wh")
    sizes = ((own_wh[0], own_wh[1]),) if own_wh else sizes_wh
    return [(size_wh, count, dict(facts)) for size_wh in sizes for count in threads]


def open_row(row: SpeedRow, child: Child, settings: SpeedSettings) -> bool:
    """Load a row's model in a process; whether that worked. Its facts, or its error, go into the row."""
    try:
        row.facts |= child.ask(
            "open",
            model=str(row.model),
            task=row.facts["task"],
            size_wh=row.size_wh,
            threads=row.threads,
            frames=settings.frames,
            video_fps=settings.video_fps,
        )
    except ChildError as exc:
        row.error = str(exc)
    return row.error is None


def figures_of(samples: Samples) -> dict[str, Any]:
    """What `SpeedRow.figures` tells, from raw times; empty if there are none."""
    if not len(samples):
        return {}
    stages = {stage: percentiles_ms(times) for stage, times in samples.stages_ns.items()}
    total, engine = stages["total"]["p50_ms"], stages["engine"]["p50_ms"]
    means = {stage: float(np.mean(samples.stages_ns[stage])) for stage in ("total", "engine")}
    return {
        "stages": stages,
        "total_over_engine_p50": total / engine,
        "total_over_engine_mean": means["total"] / means["engine"],
        "frames_per_s_p50": 1000 / total,
    }


def machine_now() -> dict[str, Any]:
    """`temperature_c`, `throttled` and `clock_mhz` at this moment; None for what the system does not tell."""
    found = Health()()
    return {"temperature_c": found["temperature_c"], "throttled": found["throttled"], "clock_mhz": clock_mhz()}


def spread_of(samples_ns: Sequence[int], round_runs: Sequence[int]) -> float:
    """How far the medians of the rounds lie apart, as a share of the median of all."""
    rounds = np.split(np.asarray(samples_ns), np.cumsum(round_runs)[:-1])
    return float(np.ptp([np.median(times) for times in rounds]) / np.median(samples_ns))


def _rounds(
    rows: list[tuple[SpeedRow, Child]], settings: SpeedSettings
) -> Iterator[tuple[int, list[tuple[SpeedRow, Child]]]]:
    """Runs and order of each round; every other one goes backwards, so that no row always follows the same."""
    rounds = min(ROUNDS, settings.runs)
    for index in range(rounds):
        runs = settings.runs // rounds + (index < settings.runs % rounds)
        yield runs, rows if index % 2 == 0 else rows[::-1]


def _measure_round(row: SpeedRow, child: Child, settings: SpeedSettings, runs: int) -> None:
    rounds = min(ROUNDS, settings.runs)
    try:
        answer = child.ask("block", warmup=settings.warmup, runs=runs, min_secs=settings.min_secs / rounds)
    except ChildError as exc:
        row.error = str(exc)
        return
    samples = Samples(**answer)
    row.samples.extend(samples)
    row.round_runs.append(len(samples))


def settings_record(settings: SpeedSettings) -> dict[str, Any]:
    """The settings for JSON."""
    return asdict(settings) | {"rounds": min(ROUNDS, settings.runs)}
