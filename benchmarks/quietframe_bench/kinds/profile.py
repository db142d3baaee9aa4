"""Profile: what each operator costs, by its engine's own profiler, the stopwatch and the engine's tool."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import click
import msgspec
import numpy as np

from quietframe.errors import UsageError
from quietframe_bench import figures, options, plan, plots
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.kinds.roofline import measure_machine, place
from quietframe_bench.kinds.speed import share_of
from quietframe_bench.litert_file import LITERT_BENCHMARK, ToolError, run_litert_benchmark
from quietframe_bench.plan import OnStep, all_cores, ignore_step
from quietframe_bench.process import Child, failing
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, SizedRow, StageTimes, Time, set_fields, utc_now

TITLE = "Operators"
ROUNDS = 3
"""Stopwatch, profiler and the engine's own tool take turns so many times."""
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
        engine_tool: run the engine's own tool, too.
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 480),)
    threads: tuple[int, ...] = (1,)
    runs: int = 50
    warmup: int = 3
    engine_tool: bool = True


class Operator(msgspec.Struct):
    """An operator as the engine runs it, or what lies between operators.

    Attributes:
        index: its place in the run.
        kind: its type, by the engine's own name.
        name: the layer in the file that it computes, where known.
        output_shape: of that layer.
        macs, bytes: multiply-accumulates, and bytes of inputs, weights and outputs; None where unknown.
        share: of the time of all operators, of their medians.
        gmacs_per_s, gbytes_per_s: at the median, where known.
        samples_ns: its time in each run.
        max_gmacs_per_s, limit: what it could reach under the roofline, and whether `arithmetic` or `memory` limits it.
    """

    index: int
    kind: str
    name: str
    output_shape: list[int]
    macs: int | None
    bytes: int | None
    median_ms: float
    mean_ms: float
    min_ms: float
    share: float | None
    gmacs_per_s: float | None
    gbytes_per_s: float | None
    samples_ns: list[Time]
    max_gmacs_per_s: float | None = None
    limit: str | None = None

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates for each byte of its inputs, weights and outputs."""
        return self.macs / self.bytes if self.macs and self.bytes else None


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
            a whole profiled run, `operators` the operators in it, `tool` and `tool_avg` those of its own tool.
        engine_tool: what the engine's own tool says: `name`, and its figures or `missing`.
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
    engine_tool: dict[str, Any] = msgspec.field(default_factory=dict)
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

    @property
    def tool_over_stopwatch(self) -> float | None:
        """The engine tool's median over the stopwatch's."""
        tool, watch = self.clocks_ms.get("tool"), self.clocks_ms.get("stopwatch")
        return tool / watch if tool and watch else None

    def finish(self, profiled: Mapping[str, Any], tool_rounds: Sequence[Mapping[str, Any]]) -> None:
        """Derive the figures.

        profiled: a `Profiled`, in JSON's values. tool_rounds: what the engine's own tool said, round by round.
        """
        self.finished_utc = utc_now()
        self.profile_source, self.notes, self.runs_ns = (profiled[name] for name in ("source", "notes", "runs_ns"))
        self.operators = derive_operators(profiled)
        found, on_card = self.macs * self.engine_runs, self.card_macs or 0
        if abs(found - on_card) > _SAME_WORK * max(found, on_card):  # layers that run once a frame are not on the card
            self.notes.append(f"operators: {found / 1e6:.4g} MMAC a frame; the model card: {on_card / 1e6:.4g} MMAC")
        if tool_rounds:
            runs = sum(one["num_runs"] for one in tool_rounds)
            self.engine_tool |= {
                "avg_ms": sum(one["avg_ms"] * one["num_runs"] for one in tool_rounds) / runs,
                "median_ms": median(one["median_ms"] for one in tool_rounds),
                "rounds": list(tool_rounds),
            }
        elif self.settings.get("engine_tool") and self.file.endswith(".onnx"):
            figures = {"avg_ms": mean(self.runs_ns) / 1e6, "median_ms": median(self.runs_ns) / 1e6}
            self.engine_tool = {"name": "ONNX Runtime's profile", **figures}
        each_ns = np.sum([one.samples_ns for one in self.operators[:-1]], axis=0)
        engine_ms = self.samples_ns.p50_ms("engine")
        self.clocks_ms = {
            "stopwatch": engine_ms / self.engine_runs if engine_ms else None,
            "profiler": median(self.runs_ns) / 1e6,
            "operators": float(np.median(each_ns)) / 1e6,
            "tool": self.engine_tool.get("median_ms"),
            "tool_avg": self.engine_tool.get("avg_ms"),
        }


def derive_operators(profiled: Mapping[str, Any]) -> list[Operator]:
    """Return each operator's figures, and the unattributed time as the last one."""
    found = list(profiled["operators"])
    rest_ns = np.array(profiled["runs_ns"]) - np.sum([one["samples_ns"] for one in found], axis=0)
    rest_ns = np.maximum(rest_ns, 0)  # XNNPACK's clock ticks in microseconds
    found.append(
        {"kind": UNATTRIBUTED, "name": "", "output_shape": [], "macs": 0, "bytes": None, "samples_ns": rest_ns.tolist()}
    )
    medians_ms = [median(one["samples_ns"]) / 1e6 for one in found]
    all_ms = sum(medians_ms[:-1]) or 1.0
    return [
        Operator(
            index,
            **{name: one[name] for name in ("kind", "name", "macs", "bytes", "samples_ns")},
            output_shape=list(one["output_shape"]),
            median_ms=median_ms,
            mean_ms=mean(one["samples_ns"]) / 1e6,
            min_ms=min(one["samples_ns"]) / 1e6,
            share=None if one["kind"] == UNATTRIBUTED else median_ms / all_ms,
            gmacs_per_s=one["macs"] / median_ms / 1e6 if one["macs"] and median_ms else None,
            gbytes_per_s=one["bytes"] / median_ms / 1e6 if one["bytes"] and median_ms else None,
        )
        for index, (one, median_ms) in enumerate(zip(found, medians_ms, strict=True))
    ]


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
        roofline: measure the machine's peak and bandwidth, too, and each layer's place under them; the engine's own
            tool is then not run.
        on_step: called with (what, step, steps) as it goes on.

    Returns:
        A row for each model, size and number of threads, in that order; a model that cannot be opened gives one row
        with its error. With `roofline` first those of the machine.
    """
    settings = settings or ProfileSettings(threads=all_cores())
    paths = plan.find_models(models, frames=True)
    if not roofline:
        return Results(measure_profiles(paths, settings, on_step))
    settings = replace(settings, engine_tool=False)
    run = Run(settings)
    machine = measure_machine(run, settings.threads, on_step=on_step)
    profiles = measure_profiles(paths, settings, on_step)
    for row in profiles:
        place(row, machine)
    return Results([*machine, *profiles])


def measure_profiles(
    paths: Sequence[Path], settings: ProfileSettings, on_step: OnStep = ignore_step
) -> list[ProfileRow]:
    """Profile models. See `profile`."""
    run = Run(settings, rounds=ROUNDS)
    jobs = [
        (path, row)
        for path in paths
        for row in plan.plan_rows(run, ProfileRow, path, settings.sizes_wh, settings.threads)
    ]
    for step, (path, row) in enumerate(jobs):
        on_step(f"operators of {path.name}", step, len(jobs))
        if row.error is None:
            with failing(row):
                _measure(path, row, settings)
    return [row for _, row in jobs]


def _measure(path: Path, row: ProfileRow, settings: ProfileSettings) -> None:
    what = {"model": path, "task": row.task, "size_wh": row.size_wh, "threads": row.threads}
    tool_rounds: list[dict[str, Any]] = []
    with Child() as child, tempfile.TemporaryDirectory(prefix="quietframe-operators-") as folder:
        row.card_macs = child.call("subject:TimedModel", **what)["macs"]
        set_fields(row, child.call("profiled:ProfiledModel", **what))
        copy = Path(folder) / path.name
        if settings.engine_tool and path.suffix.lower() == ".tflite":
            row.engine_tool["name"] = LITERT_BENCHMARK
            child.call("litert_file:write_at_size", model=path, shapes=row.input_shapes, target=copy)
        for runs in filter(None, (share_of(settings.runs, ROUNDS, turn) for turn in range(ROUNDS))):
            times = child.call("subject:TimedModel.time", warmup=settings.warmup, runs=runs, min_secs=0)
            row.warmup_ns += times["warmup_ns"]
            row.samples_ns.extend(times["stages_ns"])
            child.call("profiled:ProfiledModel.run", warmup=settings.warmup, runs=runs)
            if copy.exists() and "missing" not in row.engine_tool:
                try:
                    how = {"threads": row.threads or 1, "warmup": settings.warmup, "runs": runs}
                    tool_rounds.append(run_litert_benchmark(copy, **how))
                except ToolError as exc:
                    row.engine_tool["missing"] = str(exc)
                    tool_rounds.clear()
        profiled = child.call("profiled:ProfiledModel.result")
    row.finish(profiled, tool_rounds)


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


def _clock(head: str, name: str) -> Column:
    return Column(head, lambda row: row.clocks_ms.get(name), ".3f", f"{name}_ms")


_CLOCKS = (
    _clock("stopwatch", "stopwatch"),
    _clock("profiler", "profiler"),
    _clock("operators", "operators"),
    Column("engine's tool", lambda row: row.engine_tool.get("name"), name="engine_tool", words=True),
    _clock("median", "tool"),
    _clock("average", "tool_avg"),
    Column("ratio", "tool_over_stopwatch", ".3f"),
)
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
    made = []
    if any(row.of_peak for row in rows):
        reached = "models: engine time by the stopwatch; the peak of the same engine, precision and threads"
        made.append(Table(reached, (*WHAT, *_REACHED), rows))
    for row in rows:
        if row.layers:
            limits = f"{row.label}: layers that multiply; limit: the peak, or what memory or cache can feed"
            made.append(Table(limits, _LAYERS, row.layers, row.notes, details=True))
    for row in rows:
        if row.error is None:
            title = f"{row.label}; {row.profile_source}; medians of {len(row.runs_ns)} runs"
            if row.engine_runs > 1:
                title += f"; one of the {row.engine_runs} runs that a frame takes"
            made.append(Table(title, _OPERATORS, row.operators, row.notes, details=True))
    clocks = (
        "one run of the engine in milliseconds, by each clock: medians; stopwatch: as in bench speed; "
        "operators: those of the profile added up; ratio: the engine tool's median over the stopwatch's"
    )
    missing = [f"{row.file}: {row.engine_tool['missing']}" for row in rows if "missing" in row.engine_tool]
    return [*made, Table(clocks, (*WHAT, *_CLOCKS), rows, list(dict.fromkeys(missing)))]


def draw(rows: Sequence[ProfileRow], _all_rows: Sequence[Row]) -> list[str]:
    """Draw each model's roofline, and a bar of operators for each row."""
    measured = [row for row in rows if row.error is None]
    cpu = str(rows[0].machine.get("cpu") or "")
    rooflines = [
        plots.as_image(figures.roofline_figure([row], cpu), f"Roofline of {row.label}")
        for row in measured
        if row.layers and row.of_peak
    ]
    return [*rooflines, *([plots.operators(measured)] if measured else [])]


