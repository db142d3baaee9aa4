"""The roofline: what the engines multiply and what memory moves at most on this machine, and how near models come.

A layer is limited by arithmetic or by memory, whichever its multiply-accumulates for each byte meet first (S. Williams,
A. Waterman, D. Patterson: Roofline, Communications of the ACM 52(4), 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from quietframe.errors import UsageError
from quietframe_bench import figures, plots
from quietframe_bench.columns import CIRCUMSTANCES, WHAT, Column, Table
from quietframe_bench.kinds.operators import ProfileRow, ProfileSettings, measure_profiles
from quietframe_bench.plan import OnStep, ignore_step
from quietframe_bench.process import Child, ChildError
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run, SizedRow

TITLE = "Roofline"
ENGINE_NAMES = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}
PRECISIONS = ("int8", "fp32")
ROUNDS = 2
"""Everything is tried so many times, spread over the run."""

_ARITHMETIC = {"int8": "int8", "int16x8": "int8", "dynamic": "int8", "fp16": "fp32", "fp32": "fp32"}
_MIN_WORK = 0.001  # of the model's: smaller layers are left out, as clocks tick in microseconds


class PeakTrial(msgspec.Struct):
    """Times of one model that only multiplies. See `peak_runs.run_trials`."""

    name: str
    dtype: str
    macs: int
    samples_ns: list[int]

    @property
    def gmacs_per_s(self) -> float:
        """10⁹ multiply-accumulates a second in the fastest run."""
        return self.macs / min(self.samples_ns)


class PeakRow(Row, kw_only=True, tag="peak"):
    """What an engine multiplies at most, in one precision with one number of threads."""

    suffix: str
    precision: str
    threads: int
    trials: list[PeakTrial] = msgspec.field(default_factory=list)

    @property
    def engine(self) -> str:
        """The engine's name."""
        return ENGINE_NAMES[self.suffix]

    @property
    def best(self) -> PeakTrial | None:
        """The trial that had the fastest run."""
        return max(self.trials, key=lambda trial: trial.gmacs_per_s) if self.trials else None

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second in the fastest run of all trials."""
        return self.best.gmacs_per_s if self.best else None

    @property
    def median_gmacs_per_s(self) -> float | None:
        """The same in the median run of that trial."""
        return self.best.macs / median(self.best.samples_ns) if self.best else None

    def failures(self) -> list[str]:
        """Say why there is no peak."""
        return [f"peak of {self.engine}, {self.precision}: {self.error}"] if self.error else []


class BandwidthRow(Row, kw_only=True, tag="bandwidth"):
    """What is read and written at most while arrays are copied.

    Attributes:
        level: `memory` or `cache`, the processor's last one.
        threads: how many copied.
        held_bytes: of all arrays.
        rates: bytes a second, of rounds of copying.
    """

    level: str
    threads: int
    held_bytes: int = 0
    rates: list[float] = msgspec.field(default_factory=list)

    @property
    def gbytes_per_s(self) -> float | None:
        """10⁹ bytes a second in the fastest round."""
        return max(self.rates) / 1e9 if self.rates else None

    def failures(self) -> list[str]:
        """Say why there is no bandwidth."""
        return [f"memory: {self.error}"] if self.error else []


class Layer(msgspec.Struct):
    """A layer under the roofline.

    Attributes:
        index, kind, name, median_ms, share, macs, gmacs_per_s: see `Operator`.
        intensity: multiply-accumulates for each byte of its inputs, weights and outputs.
        max_gmacs_per_s: what it could reach: the peak, or what the faster of memory and cache can feed.
        limit: `arithmetic`, or `memory` where its bytes take longer to come from memory than the peak to multiply.
    """

    index: int
    kind: str
    name: str
    median_ms: float
    share: float
    macs: int
    gmacs_per_s: float
    intensity: float
    max_gmacs_per_s: float
    limit: str


class RooflineRow(SizedRow, kw_only=True, tag="roofline"):
    """What one model reaches of the peak of its own engine, in its arithmetic, with its threads.

    Attributes:
        macs: multiply-accumulates of one run of the engine.
        engine_ms: what it takes by the stopwatch.
        peak_gmacs_per_s, peak_name: the peak, and which it is; None where there is none.
        memory_gbytes_per_s, cache_gbytes_per_s: the bandwidth with so many threads.
        layers: those with at least a thousandth of the model's work.
        notes: those of the profile.
    """

    macs: int = 0
    engine_ms: float | None = None
    peak_gmacs_per_s: float | None = None
    peak_name: str = ""
    memory_gbytes_per_s: float | None = None
    cache_gbytes_per_s: float | None = None
    layers: list[Layer] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second."""
        return self.macs / self.engine_ms / 1e6 if self.engine_ms else None

    @property
    def of_peak(self) -> float | None:
        """The share of the peak that is reached."""
        gmacs_per_s = self.gmacs_per_s
        return gmacs_per_s / self.peak_gmacs_per_s if gmacs_per_s and self.peak_gmacs_per_s else None

    def failures(self) -> list[str]:
        """Say nothing: the profile's row does."""
        return []


