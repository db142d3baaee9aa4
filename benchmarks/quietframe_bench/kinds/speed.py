"""Speed: every model at every size with every number of threads, interleaved in blocks.

Rows of a block are measured in turn, round after round, each in a process of its own, so that a machine that grows slow
or busy meanwhile hurts them alike. What is compared most, the models at one size, stands in a block together. Finished
blocks are handed out, so that an interruption costs no more than the block under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np
from numpy.typing import NDArray

from quietframe.cpu import physical_cores
from quietframe.errors import UsageError
from quietframe_bench import options, plan, plots
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table, table_of_lines
from quietframe_bench.kinds import sustained
from quietframe_bench.machine import machine_now
from quietframe_bench.plan import OnStep, counted, failing, ignore_step
from quietframe_bench.process import Child
from quietframe_bench.results import Results, read_results
from quietframe_bench.rows import Count, Row, Run, SizedRow, StageTimes, Time, differences, set_fields
from quietframe_bench.subject import PERCENTILES, STAGES

ROUNDS = 5
"""Each row is measured in so many rounds, spread over its block."""
BLOCK = 12
"""So many rows are measured in turn; each holds a process with its model."""
NOISY_SPREAD = 0.1
"""Medians of rounds that lie further apart, as a share of the row's, show that the machine did other things, too."""

TITLE = "Speed"
_SAME_MACHINE = ("board", "cpu", "architecture", "physical_cores", "logical_cores")


@dataclass(frozen=True)
class SpeedSettings:
    """How to measure speed.

    Attributes:
        sizes_wh: (width, height) of the frames. Models of a fixed size that frames are resized to run at theirs.
        threads: numbers of CPU threads.
        runs: timed frames for each row, at least.
        min_secs: timed seconds for each row, at least.
        warmup: frames before each round's timed ones; kept, but apart.
        frames: a folder or video to take frames from; None: the bundled photograph with noise.
        video_fps: estimate the noise as in a video of so many frames a second; None: in every frame.
        sustained_s: run each row for so many seconds without a pause, one after the other: `runs`, `min_secs` and
            `warmup` are ignored. None: in rounds, in turn.
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 480),)
    threads: tuple[int, ...] = (1,)
    runs: int = 50
    min_secs: float = 1.0
    warmup: int = 3
    frames: str | None = None
    video_fps: float | None = None
    sustained_s: float | None = None

    @property
    def rounds(self) -> int:
        """How many rounds a row is measured in."""
        if self.sustained_s:
            return ceil(self.sustained_s / sustained.part_s(self.sustained_s))
        return min(ROUNDS, self.runs)


class SpeedRow(SizedRow, kw_only=True, tag="speed"):
    """One model, or classical method, at one size with one number of threads.

    Attributes:
        method, setting: of a classical method, see `quietframe_bench.classical`.
        import_ms, load_ms, first_frame_ms: of the imports, the model file and the first frame in a fresh process.
        macs: multiply-accumulates of one frame.
        gray_frames: whether frames were gray.
        steady_rss_mb, peak_rss_mb: memory of the process.
        stages: for each of `STAGES` its `p50_ms`, `p95_ms` and `p99_ms`.
        total_over_engine_p50, total_over_engine_mean: ratios of the medians and of the means.
        frames_per_s_p50: at the median.
        spread: how far the medians of the rounds lie apart, as a share of the row's; see `NOISY_SPREAD`.
        round_runs: how many of the timed frames each round gave, in order.
        round_health: after each round: `temperature_c`, `throttled` and `clock_mhz`; None where unknown.
        part_from_s, ends_s, first_p50_ms, last_p50_ms: of a run without a pause: when each round began, and see
            `quietframe_bench.kinds.sustained.ends`.
        warmup_ns, samples_ns: the raw times.
    """

    method: str | None = None
    setting: dict[str, float] = msgspec.field(default_factory=dict)
    import_ms: float | None = None
    load_ms: float | None = None
    first_frame_ms: float | None = None
    macs: int | None = None
    gray_frames: bool | None = None
    steady_rss_mb: float | None = None
    peak_rss_mb: float | None = None
    stages: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    total_over_engine_p50: float | None = None
    total_over_engine_mean: float | None = None
    frames_per_s_p50: float | None = None
    spread: float | None = None
    noisy_machine: bool = False
    round_runs: list[Count] = msgspec.field(default_factory=list)
    round_health: list[dict[str, Any]] = msgspec.field(default_factory=list)
    part_from_s: list[float] = msgspec.field(default_factory=list)
    ends_s: float | None = None
    first_p50_ms: float | None = None
    last_p50_ms: float | None = None
    warmup_ns: list[Time] = msgspec.field(default_factory=list)
    samples_ns: StageTimes = msgspec.field(default_factory=StageTimes)

    def __post_init__(self) -> None:
        if self.error is not None:
            return
        of_model = () if self.method else ("model", "precision", "engine")
        for name in ("name", "size_wh", "threads", *of_model):
            if getattr(self, name) is None:
                raise ValueError(f"{name!r} is missing")
        for stage in STAGES:
            if (count := len(getattr(self.samples_ns, stage))) != sum(self.round_runs):
                raise ValueError(f"{count} samples of {stage!r}, but round_runs add up to {sum(self.round_runs)}")

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second while the engine runs."""
        engine_ms = self.p("engine", 50)
        return self.macs / engine_ms / 1e6 if self.macs is not None and engine_ms else None

    @property
    def total_over_engine(self) -> float | None:
        """The ratio of means where some frames are estimated and some are not, else of medians."""
        return self.total_over_engine_mean if self.settings.get("video_fps") else self.total_over_engine_p50

    def p(self, stage: str, percent: int) -> float | None:
        """Return a percentile of a stage in milliseconds; None where it was not measured."""
        return self.stages.get(stage, {}).get(f"p{percent}_ms")

    def rounds_ns(self, stage: str) -> list[NDArray[np.float64]]:
        """Return the times of a stage, round by round."""
        return np.split(np.asarray(getattr(self.samples_ns, stage), np.float64), np.cumsum(self.round_runs)[:-1])

    def finish(self) -> None:
        """Derive the figures from the raw times."""
        total_ns, engine_ns = self.samples_ns.total, self.samples_ns.engine
        if self.error is not None or not total_ns:
            return
        self.stages = {
            stage: {f"p{percent}_ms": float(np.percentile(times_ns, percent)) / 1e6 for percent in PERCENTILES}
            for stage in STAGES
            if (times_ns := getattr(self.samples_ns, stage))
        }
        total_ms, engine_ms = (self.stages[stage]["p50_ms"] for stage in ("total", "engine"))
        self.total_over_engine_p50 = total_ms / engine_ms
        self.total_over_engine_mean = float(np.mean(total_ns) / np.mean(engine_ns))
        self.frames_per_s_p50 = 1000 / total_ms
        self.spread = float(np.ptp(list(map(np.median, self.rounds_ns("total")))) / np.median(total_ns))
        self.noisy_machine = self.spread > NOISY_SPREAD
        if self.part_from_s:
            seconds = self.settings["sustained_s"]
            set_fields(self, sustained.ends(seconds, self.part_from_s, self.rounds_ns("total")))


