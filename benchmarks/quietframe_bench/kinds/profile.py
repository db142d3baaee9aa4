"""Profile: what each operator costs, by its engine's own profiler, beside the stopwatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from statistics import median
from typing import Any

import click
import msgspec
import numpy as np

from quietframe.cpu import physical_cores
from quietframe_bench import options, plan, plots
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.kinds.roofline import measure_machine, place
from quietframe_bench.kinds.speed import share_of
from quietframe_bench.plan import OnStep, failing, ignore_step
from quietframe_bench.process import Child
from quietframe_bench.profiles import Operator, Profiled, ProfileUnavailableError
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, SizedRow, StageTimes, Time, p50_ms, set_fields

TITLE = "Operators"
ROUNDS = 3
"""Stopwatch and profiler take turns so many times."""
UNATTRIBUTED = "between operators"
"""Time of a profiled run not attributed to any operator: the engine's work between them, and the profiler's own."""

_SAME_WORK = 0.01


@dataclass(frozen=True)
class ProfileSettings:
    """How to profile.

    Attributes:
        sizes_wh: (width, height) of the frames. Models of a fixed size that frames are resized to run at theirs.
        threads: numbers of CPU threads.
        runs: timed runs by each clock.
        warmup: runs before each round's timed ones.
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 480),)
    threads: tuple[int, ...] = (1,)
    runs: int = 50
    warmup: int = 3


class ProfileRow(SizedRow, kw_only=True, tag="profile"):
    """One model at one size with one number of threads.

    Attributes:
        card_macs: multiply-accumulates of a frame by the model card.
        input_shapes: of the engine's inputs for that frame.
        engine_runs: how many runs a frame takes: in tiles several.
        operators: in the order in which they run; the last one is the unattributed time.
        profile_source: who measured them.
        notes: what a reader must know.
        clocks_ms: what one run of the engine takes by each clock, medians: `stopwatch` as in `bench speed`, `profiler`
            a whole profiled run, `operators` the operators in it.
        runs_ns: each whole run by the profiler's clock.
        warmup_ns, samples_ns: the stopwatch's times of calls without a profiler.
        peak_gmacs_per_s, peak_name, memory_gbytes_per_s, cache_gbytes_per_s: the machine's, where they were measured.
    """

    card_macs: int | None = None
    input_shapes: dict[str, list[int]] = msgspec.field(default_factory=dict)
    engine_runs: int = 1
    operators: list[Operator] = msgspec.field(default_factory=list)
    profile_source: str | None = None
    notes: list[str] = msgspec.field(default_factory=list)
    clocks_ms: dict[str, float | None] = msgspec.field(default_factory=dict)
    runs_ns: list[int] = msgspec.field(default_factory=list)
    warmup_ns: list[Time] = msgspec.field(default_factory=list)
    samples_ns: StageTimes = msgspec.field(default_factory=StageTimes)
    peak_gmacs_per_s: float | None = None
    peak_name: str = ""
    memory_gbytes_per_s: float | None = None
    cache_gbytes_per_s: float | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, added up over the operators."""
        return sum(operator.macs or 0 for operator in self.operators)

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second, by the stopwatch."""
        engine_ms = self.clocks_ms.get("stopwatch")
        return self.macs / engine_ms / 1e6 if engine_ms else None

    @property
    def of_peak(self) -> float | None:
        """The share of the peak that is reached."""
        return self.gmacs_per_s / self.peak_gmacs_per_s if self.gmacs_per_s and self.peak_gmacs_per_s else None

    @property
    def layers(self) -> list[Operator]:
        """The operators that have a place under the roofline."""
        return [one for one in self.operators if one.limit]

    def finish(self, profiled: Profiled) -> None:
        """Derive the figures."""
        self.profile_source, self.notes, self.runs_ns = profiled.source, profiled.notes, profiled.runs_ns
        each_ns = np.sum([one.samples_ns for one in profiled.operators], axis=0)
        rest_ns = np.maximum(np.array(self.runs_ns) - each_ns, 0)  # XNNPACK's clock ticks in microseconds
        self.operators = [*profiled.operators, Operator(UNATTRIBUTED, samples_ns=rest_ns.tolist())]
        for index, one in enumerate(self.operators):
            one.index, one.median_ms = index, median(one.samples_ns) / 1e6
        all_ms = sum(one.median_ms for one in profiled.operators) or 1.0
        for one in profiled.operators:
            one.share = one.median_ms / all_ms
        found, on_card = self.macs * self.engine_runs, self.card_macs or 0
        if abs(found - on_card) > _SAME_WORK * max(found, on_card):  # layers that run once a frame are not on the card
            self.notes.append(f"operators: {found / 1e6:.4g} MMAC a frame; the model card: {on_card / 1e6:.4g} MMAC")
        engine_ms = p50_ms(self.samples_ns.engine)
        self.clocks_ms = {
            "stopwatch": engine_ms / self.engine_runs if engine_ms else None,
            "profiler": median(self.runs_ns) / 1e6,
            "operators": float(np.median(each_ns)) / 1e6,
        }


