"""The operators of models: what each costs, beside the stopwatch and the engines' own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from quietframe_bench.operators.own_tool import LITERT_BENCHMARK, ToolError, run_litert_benchmark
from quietframe_bench.process import Child, ChildError
from quietframe_bench.speed import grid_of
from quietframe_bench.timing import Samples, percentiles_ms

ROUNDS = 3
"""Stopwatch, profiler and the engine's own tool take turns so many times."""

REST = "between operators"
"""What of a profiled run no operator accounts for: the engine's way between them, and the profiler's own work."""

_SAME_WORK = 0.01

OnStep = Callable[[str, int, int], None]


@dataclass(frozen=True)
class OperatorSettings:
    """How to measure.

    Attributes:
        sizes_wh: (width, height) of the frames. Models of a fixed size that frames are resized to run at theirs.
        threads: numbers of CPU threads.
        runs: timed runs by each clock.
        warmup: runs before each round's timed ones.
        own_tool: run the engine's own tool, too.
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 480),)
    threads: tuple[int, ...] = (1,)
    runs: int = 50
    warmup: int = 3
    own_tool: bool = True


@dataclass
class OperatorRow:
    """One model at one size with one number of threads.

    Attributes:
        model: the file.
        size_wh, threads: what was asked for; None where the model failed before that mattered.
        facts: what the model says of itself, and the shapes that its engine is given.
        samples: the stopwatch's times of calls without a profiler.
        profiled: the profiler's findings, as of `Profiled.as_record`.
        tool: what the engine's own tool says: `name`, and its figures or `missing`.
        error: why the row failed.
    """

    model: Path
    size_wh: tuple[int, int] | None = None
    threads: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    samples: Samples = field(default_factory=Samples)
    profiled: dict[str, Any] = field(default_factory=dict)
    tool: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run, added up over the operators."""
        return sum(operator["macs"] or 0 for operator in self.profiled["operators"])

    def operators(self) -> list[dict[str, Any]]:
        """Each operator's figures, and what lies between them; empty if the row failed.

        `median_ms`, `mean_ms` and `min_ms` of a run, its `share` of all operators (of their medians), `macs`, `bytes`,
        and where they are known `gmacs_per_s` and `gbytes_per_s` at the median.
        """
        if self.error:
            return []
        found = [dict(operator) for operator in self.profiled["operators"]]
        rest_ns = np.array(self.profiled["runs_ns"]) - np.sum([one["samples_ns"] for one in found], axis=0)
        found.append({"kind": REST, "name": "", "output_shape": [], "macs": 0, "bytes": None})
        found[-1]["samples_ns"] = np.maximum(rest_ns, 0).tolist()  # XNNPACK's clock ticks in microseconds
        medians_ms = [median(one["samples_ns"]) / 1e6 for one in found]
        all_ms = sum(medians_ms[:-1]) or 1.0
        for index, (one, median_ms) in enumerate(zip(found, medians_ms, strict=True)):
            one |= {
                "index": index,
                "median_ms": median_ms,
                "mean_ms": mean(one["samples_ns"]) / 1e6,
                "min_ms": min(one["samples_ns"]) / 1e6,
                "share": None if one["kind"] == REST else median_ms / all_ms,
                "gmacs_per_s": one["macs"] / median_ms / 1e6 if one["macs"] and median_ms else None,
                "gbytes_per_s": one["bytes"] / median_ms / 1e6 if one["bytes"] and median_ms else None,
            }
        return found

    def clocks(self) -> dict[str, float | None]:
        """What one run of the engine takes in milliseconds, by each clock; empty if the row failed.

        `stopwatch` is the figure of `quietframe bench`, `profiler` a whole profiled run and `operators` the operators
        in it: medians. `tool` and `tool_avg` are the median and average of the engine's own tool. Each is of one run:
        a frame in tiles has several.
        """
        if self.error:
            return {}
        each_ns = np.sum([one["samples_ns"] for one in self.profiled["operators"]], axis=0)
        return {
            "stopwatch": percentiles_ms(self.samples.stages_ns["engine"])["p50_ms"] / self.facts["engine_runs"],
            "profiler": median(self.profiled["runs_ns"]) / 1e6,
            "operators": float(np.median(each_ns)) / 1e6,
            "tool": self.tool.get("median_ms"),
            "tool_avg": self.tool.get("avg_ms"),
        }

    def as_record(self) -> dict[str, Any]:
        """The row for JSON, with its raw samples."""
        return {
            "size_wh": self.size_wh,
            "threads": self.threads,
            "error": self.error,
            **self.facts,
            "clocks_ms": self.clocks(),
            "own_tool": self.tool,
            "operators": self.operators(),
            "profile_source": self.profiled.get("source"),
            "notes": self.profiled.get("notes", []),
            "runs_ns": self.profiled.get("runs_ns", []),
            "warmup_ns": self.samples.warmup_ns,
            "samples_ns": self.samples.stages_ns,
        }