class SpeedJob(NamedTuple):
    """A row to measure: the model's file, and whether frames are gray (None: as the model takes them)."""

    model: Path | None
    row: SpeedRow
    gray: bool | None = None


def speed(
    models: Sequence[str | Path] = (),
    settings: SpeedSettings | None = None,
    *,
    on_step: OnStep = ignore_step,
    on_block: Callable[[Results], None] = lambda results: None,
    resume: Sequence[Row] = (),
) -> Results:
    """Measure the speed of models, each row in a process of its own.

    Args:
        models: model files or names of built-in ones; without any, all built-in ones.
        settings: how to measure; default: 640×480 with as many threads as physical cores.
        on_step: called with (what, step, steps) as it goes on.
        on_block: called with all rows that there are, whenever a block of them is finished.
        resume: rows of an interrupted run with these settings on this machine; those that did not fail are kept, and so
            are rows of other kinds.

    Returns:
        A row for each model, size and number of threads, in that order, small sizes first; a model that cannot be
        opened gives one row with its error.

    Raises:
        UsageError: the rows to resume were measured otherwise, or on another machine.
    """
    settings = settings or SpeedSettings(threads=(physical_cores(),))
    paths = plan.find_models(models)
    run = Run(settings, rounds=settings.rounds)
    kept = _rows_to_keep(resume, run)
    others = [row for row in resume if not isinstance(row, SpeedRow)]
    done = {_key(row) for row in kept}
    planned = plan.plan_rows(run, SpeedRow, paths, settings.sizes_wh, settings.threads)
    jobs = [SpeedJob(path, row) for path, row in planned if _key(row) not in done]
    places = {path.name: place for place, path in enumerate(paths)}

    def results(rows: Sequence[SpeedRow]) -> Results:
        order = sorted(rows, key=lambda row: (places.get(row.file, len(places)), row.size_wh or (), row.threads or 0))
        return Results([*order, *others])

    measure_speed(jobs, settings, on_step, lambda rows: on_block(results([*kept, *rows])))
    return results([*kept, *(job.row for job in jobs)])


