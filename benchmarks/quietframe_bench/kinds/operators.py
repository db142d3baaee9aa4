"""Operators: what each costs, by its engine's own profiler, the stopwatch and the engine's tool."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from time import perf_counter_ns
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.engines import ENGINES, Engine
from quietframe_bench import plan, plots
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.engine_tool import LITERT_BENCHMARK, ToolError, run_litert_benchmark
from quietframe_bench.nodes import Inputs, Node, Profiled, ProfileUnavailableError, TimedOperator
from quietframe_bench.plan import OnStep, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.rows import Row, Run, SizedRow, StageTimes, Time, utc_now

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

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, added up over the operators."""
        return sum(operator.macs or 0 for operator in self.operators)

    @property
    def tool_over_stopwatch(self) -> float | None:
        """The engine tool's median over the stopwatch's."""
        tool, watch = self.clocks_ms.get("tool"), self.clocks_ms.get("stopwatch")
        return tool / watch if tool and watch else None

    def finish(self, profiled: Mapping[str, Any], tool_rounds: Sequence[Mapping[str, Any]]) -> None:
        """Derive the figures.

        profiled: see `Profiled.as_record`. tool_rounds: what the engine's own tool said, round by round.
        """
        self.finished_utc = utc_now()
        self.profile_source, self.notes, self.runs_ns = (profiled[name] for name in ("source", "notes", "runs_ns"))
        self.operators = derive_operators(profiled)
        self._check_work()
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

    def _check_work(self) -> None:
        """Note where the operators' work is not what the card says, layers that run once a frame aside."""
        found, on_card = self.macs * self.engine_runs, self.card_macs or 0
        if abs(found - on_card) > _SAME_WORK * max(found, on_card):
            self.notes.append(f"operators: {found / 1e6:.4g} MMAC a frame; the model card: {on_card / 1e6:.4g} MMAC")


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


def measure_profiles(
    paths: Sequence[Path], settings: ProfileSettings, on_step: OnStep = ignore_step
) -> list[ProfileRow]:
    """Profile models, each row in a process of its own.

    Returns a row for each model, size and number of threads, in that order; a model that cannot be opened gives one row
    with its error.
    """
    run = Run(settings, rounds=ROUNDS)
    jobs = [
        (path, row)
        for path in paths
        for row in plan.plan_rows(run, ProfileRow, path, settings.sizes_wh, settings.threads)
    ]
    for step, (path, row) in enumerate(jobs):
        on_step(f"operators of {path.name}", step, len(jobs))
        if row.error is None:
            try:
                _measure(path, row, settings)
            except ChildError as exc:
                row.error = str(exc)
    return [row for _, row in jobs]


def engine_time_ms(
    model: Path, size_wh: tuple[int, int], *, threads: int, runs: int = 50, warmup: int = 3
) -> dict[str, float | None]:
    """Return what one run of a model's engine takes by each clock, see `ProfileRow.clocks_ms`, measured in turn.

    Raises ChildError if the model cannot be measured.
    """
    (row,) = measure_profiles([model], ProfileSettings((size_wh,), (threads,), runs, warmup))
    if row.error:
        raise ChildError(row.error)
    return row.clocks_ms


