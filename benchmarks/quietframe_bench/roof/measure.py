"""The roof of this machine: what the engines multiply and what memory moves at most, and a model's place under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from quietframe_bench.operators.measure import OperatorRow
from quietframe_bench.process import Child, ChildError

ENGINE_NAMES = {".tflite": "LiteRT", ".onnx": "ONNX Runtime"}
PRECISIONS = ("int8", "fp32")
ROUNDS = 2
"""Everything is tried so many times, spread over the run."""

_ARITHMETIC = {"int8": "int8", "int16x8": "int8", "dynamic": "int8", "fp16": "fp32", "fp32": "fp32"}
_LEAST_WORK = 0.001
"""A layer with a smaller part of a model's work is no point under its roof: clocks tick in microseconds."""

OnStep = Callable[[str, int, int], None]


@dataclass
class Peak:
    """What an engine multiplies at most.

    Attributes:
        engine: its suffix.
        precision: `int8` or `fp32`.
        threads: how many it used.
        trials: of `run_trials`, over all rounds.
        error: why there are none.
    """

    engine: str
    precision: str
    threads: int
    trials: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None

    @property
    def best(self) -> dict[str, Any]:
        """The trial that had the fastest run."""
        return max(self.trials, key=_fastest)

    @property
    def gmacs_per_s(self) -> float:
        """10⁹ multiply-accumulates a second in the fastest run of all trials."""
        return _fastest(self.best)

    def as_record(self) -> dict[str, Any]:
        """For JSON, with the raw samples."""
        figures: dict[str, Any] = {}
        if not self.error:
            best = self.best
            figures = {
                "gmacs_per_s": self.gmacs_per_s,
                "median_gmacs_per_s": best["macs"] / median(best["samples_ns"]),
                "best": best["name"],
                "best_dtype": best["dtype"],
            }
        what = {"row": "peak", "engine": ENGINE_NAMES[self.engine], "precision": self.precision}
        return {**what, "threads": self.threads, "error": self.error, **figures, "trials": self.trials}


@dataclass
class Bandwidth:
    """What is read and written at most while arrays are copied.

    Attributes:
        level: `memory` or `cache`, the processor's last one.
        threads: how many copied.
        held_bytes: of all arrays.
        rates: bytes a second, of rounds of copying.
    """

    level: str
    threads: int
    held_bytes: int
    rates: list[float]

    @property
    def gbytes_per_s(self) -> float:
        """10⁹ bytes a second in the fastest round."""
        return max(self.rates) / 1e9

    def as_record(self) -> dict[str, Any]:
        """For JSON, with the raw rates."""
        what = {"row": "bandwidth", "level": self.level, "threads": self.threads, "held_bytes": self.held_bytes}
        return {**what, "error": None, "gbytes_per_s": self.gbytes_per_s, "rates": self.rates}


@dataclass
class Roof:
    """What the machine can do at most.

    Attributes:
        peaks: by engine, precision and threads.
        bandwidths: by level and threads.
        errors: of what could not be measured.
    """

    peaks: list[Peak] = field(default_factory=list)
    bandwidths: list[Bandwidth] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def peak_of(self, row: OperatorRow) -> Peak | None:
        """The peak that a model is held against: its own engine's, in its arithmetic, with its threads."""
        arithmetic = _ARITHMETIC[row.facts["precision"]]
        wanted = row.model.suffix.lower(), arithmetic, row.threads
        found = (peak for peak in self.peaks if (peak.engine, peak.precision, peak.threads) == wanted)
        return next((peak for peak in found if not peak.error), None)

    def gbytes_per_s(self, level: str, threads: int | None) -> float | None:
        """The bandwidth of `memory` or `cache`; None where it is not known."""
        found = (one for one in self.bandwidths if (one.level, one.threads) == (level, threads))
        return next((one.gbytes_per_s for one in found), None)


@dataclass(frozen=True)
class Layer:
    """A layer under the roof.

    Attributes:
        index, kind, name: as in the table of operators.
        median_ms, share, macs: of the layer; `share` is of all operators' time.
        intensity: multiply-accumulates for each byte of its inputs, weights and outputs.
        gmacs_per_s: what it reaches.
        roof_gmacs_per_s: what it could reach: the peak, or what the faster of memory and cache feeds.
        limit: `arithmetic`, or `memory` where its bytes take longer to come from memory than the peak to multiply.
    """

    index: int
    kind: str
    name: str
    median_ms: float
    share: float
    macs: int
    intensity: float
    gmacs_per_s: float
    roof_gmacs_per_s: float
    limit: str


