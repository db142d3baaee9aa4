"""Speed: every model at every size with every number of threads, interleaved in blocks.

Rows of a block are measured in turn, round after round, each in a process of its own, so that a machine that grows slow
or busy meanwhile hurts them alike. What is compared most, the models at one size, stands in a block together. Finished
blocks are handed out, so that an interruption costs no more than the block under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np

from quietframe.errors import UsageError
from quietframe_bench import options, plan, plots
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.kinds.sustained import SustainedSettings, sustained
from quietframe_bench.machine import machine_now
from quietframe_bench.plan import OnStep, all_cores, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.results import Results, read_results
from quietframe_bench.rows import Count, Row, Run, SizedRow, StageTimes, Time, set_fields, utc_now
from quietframe_bench.timing import PERCENTILES, STAGES, percentiles_ms

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
    """

    sizes_wh: tuple[tuple[int, int], ...] = ((640, 480),)
    threads: tuple[int, ...] = (1,)
    runs: int = 50
    min_secs: float = 1.0
    warmup: int = 3
    frames: str | None = None
    video_fps: float | None = None

    @property
    def rounds(self) -> int:
        """How many rounds a row is measured in."""
        return min(ROUNDS, self.runs)


class SpeedRow(SizedRow, kw_only=True, tag="speed"):
    """One model at one size with one number of threads.

    Attributes:
        import_ms, load_ms, first_frame_ms: of the imports, the model file and the first frame in a fresh process.
        macs: multiply-accumulates of one frame.
        gray_frames: whether frames were gray.
        rss_before_first_frame_mb, steady_rss_mb, peak_rss_mb: memory of the process.
        stages: for each of `STAGES` its `p50_ms`, `p95_ms` and `p99_ms`.
        total_over_engine_p50, total_over_engine_mean: ratios of the medians and of the means.
        frames_per_s_p50: at the median.
        spread: how far the medians of the rounds lie apart, as a share of the row's; see `NOISY_SPREAD`.
        round_runs: how many of the timed frames each round gave, in order.
        round_health: after each round: `temperature_c`, `throttled` and `clock_mhz`; None where unknown.
        warmup_ns, samples_ns: the raw times.
    """

    import_ms: float | None = None
    load_ms: float | None = None
    first_frame_ms: float | None = None
    macs: int | None = None
    gray_frames: bool | None = None
    rss_before_first_frame_mb: float | None = None
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
    warmup_ns: list[Time] = msgspec.field(default_factory=list)
    samples_ns: StageTimes = msgspec.field(default_factory=StageTimes)

    def __post_init__(self) -> None:
        if self.error is not None:
            return
        for name in ("model", "name", "precision", "engine", "size_wh", "threads"):
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

    def finish(self) -> None:
        """Derive the figures from the raw times."""
        self.finished_utc = utc_now()
        if self.error is not None or not self.samples_ns.total:
            return
        set_fields(self, stage_figures(self.samples_ns))
        self.spread = spread_of(self.samples_ns.total, self.round_runs)
        self.noisy_machine = self.spread > NOISY_SPREAD


@dataclass
class SpeedJob:
    """A row to measure, and the path of its model."""

    path: Path
    row: SpeedRow


def speed(
    models: Sequence[str | Path] = (),
    settings: SpeedSettings | None = None,
    *,
    on_step: OnStep = ignore_step,
    on_block: Callable[[Sequence[SpeedRow]], None] = lambda rows: None,
    resume: Sequence[Row] = (),
) -> Results:
    """Measure the speed of models, each row in a process of its own.

    Args:
        models: model files or names of built-in ones; without any, all built-in ones.
        settings: how to measure; default: 640×480 with as many threads as physical cores.
        on_step: called with (what, step, steps) as it goes on.
        on_block: called with the rows of each block when it is finished.
        resume: rows of an interrupted run with these settings on this machine; those that did not fail are kept.

    Returns:
        A row for each model, size and number of threads, in that order, small sizes first; a model that cannot be
        opened gives one row with its error.

    Raises:
        UsageError: the rows to resume were measured otherwise, or on another machine.
    """
    settings = settings or SpeedSettings(threads=all_cores())
    paths = plan.find_models(models)
    run = speed_run(settings)
    kept = rows_to_keep(resume, run)
    done = {_key(row) for row in kept}
    jobs = [job for path in paths for job in plan_jobs(run, path, settings) if _key(job.row) not in done]
    measure_speed(jobs, settings, on_step, on_block)
    order = {path.name: index for index, path in enumerate(paths)}
    rows = [*kept, *(job.row for job in jobs)]
    rows.sort(key=lambda row: (order.get(row.file, len(order)), row.size_wh or (), row.threads or 0))
    return Results(rows)