def _rows_to_keep(rows: Sequence[Row], run: Run) -> list[SpeedRow]:
    """Return the rows of an interrupted run that need not be measured again: those that did not fail.

    Raises UsageError if they were measured with other settings, versions or on another machine, or none is of speed.
    """
    of_speed = [row for row in rows if isinstance(row, SpeedRow)]
    if rows and not of_speed:
        raise UsageError("cannot resume, there are no rows of kind 'speed'")
    for row in of_speed:
        for what, before, now, names in (
            ("settings", row.settings, run.settings, row.settings.keys() - {"sizes_wh", "threads"}),
            ("machine", row.machine, run.machine, _SAME_MACHINE),
            ("versions", row.versions, run.versions, row.versions.keys()),
        ):
            if differ := differences(before, now, names):
                raise UsageError(f"cannot resume, other {what} ({differ}): write to another file")
    return [row for row in of_speed if row.error is None]


def _key(row: SpeedRow) -> tuple[Any, ...]:
    return row.sha256, row.size_wh, row.threads


def measure_speed(
    jobs: Sequence[SpeedJob],
    settings: SpeedSettings,
    on_step: OnStep = ignore_step,
    on_block: Callable[[Sequence[SpeedRow]], None] = lambda rows: None,
) -> None:
    """Measure rows, block by block; `on_block` is called with those that are finished. See `speed`."""
    by_size = sorted(jobs, key=lambda job: job.row.size_wh or (0, 0))
    step = counted(on_step, len(jobs) * (settings.rounds + 1))
    block = 1 if settings.sustained_s else BLOCK
    for start in range(0, len(by_size), block):
        _measure_block(by_size[start : start + block], settings, step)
        on_block([job.row for job in by_size[: start + block]])


def _measure_block(jobs: Sequence[SpeedJob], settings: SpeedSettings, on_step: Callable[[str], None]) -> None:
    with ExitStack() as stack:
        opened: list[tuple[SpeedRow, Child]] = []
        for job in jobs:
            on_step(f"open {job.row.file}")
            if job.row.error is None:
                child = stack.enter_context(Child())
                with failing(job.row):
                    names = ("task", "size_wh", "threads", "method", "setting")
                    what = {"model": job.model, "gray": job.gray, **{name: getattr(job.row, name) for name in names}}
                    how = {"frames": settings.frames, "video_fps": settings.video_fps}
                    set_fields(job.row, child.call("subject:TimedModel", **what, **how))
                    opened.append((job.row, child))
        begun_s = monotonic()
        for turn in range(settings.rounds):
            # Every other round goes backwards, so that none always follows the same.
            for row, child in opened if turn % 2 == 0 else opened[::-1]:
                on_step(f"measure {row.file}")
                if row.error is None:
                    with failing(row):
                        _measure_round(row, child, settings, turn, monotonic() - begun_s)
        for row, child in opened:
            if row.error is None:
                with failing(row):
                    set_fields(row, child.call("subject:memory"))
    for job in jobs:
        job.row.finish()


def _measure_round(row: SpeedRow, child: Child, settings: SpeedSettings, turn: int, from_s: float) -> None:
    how = {"warmup": settings.warmup, "runs": share_of(settings.runs, settings.rounds, turn)}
    min_secs = settings.min_secs / settings.rounds
    if settings.sustained_s:
        if from_s >= settings.sustained_s:  # frames that take long make longer parts, and fewer
            return
        how = {"warmup": 0, "runs": 1}
        min_secs = min(sustained.part_s(settings.sustained_s), settings.sustained_s - from_s)
        row.part_from_s.append(from_s)
    times = child.call("subject:TimedModel.time", **how, min_secs=min_secs)
    row.warmup_ns += times["warmup_ns"]
    row.samples_ns.extend(times["stages_ns"])
    row.round_runs.append(len(times["stages_ns"]["total"]))
    row.round_health.append(machine_now())