def measure_roofline(paths: Sequence[Path], settings: ProfileSettings, on_step: OnStep = ignore_step) -> Results:
    """Measure the machine's peaks and bandwidths, then the models' operators, and set them side by side."""
    run = Run(replace(settings, engine_tool=False))
    machine = measure_machine(run, settings.threads, on_step=on_step)
    profiles = measure_profiles(paths, replace(settings, engine_tool=False), on_step)
    by_name = {path.name: path for path in paths}
    places = [place(run, by_name[row.file], row, machine) for row in profiles]
    return Results([*machine, *places, *profiles])


def measure_machine(
    run: Run, threads: Sequence[int], *, secs: float = 0.5, on_step: OnStep = ignore_step
) -> list[PeakRow | BandwidthRow]:
    """Measure the peaks of both engines and the bandwidth, for each number of threads.

    secs: seconds for each trial, over all rounds.
    """
    peaks = [
        run.row(PeakRow, None, suffix=suffix, precision=precision, threads=n)
        for n in threads
        for suffix in ENGINE_NAMES
        for precision in PRECISIONS
    ]
    bandwidths: dict[tuple[str, int], BandwidthRow] = {}
    steps, step = ROUNDS * (len(peaks) + len(threads)), 0
    for _ in range(ROUNDS):
        for peak in peaks:
            on_step(f"peak of {peak.engine}, {peak.precision}", step, steps)
            step += 1
            _try(peak, secs / ROUNDS)
        for n in threads:
            on_step("memory", step, steps)
            step += 1
            _copy(run, bandwidths, n, secs / ROUNDS)
    return [*peaks, *bandwidths.values()]


def _try(peak: PeakRow, secs: float) -> None:
    """Run one round of all trials, added to those before."""
    if peak.error:
        return
    what = {"suffix": peak.suffix, "precision": peak.precision, "threads": peak.threads}
    try:
        with Child() as child:
            trials = child.call("peak_runs:run_trials", **what, secs=secs)
    except ChildError as exc:
        peak.error = str(exc)
        return
    for index, trial in enumerate(trials):
        if index < len(peak.trials):
            peak.trials[index].samples_ns += trial["samples_ns"]
        else:
            peak.trials.append(PeakTrial(**trial))


def _copy(run: Run, bandwidths: dict[tuple[str, int], BandwidthRow], threads: int, secs: float) -> None:
    """Run one round of copying, added to those before."""
    try:
        with Child() as child:
            levels = child.call("peak_runs:copy_memory", threads=threads, secs=secs)
    except ChildError as exc:
        key = "memory", threads
        bandwidths.setdefault(key, run.row(BandwidthRow, None, level="memory", threads=threads)).error = str(exc)
        return
    for found in levels:
        key = found["level"], threads
        if key not in bandwidths:
            fields = {"level": found["level"], "held_bytes": found["held_bytes"]}
            bandwidths[key] = run.row(BandwidthRow, None, threads=threads, **fields)
        bandwidths[key].rates += found["rates"]


def place(run: Run, path: Path, profile: ProfileRow, machine: Sequence[PeakRow | BandwidthRow]) -> RooflineRow:
    """Set a profiled model beside the machine's peak and bandwidth."""
    names = ("size_wh", "threads", "name", "precision", "engine", "task", "error")
    row = run.row(RooflineRow, path, **{name: getattr(profile, name) for name in names})
    if profile.error:
        return row
    row.macs, row.engine_ms, row.notes = profile.macs, profile.clocks_ms["stopwatch"], profile.notes
    row.memory_gbytes_per_s = _bandwidth(machine, "memory", profile.threads)
    row.cache_gbytes_per_s = _bandwidth(machine, "cache", profile.threads)
    wanted = path.suffix.lower(), _ARITHMETIC[str(profile.precision)], profile.threads
    for peak in machine:
        if isinstance(peak, PeakRow) and (peak.suffix, peak.precision, peak.threads) == wanted and not peak.error:
            row.peak_gmacs_per_s = peak.gmacs_per_s
            row.peak_name = f"{peak.engine}, {peak.precision}, {peak.threads} thread{'s' * (peak.threads > 1)}"
    row.layers = _layers(row, profile)
    return row


def _bandwidth(machine: Sequence[PeakRow | BandwidthRow], level: str, threads: int | None) -> float | None:
    found = (one for one in machine if isinstance(one, BandwidthRow) and (one.level, one.threads) == (level, threads))
    return next((one.gbytes_per_s for one in found), None)


def _layers(row: RooflineRow, profile: ProfileRow) -> list[Layer]:
    """Return the layers of a model that multiply, under the roofline; none where there is no peak or bandwidth."""
    peak, memory = row.peak_gmacs_per_s, row.memory_gbytes_per_s
    if peak is None or memory is None:
        return []
    fastest = max(memory, row.cache_gbytes_per_s or 0)
    names = ("index", "kind", "name", "median_ms", "share", "macs", "gmacs_per_s")
    layers = []
    for one in profile.operators:
        if not (one.gmacs_per_s and one.bytes and one.macs) or one.macs < _MIN_WORK * profile.macs:
            continue
        intensity = one.macs / one.bytes
        layers.append(
            Layer(
                **{name: getattr(one, name) for name in names},
                intensity=intensity,
                max_gmacs_per_s=min(peak, intensity * fastest),
                limit="arithmetic" if intensity * memory >= peak else "memory",
            )
        )
    return layers