def write_plot(results: Results, path: Path) -> None:
    """Draw the rooflines as PNG. Raises UsageError if there is nothing to draw."""
    rows = [row for row in results if isinstance(row, ProfileRow) and row.layers and row.of_peak]
    if not rows:
        raise UsageError("no roofline: none of the models has layers whose work and time are known")
    machine = rows[0].machine
    figures.write_png(figures.roofline_figure(rows, str(machine["cpu"] or machine["architecture"])), path)


@click.command(short_help="Measure each operator, and the machine's roofline.")
@options.models_argument
@options.sizes_option
@options.threads_option
@options.number("--runs", 50, "Timed runs by each clock.", low=1)
@options.number("--warmup", 3, "Runs before each round.")
@click.option(
    "--roofline", is_flag=True, help="Measure the machine's peak, too, and how much of it each model and layer reaches."
)
@click.option("--plot", type=options.FILE, metavar="PNG", help="With --roofline: draw it.")
@options.output_options
def command(models: tuple[str, ...], roofline: bool, plot: Path | None, **grid: Any) -> Results:
    """Measure what each operator costs, by the engines' own profilers.

    LiteRT's is experimental: where this LiteRT has another interface, the graph is timed as a whole.
    """
    if plot and not roofline:
        raise click.UsageError("--plot goes with --roofline")
    settings = ProfileSettings(engine_tool=not roofline, **grid)
    options.warn(plan.busy_warning(Run(settings).machine))
    with plan.progress_bar() as on_step:
        results = profile(models, settings, roofline=roofline, on_step=on_step)
    if plot:
        write_plot(results, plot)
        click.echo(f"wrote {plot}", err=True)
    return results
