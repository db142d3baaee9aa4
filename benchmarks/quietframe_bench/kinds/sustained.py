"""Sustained speed: whether a model is as fast at the end of a long run as at the start, when the machine is hot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from quietframe_bench import plan, plots
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.machine import machine_now
from quietframe_bench.plan import OnStep, failing, ignore_step
from quietframe_bench.process import Child
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, SizedRow, TotalTime, p50_ms, set_fields

TITLE = "Sustained speed"
_PART_S = 5.0
_ENDS_S = 60.0


class Part(msgspec.Struct):
    """A few seconds of a run: when it began, the times of whole frames, and the machine at its end."""

    from_s: float
    samples_ns: list[TotalTime]
    temperature_c: float | None = None
    throttled: Any = None
    clock_mhz: float | None = None


class SustainedRow(SizedRow, kw_only=True, tag="sustained"):
    """One model that ran without a pause.

    Attributes:
        ends_s: how many seconds the two ends are: a minute, or half the time where it ran for less than two.
        first_p50_ms, last_p50_ms: medians of the first and the last end.
        parts: see `Part`.
    """

    ends_s: float | None = None
    first_p50_ms: float | None = None
    last_p50_ms: float | None = None
    peak_rss_mb: float | None = None
    steady_rss_mb: float | None = None
    parts: list[Part] = msgspec.field(default_factory=list)

    @property
    def last_over_first(self) -> float | None:
        """The ratio of the two medians."""
        return self.last_p50_ms / self.first_p50_ms if self.last_p50_ms and self.first_p50_ms else None

    @property
    def was_throttled(self) -> str | None:
        """Whether the machine was throttled; `unknown` where it does not say."""
        if not self.parts:
            return None
        if self.parts[-1].throttled is None:
            return "unknown"
        return "yes" if any(part.throttled for part in self.parts) else "no"

    def finish(self, seconds: float) -> None:
        """Derive the figures of a run of so many seconds."""
        self.ends_s = ends_s = min(_ENDS_S, seconds / 2)
        first = [part for part in self.parts if part.from_s < ends_s]
        last = [part for part in self.parts if part.from_s >= seconds - ends_s] or self.parts[-1:]
        self.first_p50_ms, self.last_p50_ms = (
            p50_ms([ns for part in parts for ns in part.samples_ns]) for parts in (first, last)
        )


def sustained(
    models: Sequence[str | Path],
    seconds: float,
    sizes_wh: Sequence[tuple[int, int]],
    threads: Sequence[int],
    frames: str | None = None,
    *,
    on_step: OnStep = ignore_step,
) -> Results:
    """Run each model at each size and number of threads for so many seconds, one after the other."""
    run = Run({"seconds": seconds, "sizes_wh": sizes_wh, "threads": threads, "frames": frames})
    jobs = plan.plan_rows(run, SustainedRow, plan.find_models(models), sizes_wh, threads)
    for path, row in jobs:
        if row.error is None:
            with failing(row):
                _measure(row, path, seconds, frames, on_step)
                row.finish(seconds)
    return Results([row for _, row in jobs])


def _measure(row: SustainedRow, path: Path, seconds: float, frames: str | None, on_step: OnStep) -> None:
    what = {"model": path, "task": row.task, "size_wh": row.size_wh, "threads": row.threads, "frames": frames}
    with Child() as child:
        child.call("subject:TimedModel", **what)
        start_s = monotonic()
        while (from_s := monotonic() - start_s) < seconds:
            on_step(path.name, int(from_s), int(seconds))
            min_secs = min(_PART_S, seconds - from_s)
            times = child.call("subject:TimedModel.time", warmup=0, runs=1, min_secs=min_secs)
            row.parts.append(Part(from_s, times["stages_ns"]["total"], **machine_now()))
        set_fields(row, child.call("subject:memory"))


_FIGURES = (
    Column("first ms", "first_p50_ms", ".2f"),
    Column("last ms", "last_p50_ms", ".2f"),
    Column("last/first", "last_over_first", ".3f"),
    Column("first °C", lambda row: row.parts[0].temperature_c if row.parts else None, ".0f", "first_c"),
    Column("last °C", lambda row: row.parts[-1].temperature_c if row.parts else None, ".0f", "last_c"),
    Column("throttled", "was_throttled", name="throttled"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {SustainedRow: (*WHAT, *_FIGURES, *CIRCUMSTANCES)}


def tables(rows: Sequence[SustainedRow]) -> list[Table]:
    """Make the table of the first and last end of each run."""
    ends_s = next((row.ends_s for row in rows if row.ends_s), 0)
    title = f"medians of the first and last {ends_s:g} seconds of a run without a pause"
    return [Table(title, (*WHAT, *_FIGURES), rows)]


def draw(rows: Sequence[SustainedRow], _all_rows: Sequence[Row]) -> list[str]:
    """Draw the time of a frame over each run."""
    measured = [row for row in rows if row.error is None]
    return [plots.sustained(measured)] if measured else []