def share_of(runs: int, rounds: int, turn: int) -> int:
    """Return how many of so many runs one of the rounds has."""
    return runs // rounds + (turn < runs % rounds)


# Columns and tables


def _percentile(stage: str, percent: int, head: str, *, shown: bool = True) -> Column:
    return Column(head, lambda row: row.p(stage, percent), ".2f", f"{stage}_p{percent}_ms", shown=shown)


_TIMES = (
    _percentile("engine", 50, "engine ms"),
    _percentile("total", 50, "total ms"),
    *(_percentile("total", percent, f"p{percent} ms") for percent in PERCENTILES[1:]),
    Column("fps", "frames_per_s_p50", ".1f"),
    Column("spread", "spread", ".1%", marked=lambda row: row.noisy_machine),
)
_BESIDE = (
    _percentile("pre", 50, "pre ms"),
    _percentile("post", 50, "post ms"),
    Column("total/engine", "total_over_engine", ".3f"),
    Column("load ms", "load_ms", ".1f"),
    Column("first ms", "first_frame_ms", ".1f"),
)
_COSTS = (
    Column("peak MB", "peak_rss_mb", ".0f"),
    Column("steady MB", "steady_rss_mb", ".0f"),
    Column("file MB", lambda row: row.model and row.model.file_bytes, ".3f", "file_bytes", scale=1e-6),
    Column("MMAC", "macs", ".0f", scale=1e-6),
    Column("GMAC/s", "gmacs_per_s", ".1f"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {
    SpeedRow: (
        *WHAT,
        Column("width", lambda row: row.size_wh and row.size_wh[0], name="width"),
        Column("height", lambda row: row.size_wh and row.size_wh[1], name="height"),
        *(Column(name, name) for name in ("name", "precision", "engine", "task", "parameters", "import_ms")),
        Column("noisy_machine", "noisy_machine"),
        *(_percentile(stage, percent, "") for stage in STAGES for percent in PERCENTILES),
        *_TIMES[4:],
        *_BESIDE[2:],
        *_COSTS,
        *sustained.COLUMNS,
        Column("runs", lambda row: sum(row.round_runs), name="runs"),
        *CIRCUMSTANCES,
    )
}


def tables(rows: Sequence[SpeedRow]) -> list[Table]:
    """Make the tables of times, costs, and growth with pixels and threads."""
    times = (
        f"medians of a frame; spread: how far the medians of its rounds differ, marked above {NOISY_SPREAD:.0%}: "
        "other work, heat or a changing clock was measured, too"
    )
    beside = "beside the engine: before and after it, loading, and the first frame in a fresh process"
    if any(row.settings.get("video_fps") for row in rows):
        beside += "; the noise is estimated as in a video, now and then: total/engine is the ratio of means"
    measured = [row for row in rows if row.error is None]
    return [
        Table(times, (*WHAT, *_TIMES), rows),
        Table(beside, (*WHAT, *_BESIDE), measured),
        Table("peak and last memory of its process, and the work of one frame", (*WHAT, *_COSTS), measured),
        *growth_tables(measured),
        *sustained.tables(measured),
    ]


def growth_tables(rows: Sequence[SpeedRow]) -> list[Table]:
    """Make the tables of how times grow with pixels and threads; none of what was measured at one of them alone."""
    exponents = [[*key, f"{exponent:.2f}"] for key, exponent in pixel_exponents(rows).items()]
    gains = speedups(rows)
    counts = sorted({count for gain in gains.values() for count in gain})
    by_threads = [[*key, *(f"{gain[n]:.2f}" if n in gain else "" for n in counts)] for key, gain in gains.items()]
    heads = "model", "size", *(f"{n} threads" for n in counts)
    made = [
        table_of_lines("time grows with pixels to the power of", ("model", "threads", "exponent"), exponents),
        table_of_lines("speedup over the fewest threads", heads, by_threads),
    ]
    return [table for table in made if table.rows]


def pixel_exponents(rows: Sequence[SpeedRow]) -> dict[tuple[str, int], float]:
    """Return the power of the number of pixels with which the median total time grows, by model and threads.

    A least-squares line through the logarithms; of models that were measured at two sizes or more. 1: twice the pixels
    take twice the time; below 1, part of the time is the same for all sizes; above 1, caches overflow.
    """
    found = {}
    for key, group in _groups(rows, lambda row: (row.file, row.threads)).items():
        pixels = [row.size_wh[0] * row.size_wh[1] for row in group if row.size_wh]
        if len(set(pixels)) > 1:
            found[key] = float(np.polyfit(np.log(pixels), np.log([row.p("total", 50) for row in group]), 1)[0])
    return found


def speedups(rows: Sequence[SpeedRow]) -> dict[tuple[str, str], dict[int, float]]:
    """Return by model and size how many times faster each number of threads is than the fewest."""
    found = {}
    for key, group in _groups(rows, lambda row: (row.file, row.size)).items():
        times_ms = {row.threads: row.p("total", 50) for row in sorted(group, key=lambda row: row.threads or 0)}
        (_, first_ms), *more = times_ms.items()
        if more:
            found[key] = {threads: first_ms / ms for threads, ms in more}
    return found


def _groups(rows: Sequence[SpeedRow], key: Callable[[SpeedRow], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[SpeedRow]] = {}
    for row in rows:
        if row.error is None:
            groups.setdefault(key(row), []).append(row)
    return groups


def draw(rows: Sequence[SpeedRow], _all_rows: Sequence[Row]) -> list[str]:
    """Draw the distribution of latencies, time against pixels, and over runs without a pause."""
    measured = [row for row in rows if row.error is None]
    grown = pixel_exponents(measured)
    growing = [row for row in measured if (row.file, row.threads) in grown]
    long = [row for row in measured if row.ends_s]
    drawn = (plots.latencies, measured), (plots.growth, growing), (plots.sustained, long)
    return [draw(some) for draw, some in drawn if some]


def fastest_ms(rows: Sequence[Row]) -> dict[str, float]:
    """Return by the hash of a model's file its median total time at the first size, with its fastest threads."""
    measured = [row for row in rows if isinstance(row, SpeedRow) and row.model and row.stages]
    return {
        sha256: min(row.p("total", 50) or 0.0 for row in of if row.size_wh == of[0].size_wh)
        for sha256, of in _groups(measured, lambda row: row.sha256).items()
    }


# The command


@click.command()
@options.models_argument
@options.sizes_option
@options.threads_option
@options.number("--runs", 50, "Timed frames a row, at least.", low=1)
@options.number("--min-secs", 1.0, "Timed seconds a row, at least.")
@options.number("--warmup", 3, "Frames before each round; kept apart.")
@click.option("--as-video", is_flag=True, help="Estimate the noise as in a video of --fps frames a second.")
@options.number("--fps", 30.0, "With --as-video: its rate.", low=0.1, high=1000)
@click.option("--frames", metavar="FOLDER|VIDEO", help="Your own frames.  [default: a photograph with noise]")
@click.option("--resume", is_flag=True, help="Keep the rows that the --out file holds, and measure the others.")
@click.option(
    "--sustained",
    "sustained_s",
    type=click.FloatRange(min=2),
    metavar="SECONDS",
    help="Run each model for so long without a pause: does it slow down when the machine gets hot?",
)
@options.output_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    models: tuple[str, ...],
    as_video: bool,
    fps: float,
    resume: bool,
    sustained_s: float | None,
    on_step: OnStep,
    **grid: Any,
) -> Results:
    """Measure the time of each stage of a frame, over the grid of models, sizes and threads.

    Frames differ in every iteration; rows are measured in turn, each in a process of its own.
    """
    if not as_video:
        options.reject(ctx, ["fps"], "goes with --as-video")
    if sustained_s is not None:
        options.reject(ctx, ["runs", "min_secs", "warmup"], "does not go with --sustained")
    if resume and "out" not in ctx.obj:
        raise UsageError("--resume needs the file with the rows: name it with --out FILE")
    settings = SpeedSettings(video_fps=fps if as_video else None, sustained_s=sustained_s, **grid)
    options.warn_if_busy(models)
    target = ctx.obj.get("out")
    before = read_results(target) if resume and target and target.exists() else []
    finished = 0

    def keep(results: Results) -> None:
        nonlocal finished
        finished = len(results)
        if target:
            results.to_json(target, overwrite=True)

    try:
        results = speed(models, settings, on_step=on_step, on_block=keep, resume=before)
    except KeyboardInterrupt:
        if target and finished:
            options.warn(f"{target} holds {finished} rows: --resume continues")
        raise
    if noisy := dict.fromkeys(row.file for row in results if isinstance(row, SpeedRow) and row.noisy_machine):
        options.warn(f"noisy machine: rounds differ in {', '.join(noisy)}")
    return results