def speed_run(settings: SpeedSettings) -> Run:
    """Note the circumstances of a run."""
    return Run(settings, rounds=settings.rounds)


def rows_to_keep(rows: Sequence[Row], run: Run) -> list[SpeedRow]:
    """Return the rows of an interrupted run that need not be measured again: those that did not fail.

    Raises UsageError if they were measured with other settings, versions or on another machine, or none is of speed.
    """
    of_speed = [row for row in rows if isinstance(row, SpeedRow)]
    if rows and not of_speed:
        raise UsageError("cannot resume, there are no rows of kind 'speed'")
    for row in of_speed:
        if difference := _difference(row, run):
            raise UsageError(f"cannot resume, {difference}: write to another file")
    return [row for row in of_speed if row.error is None]


def _difference(row: SpeedRow, run: Run) -> str | None:
    """Return what a row has that a run has not; None if they belong together."""
    ours = msgspec.to_builtins(run.settings)
    for name, value in row.settings.items():
        if name not in ("sizes_wh", "threads") and value != ours.get(name):
            return f"{name} was {value!r} and is {ours.get(name)!r}"
    for name in _SAME_MACHINE:
        if row.machine.get(name) != run.machine[name]:
            return f"the machine's {name} was {row.machine.get(name)!r} and is {run.machine[name]!r}"
    for name, version in row.versions.items():
        if version != run.versions.get(name):
            return f"{name} was {version} and is {run.versions.get(name, 'not installed')}"
    return None


def _key(row: SpeedRow) -> tuple[Any, ...]:
    return row.model.sha256 if row.model else None, row.size_wh and tuple(row.size_wh), row.threads


def plan_jobs(run: Run, path: Path, settings: SpeedSettings) -> list[SpeedJob]:
    """Make the rows of one model; one with its error if it cannot be opened."""
    return [SpeedJob(path, row) for row in plan.plan_rows(run, SpeedRow, path, settings.sizes_wh, settings.threads)]


def measure_speed(
    jobs: Sequence[SpeedJob],
    settings: SpeedSettings,
    on_step: OnStep = ignore_step,
    on_block: Callable[[Sequence[SpeedRow]], None] = lambda rows: None,
) -> None:
    """Measure rows, block by block. See `speed`."""
    by_size = sorted(jobs, key=lambda job: job.row.size_wh or (0, 0))
    steps = len(jobs) * (settings.rounds + 1)
    progress = iter(range(steps))
    for start in range(0, len(by_size), BLOCK):
        block = by_size[start : start + BLOCK]
        _measure_block(block, settings, lambda text: on_step(text, next(progress), steps))
        for job in block:
            job.row.finish()
        on_block([job.row for job in block])


def _measure_block(jobs: Sequence[SpeedJob], settings: SpeedSettings, on_step: Callable[[str], None]) -> None:
    with ExitStack() as stack:
        opened: list[tuple[SpeedJob, Child]] = []
        for job in jobs:
            on_step(f"open {job.path.name}")
            if job.row.error is None:
                child = stack.enter_context(Child())
                if open_job(job, child, settings):
                    opened.append((job, child))
        for runs, order in rounds_of(opened, settings.runs):
            for job, child in order:
                on_step(f"measure {job.path.name}")
                if job.row.error is None:
                    _measure_round(job.row, child, settings, runs)
                    job.row.round_health.append(machine_now())
        for job, child in opened:
            if job.row.error is None:
                set_fields(job.row, child.call("subject:memory"))