def _measure(path: Path, row: ProfileRow, settings: ProfileSettings) -> None:
    what = {"model": path, "task": row.task, "size_wh": row.size_wh, "threads": row.threads}
    shares = [settings.runs // ROUNDS + (index < settings.runs % ROUNDS) for index in range(ROUNDS)]
    tool_rounds: list[dict[str, Any]] = []
    with Child() as child, tempfile.TemporaryDirectory(prefix="quietframe-operators-") as folder:
        row.card_macs = child.call("subject:TimedModel", **what)["macs"]
        facts = child.call("kinds.operators:ProfiledModel", **what)
        row.input_shapes, row.engine_runs = facts["input_shapes"], facts["engine_runs"]
        copy = _copy(path, row, child, Path(folder)) if settings.engine_tool else None
        for runs in filter(None, shares):
            times = child.call("subject:TimedModel.time", warmup=settings.warmup, runs=runs, min_secs=0)
            row.warmup_ns += times["warmup_ns"]
            row.samples_ns.extend(times["stages_ns"])
            child.call("kinds.operators:ProfiledModel.run", warmup=settings.warmup, runs=runs)
            if copy and "missing" not in row.engine_tool:
                _run_tool(row, copy, settings, runs, tool_rounds)
        profiled = child.call("kinds.operators:ProfiledModel.result")
    row.finish(profiled, tool_rounds)


def _copy(path: Path, row: ProfileRow, child: Child, folder: Path) -> Path | None:
    """Make a copy of the model for LiteRT's tool, of the size that it runs at here; None for other engines."""
    if path.suffix.lower() != ".tflite":
        return None
    copy = folder / path.name
    child.call("kinds.operators:copy_at_size", model=path, shapes=row.input_shapes, target=copy)
    return copy


def _run_tool(
    row: ProfileRow, copy: Path, settings: ProfileSettings, runs: int, tool_rounds: list[dict[str, Any]]
) -> None:
    row.engine_tool["name"] = LITERT_BENCHMARK
    try:
        tool_rounds.append(run_litert_benchmark(copy, threads=row.threads or 1, warmup=settings.warmup, runs=runs))
    except ToolError as exc:
        row.engine_tool["missing"] = str(exc)
        tool_rounds.clear()


# In the measuring process


class Task(Protocol):
    """A denoiser or classifier whose engine can be exchanged."""

    engine: Engine
    card: ModelCard

    def __call__(self, frame: NDArray[np.uint8], /) -> Any:
        """Return the result for a frame."""
        ...


class Profile(Protocol):
    """A model that runs under its engine's profiler."""

    def run(self, *, warmup: int, runs: int) -> None:
        """Run it `warmup` times unseen, then `runs` times."""
        ...

    def result(self) -> Profiled:
        """Return what all runs gave. The last call."""
        ...


class ProfiledModel:
    """A model under its engine's profiler with what its engine is given for a frame of that size."""

    def __init__(self, *, model: str, task: Any, size_wh: list[int], threads: int) -> None:
        from quietframe_bench.subject import import_task

        self._profile, self.facts = open_for_frame(
            import_task(task, model), Path(model), (size_wh[0], size_wh[1]), threads
        )

    def run(self, *, warmup: int, runs: int) -> None:
        """Run the model under the profiler. See `Profile.run`."""
        self._profile.run(warmup=warmup, runs=runs)

    def result(self) -> dict[str, Any]:
        """Return what the profiler found. See `Profile.result`."""
        return self._profile.result().as_record()


def copy_at_size(*, model: str, shapes: dict[str, list[int]], target: str) -> None:
    """Write a model with these shapes of inputs. See `litert_file`."""
    from quietframe_bench.litert_file import copy_at_size

    Path(target).write_bytes(copy_at_size(Path(model).read_bytes(), shapes))


class WholeGraph:
    """A profile where the engine profiles no single operators: the time of all of them as one.

    Args:
        engine, inputs: what to run.
        nodes: the file's operators.
        why: the reason, for the notes.
    """

    def __init__(self, engine: Engine, inputs: Inputs, nodes: Sequence[Node], why: str) -> None:
        self._engine, self._inputs = engine, inputs
        shape = nodes[-1].output_shape if nodes else ()
        macs = sum(node.macs for node in nodes)
        self._all = TimedOperator("whole graph", f"{len(nodes)} operators as one", shape, macs)
        self._why = why

    def run(self, *, warmup: int, runs: int) -> None:
        """See `Profile.run`."""
        for index in range(warmup + runs):
            begin = perf_counter_ns()
            self._engine.run(self._inputs)
            if index >= warmup:
                self._all.samples_ns.append(perf_counter_ns() - begin)

    def result(self) -> Profiled:
        """See `Profile.result`."""
        return Profiled("stopwatch around the engine", list(self._all.samples_ns), [self._all], [self._why])


class RecordingEngine:
    """An engine that keeps the first inputs it is given, and counts its runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs, self.outputs, self.card_json = engine.inputs, engine.outputs, engine.card_json
        self.first: Inputs = {}
        self.runs = 0

    def run(self, inputs: Inputs) -> Inputs:
        """Run the engine. See `Engine.run`."""
        self.first = self.first or {name: array.copy() for name, array in inputs.items()}
        self.runs += 1
        return self._engine.run(inputs)


def open_for_frame(
    task_class: Callable[..., Task], path: Path, size_wh: tuple[int, int], threads: int
) -> tuple[Profile, dict[str, Any]]:
    """Open a model under its engine's profiler with what its engine is given for a frame; return facts about it, too.

    Args:
        task_class: the real one, so that padding and tiles are those of real use.
        path: the model file.
        size_wh: width and height of the frame, which is the bundled photograph with noise.
        threads: how many the engine may use.
    """
    from quietframe_bench.frames import feed_for

    task = task_class(path, threads=threads)
    engine = RecordingEngine(task.engine)
    task.engine = engine
    task(feed_for(task.card, None, size_wh).frame(0))
    shapes = {name: list(array.shape) for name, array in engine.first.items()}
    return open_profile(path, engine.first, threads=threads), {"input_shapes": shapes, "engine_runs": engine.runs}


def open_profile(path: Path, inputs: Inputs, *, threads: int) -> Profile:
    """Open a model under its engine's profiler; where that cannot be, its time as a whole.

    Args:
        path: the file, `.tflite` or `.onnx`; its engine has opened it before.
        inputs: what its engine is given for a frame.
        threads: how many the engine may use.
    """
    if path.suffix.lower() == ".onnx":
        from quietframe_bench.onnx_profile import OnnxProfile

        return OnnxProfile(path, inputs, threads=threads)
    from quietframe_bench.litert_file import tflite_nodes
    from quietframe_bench.litert_profile import LiteRtProfile

    nodes = tflite_nodes(path.read_bytes(), {name: array.shape for name, array in inputs.items()})
    engine = ENGINES[path.suffix.lower()](path, threads=threads)
    declared = {name: engine.inputs[name].as_declared(array) for name, array in inputs.items()}
    try:
        return LiteRtProfile(path, declared, nodes, threads=threads)
    except ProfileUnavailableError as exc:
        return WholeGraph(engine, inputs, nodes, str(exc))


# Columns and tables

_OPERATORS = (
    Column("#", lambda one: one.index),
    Column("operator", lambda one: one.kind, words=True),
    Column("layer", lambda one: one.name, words=True),
    Column("output", lambda one: "×".join(map(str, one.output_shape))),
    Column("ms", lambda one: one.median_ms, ".3f"),
    Column("share", lambda one: one.share, ".1%"),
    Column("MMAC", lambda one: one.macs or None, ".2f", scale=1e-6),
    Column("GMAC/s", lambda one: one.gmacs_per_s, ".1f"),
    Column("GB/s", lambda one: one.gbytes_per_s, ".1f"),
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
    Column("ratio", lambda row: row.tool_over_stopwatch, ".3f", "tool_over_stopwatch"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {ProfileRow: (*WHAT, *_CLOCKS, *CIRCUMSTANCES)}


def tables(rows: Sequence[ProfileRow]) -> list[Table]:
    """Make a table of operators for each row that did not fail; then what each clock says of one run."""
    made = []
    for row in rows:
        if row.error is None:
            title = f"{row.label}; {row.profile_source}; medians of {len(row.runs_ns)} runs"
            if row.engine_runs > 1:
                title += f"; one of the {row.engine_runs} runs that a frame takes"
            made.append(Table(title, _OPERATORS, row.operators, row.notes, details=True))
    title = (
        "one run of the engine in milliseconds, by each clock: medians; stopwatch: as in bench speed; "
        "operators: those of the profile added up; ratio: the engine tool's median over the stopwatch's"
    )
    missing = [f"{row.file}: {row.engine_tool['missing']}" for row in rows if "missing" in row.engine_tool]
    return [*made, Table(title, (*WHAT, *_CLOCKS), rows, list(dict.fromkeys(missing)))]


def draw(rows: Sequence[ProfileRow], _all_rows: Sequence[Row]) -> list[str]:
    """Draw a bar of operators for each row."""
    measured = [row for row in rows if row.error is None]
    return [plots.operators(measured)] if measured else []