def profile(
    models: Sequence[str | Path] = (),
    settings: ProfileSettings | None = None,
    *,
    roofline: bool = False,
    on_step: OnStep = ignore_step,
) -> Results:
    """Profile the operators of models, each row in a process of its own.

    Args:
        models: model files or names of built-in ones; without any, all built-in ones for frames.
        settings: how to measure.
        roofline: measure the machine's peak and bandwidth, too, and each layer's place under them.
        on_step: called with (what, step, steps) as it goes on.

    Returns:
        A row for each model, size and number of threads, in that order; a model that cannot be opened gives one row
        with its error. With `roofline` first those of the machine.
    """
    settings = settings or ProfileSettings(threads=(physical_cores(),))
    paths = plan.find_models(models, frames=True)
    run = Run(settings, rounds=ROUNDS)
    machine = measure_machine(run, settings.threads, on_step=on_step) if roofline else []
    jobs = plan.plan_rows(run, ProfileRow, paths, settings.sizes_wh, settings.threads)
    for step, (path, row) in enumerate(jobs):
        on_step(f"operators of {path.name}", step, len(jobs))
        if row.error is None:
            with failing(row):
                _measure(path, row, settings)
        if roofline:
            place(row, machine)
    return Results([*machine, *(row for _, row in jobs)])


def _measure(path: Path, row: ProfileRow, settings: ProfileSettings) -> None:
    what = {"model": path, "task": row.task, "size_wh": row.size_wh, "threads": row.threads}
    with Child() as child:
        row.card_macs = child.call("subject:TimedModel", **what)["macs"]
        set_fields(row, child.call("kinds.profile:ProfiledModel", **what))
        for runs in filter(None, (share_of(settings.runs, ROUNDS, turn) for turn in range(ROUNDS))):
            times = child.call("subject:TimedModel.time", warmup=settings.warmup, runs=runs, min_secs=0)
            row.warmup_ns += times["warmup_ns"]
            row.samples_ns.extend(times["stages_ns"])
            child.call("kinds.profile:ProfiledModel.run", warmup=settings.warmup, runs=runs)
        profiled = child.call("kinds.profile:ProfiledModel.result")
    row.finish(msgspec.convert(profiled, Profiled))


# In the measuring process


class ProfiledModel:
    """A model under its engine's profiler with what its engine is given for a frame of a size, padded or in tiles."""

    def __init__(self, *, model: str, task: Any, size_wh: list[int], threads: int) -> None:
        from quietframe_bench.frames import feed_for
        from quietframe_bench.litert_profile import LiteRtProfile
        from quietframe_bench.onnx_profile import OnnxProfile
        from quietframe_bench.subject import import_task

        subject: Any = import_task(task, model)(model, threads=threads)
        prepared = subject.prepare(feed_for(subject.card, None, (size_wh[0], size_wh[1])).frame(0))
        first, *more = [prepared] if isinstance(prepared, Mapping) else prepared
        profilers = {".tflite": LiteRtProfile, ".onnx": OnnxProfile}
        if (profiler := profilers.get(Path(model).suffix.lower())) is None:
            raise ProfileUnavailableError(f"operators are profiled of {' and '.join(profilers)} files alone")
        self._profile: Any = profiler(Path(model), first, threads=threads)
        self._kept: list[bool] = []
        shapes = {name: list(array.shape) for name, array in first.items()}
        self.facts = {"input_shapes": shapes, "engine_runs": 1 + len(more)}

    def run(self, *, warmup: int, runs: int) -> None:
        """Run it `warmup` times unseen, then `runs` times."""
        for index in range(warmup + runs):
            self._profile.step()
            self._kept.append(index >= warmup)

    def result(self) -> Any:
        """Return what all runs gave, a `Profiled` in JSON's values. The last call."""
        found, times = self._profile.result()
        for whole_ns, each_ns in compress(times, self._kept):
            found.runs_ns.append(whole_ns)
            for operator, ns in zip(found.operators, each_ns, strict=True):
                operator.samples_ns.append(ns)
        return msgspec.to_builtins(found)


# Columns and tables