def open_job(job: SpeedJob, child: Child, settings: SpeedSettings) -> bool:
    """Load a row's model in a process; return whether that worked. Its facts, or its error, go into the row."""
    row = job.row
    what = {"model": job.path, "task": row.task, "size_wh": row.size_wh, "threads": row.threads}
    try:
        facts = child.call("subject:TimedModel", **what, frames=settings.frames, video_fps=settings.video_fps)
    except ChildError as exc:
        row.error = str(exc)
        return False
    set_fields(row, facts)
    return True


def rounds_of(subjects: Sequence[Any], runs: int) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield runs and order of each round; every other one goes backwards, so that none always follows the same."""
    rounds = min(ROUNDS, runs)
    for index in range(rounds):
        yield runs // rounds + (index < runs % rounds), subjects if index % 2 == 0 else subjects[::-1]


def _measure_round(row: SpeedRow, child: Child, settings: SpeedSettings, runs: int) -> None:
    min_secs = settings.min_secs / settings.rounds
    try:
        times = child.call("subject:TimedModel.time", warmup=settings.warmup, runs=runs, min_secs=min_secs)
    except ChildError as exc:
        row.error = str(exc)
        return
    row.warmup_ns += times["warmup_ns"]
    row.samples_ns.extend(times["stages_ns"])
    row.round_runs.append(len(times["stages_ns"]["total"]))


def stage_figures(samples_ns: StageTimes) -> dict[str, Any]:
    """Return percentiles of each stage, and what is not the engine's."""
    stages = {stage: percentiles_ms(getattr(samples_ns, stage)) for stage in STAGES}
    total_ms, engine_ms = stages["total"]["p50_ms"], stages["engine"]["p50_ms"]
    return {
        "stages": stages,
        "total_over_engine_p50": total_ms / engine_ms,
        "total_over_engine_mean": float(np.mean(samples_ns.total) / np.mean(samples_ns.engine)),
        "frames_per_s_p50": 1000 / total_ms,
    }


def spread_of(samples_ns: Sequence[int], round_runs: Sequence[int]) -> float:
    """Return how far the medians of the rounds lie apart, as a share of the median of all."""
    rounds = np.split(np.asarray(samples_ns), np.cumsum(round_runs)[:-1])
    return float(np.ptp([np.median(times) for times in rounds]) / np.median(samples_ns))


# Columns and tables


def _p50(stage: str, *, shown: bool = True) -> Column:
    return Column(f"{stage} ms", lambda row: row.p(stage, 50), ".2f", f"{stage}_p50_ms", shown=shown)


def _percentile(stage: str, percent: int) -> Column:
    return Column(
        f"p{percent} ms", lambda row: row.p(stage, percent), ".2f", f"{stage}_p{percent}_ms", shown=stage == "total"
    )