def measure_roof(
    threads: Sequence[int], *, secs: float = 0.5, on_step: OnStep = lambda text, step, steps: None
) -> Roof:
    """Measure the peaks of both engines and the bandwidth, for each number of threads.

    Args:
        threads: numbers of threads.
        secs: seconds for each trial, over all rounds.
        on_step: told (what, step, steps) as it goes on.
    """
    roof = Roof([Peak(engine, precision, n) for n in threads for engine in ENGINE_NAMES for precision in PRECISIONS])
    steps = ROUNDS * (len(roof.peaks) + len(threads))
    step = 0
    for _ in range(ROUNDS):
        for peak in roof.peaks:
            on_step(f"peak of {ENGINE_NAMES[peak.engine]}, {peak.precision}", step, steps)
            step += 1
            _try(peak, secs / ROUNDS)
        for n in threads:
            on_step("memory", step, steps)
            step += 1
            _copy(roof, n, secs / ROUNDS)
    for peak in roof.peaks:
        if peak.error:
            roof.errors.append(f"peak of {ENGINE_NAMES[peak.engine]}, {peak.precision}: {peak.error}")
    return roof


def layers_of(row: OperatorRow, roof: Roof) -> list[Layer]:
    """The layers of a model that multiply, under its roof; none if it failed or has no roof.

    Left out: layers with less than a thousandth of the model's work.
    """
    peak = None if row.error else roof.peak_of(row)
    memory = roof.gbytes_per_s("memory", row.threads)
    if peak is None or memory is None:
        return []
    fastest = max(memory, roof.gbytes_per_s("cache", row.threads) or 0)
    found = []
    for one in row.operators():
        if not (one["gmacs_per_s"] and one["bytes"]) or one["macs"] < _LEAST_WORK * row.macs:
            continue
        intensity = one["macs"] / one["bytes"]
        found.append(
            Layer(
                **{key: one[key] for key in ("index", "kind", "name", "median_ms", "share", "macs", "gmacs_per_s")},
                intensity=intensity,
                roof_gmacs_per_s=min(peak.gmacs_per_s, intensity * fastest),
                limit="arithmetic" if intensity * memory >= peak.gmacs_per_s else "memory",
            )
        )
    return found


def reached(row: OperatorRow, roof: Roof) -> dict[str, float]:
    """A model's `engine_ms` by the stopwatch, `gmacs_per_s` and its share `of_peak`; empty if it failed."""
    peak = None if row.error else roof.peak_of(row)
    if peak is None:
        return {}
    engine_ms = row.clocks()["stopwatch"]
    assert engine_ms is not None
    gmacs_per_s = row.macs / engine_ms / 1e6
    return {"engine_ms": engine_ms, "gmacs_per_s": gmacs_per_s, "of_peak": gmacs_per_s / peak.gmacs_per_s}


def _fastest(trial: dict[str, Any]) -> float:
    return trial["macs"] / min(trial["samples_ns"])  # operations by nanosecond are 10⁹ by second


def _try(peak: Peak, secs: float) -> None:
    """One round of all trials, added to those before."""
    if peak.error:
        return
    try:
        with Child() as child:
            what = {"suffix": peak.engine, "precision": peak.precision, "threads": peak.threads}
            trials = child.ask("trials", **what, secs=secs)["trials"]
    except ChildError as exc:
        peak.error = str(exc)
        return
    for index, trial in enumerate(trials):
        if index < len(peak.trials):
            peak.trials[index]["samples_ns"] += trial["samples_ns"]
        else:
            peak.trials.append(trial)


def _copy(roof: Roof, threads: int, secs: float) -> None:
    """One round of copying, added to those before."""
    try:
        with Child() as child:
            levels = child.ask("copies", threads=threads, secs=secs)["levels"]
    except ChildError as exc:
        roof.errors.append(f"memory: {exc}")
        return
    for found in levels:
        known = [one for one in roof.bandwidths if (one.level, one.threads) == (found["level"], threads)]
        if known:
            known[0].rates += found["rates"]
        else:
            roof.bandwidths.append(Bandwidth(found["level"], threads, found["held_bytes"], found["rates"]))