_OPERATORS = (
    Column("#", "index"),
    Column("operator", "kind", words=True),
    Column("layer", "name", words=True),
    Column("output", lambda one: "×".join(map(str, one.output_shape))),
    Column("ms", "median_ms", ".3f"),
    Column("share", "share", ".1%"),
    Column("MMAC", lambda one: one.macs or None, ".2f", scale=1e-6),
    Column("GMAC/s", "gmacs_per_s", ".1f"),
    Column("GB/s", "gbytes_per_s", ".1f"),
)


_LAYERS = (
    *(column for column in _OPERATORS if column.head not in ("output", "GB/s")),
    Column("MAC/byte", "intensity", ".1f"),
    Column("limit", "max_gmacs_per_s", ".1f"),
    Column("of the limit", lambda one: one.gmacs_per_s / one.max_gmacs_per_s, ".1%"),
    Column("by", "limit"),
)


def _clock(name: str) -> Column:
    return Column(name, lambda row: row.clocks_ms.get(name), ".3f", f"{name}_ms")


_CLOCKS = tuple(map(_clock, ("stopwatch", "profiler", "operators")))
_REACHED = (
    Column("MMAC", lambda row: row.macs or None, ".1f", "macs", scale=1e-6),
    Column("engine ms", lambda row: row.clocks_ms.get("stopwatch"), ".2f"),
    Column("GMAC/s", "gmacs_per_s", ".1f"),
    Column("peak", "peak_gmacs_per_s", ".1f"),
    Column("of the peak", "of_peak", ".1%"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {ProfileRow: (*WHAT, *_CLOCKS, *_REACHED, *CIRCUMSTANCES)}


def tables(rows: Sequence[ProfileRow]) -> list[Table]:
    """Make the tables of what each model reaches, of layers and operators, and of what each clock says of one run."""
    limits = "layers that multiply; limit: the peak, or what memory or cache can feed"
    layers = [
        Table(f"{row.label}: {limits}", _LAYERS, row.layers, row.notes, details=True) for row in rows if row.layers
    ]
    operators = []
    for row in [row for row in rows if row.error is None]:
        title = f"{row.label}; {row.profile_source}; medians of {len(row.runs_ns)} runs"
        if row.engine_runs > 1:
            title += f"; one of the {row.engine_runs} runs that a frame takes"
        operators.append(Table(title, _OPERATORS, row.operators, row.notes, details=True))
    reached = "models: engine time by the stopwatch; the peak of the same engine, precision and threads"
    clocks = (
        "one run of the engine in milliseconds, by each clock: medians; stopwatch: as in bench speed; "
        "profiler: a whole profiled run; operators: those in it added up"
    )
    return [
        Table(reached, (*WHAT, *_REACHED), rows if any(row.of_peak for row in rows) else []),
        *layers,
        *operators,
        Table(clocks, (*WHAT, *_CLOCKS), rows),
    ]


def draw(rows: Sequence[ProfileRow], _all_rows: Sequence[Row]) -> list[str]:
    """Draw the rooflines, and a bar of operators for each row."""
    measured, figure = [row for row in rows if row.error is None], draw_rooflines(rows)
    drawn = [plots.as_image(figure, "Rooflines")] if figure else []
    return [*drawn, *([plots.operators(measured)] if measured else [])]


def draw_rooflines(rows: Sequence[Row]) -> Any:
    """Draw the rooflines; None where no model has layers whose work and time are known."""
    placed = [row for row in rows if isinstance(row, ProfileRow) and row.layers and row.of_peak]
    if not placed:
        return None
    machine = placed[0].machine
    return plots.roofline_figure(placed, str(machine["cpu"] or machine["architecture"]))


@click.command()
@options.models_argument
@options.sizes_option
@options.threads_option
@options.number("--runs", 50, "Timed runs by each clock.", low=1)
@options.number("--warmup", 3, "Runs before each round.")
@click.option(
    "--roofline", is_flag=True, help="Measure the machine's peak, too, and how much of it each model and layer reaches."
)
@partial(options.output_options, plot=("With --roofline: draw it.", draw_rooflines))
@click.pass_context
def command(ctx: click.Context, /, models: tuple[str, ...], roofline: bool, on_step: OnStep, **grid: Any) -> Results:
    """Measure what each operator costs, by the engines' own profilers.

    LiteRT's is experimental: where this LiteRT has another interface, the row fails.
    """
    if not roofline:
        options.reject(ctx, ["plot_path"], "goes with --roofline")
    options.warn_if_busy(models)
    return profile(models, ProfileSettings(**grid), roofline=roofline, on_step=on_step)