_TIMES = (
    _p50("engine"),
    _p50("total"),
    *(_percentile("total", percent) for percent in PERCENTILES[1:]),
    Column("fps", lambda row: row.frames_per_s_p50, ".1f", "frames_per_s_p50"),
    Column("spread", lambda row: row.spread, ".1%", "spread", marked=lambda row: row.noisy_machine),
)
_BESIDE = (
    _p50("pre"),
    _p50("post"),
    Column("total/engine", lambda row: row.total_over_engine, ".3f", "total_over_engine"),
    Column("load ms", lambda row: row.load_ms, ".1f", "load_ms"),
    Column("first ms", lambda row: row.first_frame_ms, ".1f", "first_frame_ms"),
)
_COSTS = (
    Column("peak MB", lambda row: row.peak_rss_mb, ".0f", "peak_rss_mb"),
    Column("steady MB", lambda row: row.steady_rss_mb, ".0f", "steady_rss_mb"),
    Column("file MB", lambda row: row.model.file_bytes, ".3f", "file_bytes", scale=1e-6),
    Column("MMAC", lambda row: row.macs, ".0f", "macs", scale=1e-6),
    Column("GMAC/s", lambda row: row.gmacs_per_s, ".1f", "gmacs_per_s"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {
    SpeedRow: (
        *(replace(column, name=column.name or column.head) for column in WHAT),
        Column("width", lambda row: row.size_wh and row.size_wh[0], name="width"),
        Column("height", lambda row: row.size_wh and row.size_wh[1], name="height"),
        *(
            Column(name, lambda row, name=name: getattr(row, name), name=name)  # type: ignore[misc]
            for name in ("name", "precision", "engine", "task", "parameters", "import_ms", "noisy_machine")
        ),
        *(_percentile(stage, percent) for stage in STAGES for percent in PERCENTILES),
        *_TIMES[4:],
        *_BESIDE[2:],
        *_COSTS,
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
    ]


class Growth(NamedTuple):
    """How the time of one model grows with pixels, at one number of threads."""

    file: str
    threads: int
    exponent: float


class Speedup(NamedTuple):
    """How much faster one model is with more threads, at one size."""

    file: str
    size: str
    by_threads: Mapping[int, float]


def growth_tables(rows: Sequence[SpeedRow]) -> list[Table]:
    """Make the tables of both; nothing where there is one size and one number of threads."""
    exponents, gains = pixel_exponents(rows), speedups(rows)
    model = Column("model", lambda one: one.file)
    counts = sorted({count for one in gains for count in one.by_threads})
    made = [
        Table(
            "time grows with pixels to the power of",
            (model, Column("threads", lambda one: one.threads), Column("exponent", lambda one: one.exponent, ".2f")),
            exponents,
        ),
        Table(
            "speedup over the fewest threads",
            (
                model,
                Column("size", lambda one: one.size),
                *(
                    Column(f"{count} threads", lambda one, count=count: one.by_threads.get(count), ".2f")  # type: ignore[misc]
                    for count in counts
                ),
            ),
            gains,
        ),
    ]
    return [table for table in made if table.rows]


def pixel_exponents(rows: Sequence[SpeedRow]) -> list[Growth]:
    """Return the power of the number of pixels with which the median total time grows, by model and threads.

    A least-squares line through the logarithms; of models that were measured at two sizes or more. 1: twice the pixels
    take twice the time; below 1, part of the time is the same for all sizes; above 1, caches overflow.
    """
    found = []
    for (file, threads), group in _groups(rows, lambda row: (row.file, row.threads)).items():
        pixels = [row.size_wh[0] * row.size_wh[1] for row in group if row.size_wh]
        if len(set(pixels)) > 1:
            slope, _ = np.polyfit(np.log(pixels), np.log([row.p("total", 50) or np.nan for row in group]), 1)
            found.append(Growth(file, threads, float(slope)))
    return found


def speedups(rows: Sequence[SpeedRow]) -> list[Speedup]:
    """Return for each model and size how many times faster each number of threads is than the fewest."""
    found = []
    for (file, size), group in _groups(rows, lambda row: (row.file, row.size)).items():
        first, *more = sorted(group, key=lambda row: row.threads or 0)
        if more:
            base_ms = first.p("total", 50) or np.nan
            gains = {row.threads or 0: base_ms / (row.p("total", 50) or np.nan) for row in more}
            found.append(Speedup(file, size, gains))
    return found


def _groups(rows: Sequence[SpeedRow], key: Callable[[SpeedRow], Any]) -> dict[Any, list[SpeedRow]]:
    groups: dict[Any, list[SpeedRow]] = {}
    for row in rows:
        if row.error is None:
            groups.setdefault(key(row), []).append(row)
    return groups


def draw(rows: Sequence[SpeedRow], _all_rows: Sequence[Row]) -> list[str]:
    """Draw the distribution of latencies, and time against pixels."""
    measured = [row for row in rows if row.error is None]
    grown = {(one.file, one.threads) for one in pixel_exponents(measured)}
    growing = [row for row in measured if (row.file, row.threads) in grown]
    return [
        *([plots.latencies(measured)] if measured else []),
        *([plots.growth(growing)] if growing else []),
    ]


def fastest_ms(rows: Sequence[Row]) -> dict[str, float]:
    """Return by the hash of a model's file its median total time at the first size, with its fastest threads."""
    times: dict[str, tuple[Any, float]] = {}
    for row in rows:
        if isinstance(row, SpeedRow) and row.model and (ms := row.p("total", 50)) is not None:
            first_size, best_ms = times.get(row.model.sha256, (row.size_wh, ms))
            times[row.model.sha256] = first_size, min(best_ms, ms) if row.size_wh == first_size else best_ms
    return {sha256: ms for sha256, (_, ms) in times.items()}


# The command


@click.command(short_help="Measure the time of each stage of a frame.")
@options.models_argument
@options.sizes_option
@options.threads_option
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Timed frames a row, at least.")
@click.option(
    "--min-secs", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Timed seconds a row, at least."
)
@click.option(
    "--warmup", type=click.IntRange(min=0), default=3, show_default=True, help="Frames before each round; kept apart."
)
@click.option("--as-video", is_flag=True, help="Estimate the noise as in a video of --fps frames a second.")
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=1000),
    default=30.0,
    show_default=True,
    help="With --as-video: its rate.",
)
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
    sizes_wh: tuple[tuple[int, int], ...],
    threads: tuple[int, ...] | None,
    runs: int,
    min_secs: float,
    warmup: int,
    as_video: bool,
    fps: float,
    frames: str | None,
    resume: bool,
    sustained_s: float | None,
) -> Results:
    """Measure the time of each stage of a frame, over the grid of models, sizes and threads.

    Frames differ in every iteration; rows are measured in turn, each in a process of its own.
    """
    _check_options(ctx, as_video=as_video, resume=resume, sustained=sustained_s is not None)
    video_fps = fps if as_video else None
    settings = SpeedSettings(sizes_wh, threads or all_cores(), runs, min_secs, warmup, frames, video_fps)
    if sustained_s is not None:
        how = SustainedSettings(sustained_s, settings.sizes_wh, settings.threads, frames)
        with plan.progress_bar() as on_step:
            return sustained(models, how, on_step=on_step)
    return _measure(ctx, models, settings, resume=resume)


