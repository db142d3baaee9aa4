"""The roofline: what the engines multiply and what memory moves at most on this machine, and how near models come.

A layer is limited by arithmetic or by memory, whichever its multiply-accumulates for each byte meet first (S. Williams,
A. Waterman, D. Patterson: Roofline, Communications of the ACM 52(4), 2009).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from quietframe_bench.columns import CIRCUMSTANCES, Column, Table
from quietframe_bench.plan import OnStep, counted, failing, ignore_step
from quietframe_bench.process import Child
from quietframe_bench.rows import Row, Run

if TYPE_CHECKING:
    from quietframe_bench.kinds.profile import ProfileRow

TITLE = "Roofline"
ENGINES = {"LiteRtEngine": ".tflite", "OnnxEngine": ".onnx"}
"""The engines that are measured, and the suffix of their files."""
PRECISIONS = ("int8", "fp32")
ROUNDS = 2
"""Everything is tried so many times, spread over the run."""

_ARITHMETIC = {"int8": "int8", "int16x8": "int8", "dynamic": "int8", "fp16": "fp32", "fp32": "fp32"}
_MIN_WORK = 0.001  # of the model's: smaller layers are left out, as clocks tick in microseconds


class PeakTrial(msgspec.Struct):
    """Times of one model that only multiplies. See `peaks.run_trials`."""

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

    engine: str
    precision: str
    threads: int
    trials: list[PeakTrial] = msgspec.field(default_factory=list)

    @property
    def best(self) -> PeakTrial | None:
        """The trial that had the fastest run."""
        return max(self.trials, key=lambda trial: trial.gmacs_per_s, default=None)

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second in the fastest run of all trials."""
        return self.best.gmacs_per_s if self.best else None

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


def measure_machine(
    run: Run, threads: Sequence[int], *, secs: float = 0.5, on_step: OnStep = ignore_step
) -> list[PeakRow | BandwidthRow]:
    """Measure the peaks of both engines and the bandwidth, for each number of threads.

    secs: seconds for each trial, over all rounds.
    """
    peaks = [
        run.row(PeakRow, None, engine=engine, precision=precision, threads=n)
        for n in threads
        for engine in ENGINES
        for precision in PRECISIONS
    ]
    memories = {
        n: [run.row(BandwidthRow, None, level=level, threads=n) for level in ("memory", "cache")] for n in threads
    }
    step = counted(on_step, ROUNDS * (len(peaks) + len(threads)))
    for _ in range(ROUNDS):
        for peak in peaks:
            step(f"peak of {peak.engine}, {peak.precision}")
            if not peak.error:
                _try(peak, secs / ROUNDS)
        for n, rows in memories.items():
            step("memory")
            _copy(rows, n, secs / ROUNDS)
    return [*peaks, *(row for rows in memories.values() for row in rows if row.rates or row.error)]


def _try(peak: PeakRow, secs: float) -> None:
    """Run one round of all trials, added to those before."""
    what = {"suffix": ENGINES[peak.engine], "precision": peak.precision, "threads": peak.threads}
    with failing(peak), Child() as child:
        peak.trials += msgspec.convert(child.call("peaks:run_trials", **what, secs=secs), list[PeakTrial])


def _copy(rows: Sequence[BandwidthRow], threads: int, secs: float) -> None:
    """Run one round of copying, added to those before."""
    with failing(rows[0]), Child() as child:
        levels = {found["level"]: found for found in child.call("peaks:copy_memory", threads=threads, secs=secs)}
        for row in rows:
            if found := levels.get(row.level):
                row.held_bytes = found["held_bytes"]
                row.rates += found["rates"]


def place(row: ProfileRow, machine: Sequence[PeakRow | BandwidthRow]) -> None:
    """Set a profiled model beside the peak of its engine, in its arithmetic, with its threads; and each of its layers.

    A layer is limited by memory where its bytes take longer to come from memory than the peak to multiply. Where there
    is no peak or bandwidth, nothing is said of layers.
    """
    if row.error:
        return
    wanted = row.engine, _ARITHMETIC[str(row.precision)], row.threads
    for one in machine:
        if isinstance(one, PeakRow) and (one.engine, one.precision, one.threads) == wanted and not one.error:
            row.peak_gmacs_per_s = one.gmacs_per_s
            row.peak_name = f"{one.engine}, {one.precision}, {one.threads} thread{'s' * (one.threads > 1)}"
        elif isinstance(one, BandwidthRow) and one.threads == row.threads:
            setattr(row, f"{one.level}_gbytes_per_s", one.gbytes_per_s)
    peak, memory, cache = row.peak_gmacs_per_s, row.memory_gbytes_per_s, row.cache_gbytes_per_s
    if peak is None or memory is None:
        return
    for layer in row.operators:
        if layer.gmacs_per_s and layer.intensity and (layer.macs or 0) >= _MIN_WORK * row.macs:
            layer.max_gmacs_per_s = min(peak, layer.intensity * max(memory, cache or 0))
            layer.limit = "arithmetic" if layer.intensity * memory >= peak else "memory"


# Columns and tables

_PEAKS = (
    Column("peak", "engine"),
    Column("precision", "precision"),
    Column("threads", "threads"),
    Column("GMAC/s", "gmacs_per_s", ".1f"),
    Column("reached by", lambda row: row.best and row.best.name, name="best", words=True),
)
_BANDWIDTHS = (
    Column("bandwidth", lambda row: "last cache" if row.level == "cache" else row.level, name="level"),
    Column("threads", "threads"),
    Column("GB/s", "gbytes_per_s", ".1f"),
    Column("MB of arrays", "held_bytes", ".1f", scale=1e-6),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {
    PeakRow: (*_PEAKS, *CIRCUMSTANCES),
    BandwidthRow: (*_BANDWIDTHS, *CIRCUMSTANCES),
}


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the tables of peaks and bandwidths."""
    peaks, bandwidths = ([row for row in rows if isinstance(row, kind)] for kind in (PeakRow, BandwidthRow))
    return [
        Table("the fastest run of the best of several models that only multiply", _PEAKS, peaks),
        Table("reading and writing while NumPy copies: the fastest round", _BANDWIDTHS, bandwidths),
    ]