# Columns, tables and plots

_PEAKS = (
    Column("peak", lambda row: row.engine, name="engine"),
    Column("precision", lambda row: row.precision, name="precision"),
    Column("threads", lambda row: row.threads, name="threads"),
    Column("GMAC/s", lambda row: row.gmacs_per_s, ".1f", "gmacs_per_s"),
    Column("median GMAC/s", lambda row: row.median_gmacs_per_s, ".1f", "median_gmacs_per_s", shown=False),
    Column("reached by", lambda row: row.best and row.best.name, name="best", words=True),
)
_BANDWIDTHS = (
    Column("bandwidth", lambda row: "last cache" if row.level == "cache" else row.level, name="level"),
    Column("threads", lambda row: row.threads, name="threads"),
    Column("GB/s", lambda row: row.gbytes_per_s, ".1f", "gbytes_per_s"),
    Column("MB of arrays", lambda row: row.held_bytes, ".1f", "held_bytes", scale=1e-6),
)
_MODELS = (
    Column("MMAC", lambda row: row.macs or None, ".1f", "macs", scale=1e-6),
    Column("engine ms", lambda row: row.engine_ms, ".2f", "engine_ms"),
    Column("GMAC/s", lambda row: row.gmacs_per_s, ".1f", "gmacs_per_s"),
    Column("peak", lambda row: row.peak_gmacs_per_s, ".1f", "peak_gmacs_per_s"),
    Column("of the peak", lambda row: row.of_peak, ".1%", "of_peak"),
)
_LAYERS = (
    Column("#", lambda one: one.index),
    Column("operator", lambda one: one.kind, words=True),
    Column("layer", lambda one: one.name, words=True),
    Column("ms", lambda one: one.median_ms, ".3f"),
    Column("share", lambda one: one.share, ".1%"),
    Column("MMAC", lambda one: one.macs, ".2f", scale=1e-6),
    Column("MAC/byte", lambda one: one.intensity, ".1f"),
    Column("GMAC/s", lambda one: one.gmacs_per_s, ".1f"),
    Column("limit", lambda one: one.max_gmacs_per_s, ".1f"),
    Column("of the limit", lambda one: one.gmacs_per_s / one.max_gmacs_per_s, ".1%"),
    Column("by", lambda one: one.limit),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {
    PeakRow: (*_PEAKS, *CIRCUMSTANCES),
    BandwidthRow: (*_BANDWIDTHS, *CIRCUMSTANCES),
    RooflineRow: (*WHAT, *_MODELS, *CIRCUMSTANCES),
}


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the tables of peaks and bandwidths, of what each model reaches, and of each model's layers."""
    peaks = [row for row in rows if isinstance(row, PeakRow)]
    bandwidths = [row for row in rows if isinstance(row, BandwidthRow)]
    models = [row for row in rows if isinstance(row, RooflineRow)]
    made = [
        Table("the fastest run of the best of several models that only multiply", _PEAKS, peaks),
        Table("reading and writing while NumPy copies: the fastest round", _BANDWIDTHS, bandwidths),
        Table(
            "models: engine time by the stopwatch; the peak of the same engine, precision and threads",
            (*WHAT, *_MODELS),
            models,
        ),
    ]
    title = "layers that multiply; limit: the peak, or what memory or cache can feed"
    return made + [
        Table(f"{row.label}: {title}", _LAYERS, row.layers, row.notes, details=True) for row in models if row.layers
    ]


def panels_of(rows: Sequence[Any]) -> list[figures.RooflinePanel]:
    """Make a panel for each model with layers to show."""
    panels = []
    for row in rows:
        if not (isinstance(row, RooflineRow) and row.layers):
            continue
        peak, memory, reached = row.peak_gmacs_per_s, row.memory_gbytes_per_s, row.gmacs_per_s
        if peak and memory and reached:
            widths = memory, row.cache_gbytes_per_s
            panels.append(figures.RooflinePanel(row.label, peak, row.peak_name, widths, row.layers, reached))
    return panels


def write_plot(results: Results, path: Path) -> None:
    """Draw the rooflines as PNG. Raises UsageError if there is nothing to draw."""
    panels = panels_of(results.rows)
    if not panels:
        raise UsageError("no roofline: none of the models has layers whose work and time are known")
    machine = results[0].machine
    figures.write_png(figures.roofline_figure(panels, str(machine["cpu"] or machine["architecture"])), path)


def draw(rows: Sequence[Any], _all_rows: Sequence[Row]) -> list[str]:
    """Draw each model's roofline."""
    cpu = str(rows[0].machine.get("cpu") or "")
    return [
        plots.as_image(figures.roofline_figure([panel], cpu), f"Roofline of {panel.title}") for panel in panels_of(rows)
    ]