def _check_options(ctx: click.Context, *, as_video: bool, resume: bool, sustained: bool) -> None:
    """Reject options that would be ignored."""
    given = {
        param.name: param.opts[0]
        for param in ctx.command.params
        if ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
    }
    if "fps" in given and not as_video:
        raise UsageError("--fps goes with --as-video")
    if resume and not ctx.obj["out"]:
        raise UsageError("--resume needs the file with the rows: name it with --out FILE")
    if sustained and (unused := given.keys() & {"runs", "min_secs", "warmup", "resume", "as_video"}):
        raise UsageError(f"{given[min(unused)]} does not go with --sustained")


def _measure(ctx: click.Context, models: Sequence[str], settings: SpeedSettings, *, resume: bool) -> Results:
    target: Path | None = ctx.obj["out"]
    before = list(read_results(target)) if resume and target and target.exists() else []
    finished: list[Row] = []

    def keep(rows: Sequence[SpeedRow]) -> None:
        finished.extend(rows)
        if target:
            kept = [row for row in before if isinstance(row, SpeedRow) and row.error is None]
            Results([*kept, *finished]).to_json(target, overwrite=True)

    plan.find_models(models)  # a wrong name is said before anything else
    options.warn(plan.busy_warning(speed_run(settings).machine))
    try:
        with plan.progress_bar() as on_step:
            results = speed(models, settings, on_step=on_step, on_block=keep, resume=before)
    except KeyboardInterrupt:
        if target and finished:
            options.warn(f"{target} holds {len(finished)} new rows: --resume continues")
        raise
    noisy = dict.fromkeys(row.file for row in results if isinstance(row, SpeedRow) and row.noisy_machine)
    options.warn(f"noisy machine: rounds differ in {', '.join(noisy)}" if noisy else None)
    if ctx.obj["html"]:
        from quietframe_bench.kinds.before_after import before_and_after

        good = [path for path in plan.find_models(models) if path.name not in _failed(results)]
        results.rows += before_and_after([path for path in good if plan.denoises_frames(path)])
    return results


def _failed(results: Results) -> set[str]:
    return {row.file for row in results if row.error}