def measure_operators(
    models: Sequence[Path], settings: OperatorSettings, on_step: OnStep = lambda text, step, steps: None
) -> list[OperatorRow]:
    """Measure the operators of models, each row in a process of its own.

    Args:
        models: model files.
        settings: how to measure.
        on_step: told (what, step, steps) as it goes on.

    Returns:
        A row for each model, size and number of threads, in that order; a model that cannot be opened gives one row
        with its error.
    """
    rows = [row for model in models for row in _plan(model, settings)]
    for step, row in enumerate(rows):
        on_step(f"operators of {row.model.name}", step, len(rows))
        if row.error is None:
            try:
                _measure(row, settings)
            except ChildError as exc:
                row.error = str(exc)
    return rows


def engines_own_time(
    model: Path, size_wh: tuple[int, int], *, threads: int, runs: int = 50, warmup: int = 3
) -> dict[str, float | None]:
    """What one run of a model's engine takes by the stopwatch, by its profiler and by its own tool, in turn.

    Returns the milliseconds of `OperatorRow.clocks`. Raises ChildError if the model cannot be measured.
    """
    (row,) = measure_operators([model], OperatorSettings((size_wh,), (threads,), runs, warmup))
    if row.error:
        raise ChildError(row.error)
    return row.clocks()


def _plan(model: Path, settings: OperatorSettings) -> list[OperatorRow]:
    """The rows of one model; one with its error if it cannot be opened."""
    try:
        return [OperatorRow(model, *cell) for cell in grid_of(model, settings.sizes_wh, settings.threads)]
    except ChildError as exc:
        return [OperatorRow(model, error=str(exc))]


def _measure(row: OperatorRow, settings: OperatorSettings) -> None:
    what = {"model": str(row.model), "task": row.facts["task"], "size_wh": row.size_wh, "threads": row.threads}
    shares = [settings.runs // ROUNDS + (index < settings.runs % ROUNDS) for index in range(ROUNDS)]
    said: list[dict[str, Any]] = []
    with Child() as child, tempfile.TemporaryDirectory(prefix="quietframe-operators-") as folder:
        row.facts["card_macs"] = child.ask("open", **what, frames=None)["macs"]
        row.facts |= child.ask("profile", **what)
        copy = _copy(row, child, Path(folder)) if settings.own_tool else None
        for runs in filter(None, shares):
            row.samples.extend(Samples(**child.ask("block", warmup=settings.warmup, runs=runs, min_secs=0)))
            child.ask("profile_block", warmup=settings.warmup, runs=runs)
            if copy and "missing" not in row.tool:
                _ask_tool(row, copy, settings, runs, said)
        row.profiled = child.ask("profile_result")
    _check_work(row)
    if said:
        row.tool |= {
            "avg_ms": sum(one["avg_ms"] * one["num_runs"] for one in said) / sum(one["num_runs"] for one in said),
            "median_ms": median(one["median_ms"] for one in said),
            "rounds": said,
        }
    elif settings.own_tool and row.model.suffix.lower() == ".onnx":
        runs_ns = row.profiled["runs_ns"]
        figures = {"avg_ms": mean(runs_ns) / 1e6, "median_ms": median(runs_ns) / 1e6}
        row.tool = {"name": "ONNX Runtime's profile", **figures}


def _check_work(row: OperatorRow) -> None:
    """Note where the operators' work is not what the card says, layers that run once a frame aside."""
    found, said = row.macs * row.facts["engine_runs"], row.facts["card_macs"]
    if abs(found - said) > _SAME_WORK * max(found, said):
        row.profiled["notes"].append(
            f"operators: {found / 1e6:.4g} MMAC a frame; the model card: {said / 1e6:.4g} MMAC"
        )


def _copy(row: OperatorRow, child: Child, folder: Path) -> Path | None:
    """A copy of the model for LiteRT's tool, of the size that it runs at here; None for other engines."""
    if row.model.suffix.lower() != ".tflite":
        return None
    copy = folder / row.model.name
    child.ask("copy_at_size", model=str(row.model), shapes=row.facts["input_shapes"], target=str(copy))
    return copy


def _ask_tool(row: OperatorRow, copy: Path, settings: OperatorSettings, runs: int, said: list[dict[str, Any]]) -> None:
    row.tool["name"] = LITERT_BENCHMARK
    try:
        said.append(run_litert_benchmark(copy, threads=row.threads or 1, warmup=settings.warmup, runs=runs))
    except ToolError as exc:
        row.tool["missing"] = str(exc)
        said.clear()


def settings_record(settings: OperatorSettings) -> dict[str, Any]:
    """The settings for JSON."""
    return asdict(settings) | {"rounds": ROUNDS}
