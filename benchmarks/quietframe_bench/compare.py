"""Two runs of `quietframe bench` side by side: which rows belong together, and how their times differ."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from quietframe.errors import UsageError
from quietframe.images import write_whole
from quietframe_bench.circumstances import warnings_about
from quietframe_bench.ratio import CONFIDENCE, RESAMPLES, SEED, Ratio, median_ratio
from quietframe_bench.rows import short
from quietframe_bench.timed_rows import TimedRow, read_timed_rows, size_text
from quietframe_bench.timing import STAGES

SLOWER, FASTER, UNCLEAR, NO_INTERVAL = "slower", "faster", "unclear", "no interval"
TOO_SLOW, UNSURE = "too slow", "unsure"
FAILED_IN_NEW, FAILED_IN_OLD, FAILED_IN_BOTH = "failed in NEW", "failed in OLD", "failed in both"
ONLY_IN_OLD, ONLY_IN_NEW = "only in OLD", "only in NEW"

_MAY_DIFFER = frozenset({"sizes_wh", "threads", "runs", "min_secs", "rounds", "frames"})
"""Settings that say which rows there are and how many frames are timed, and `frames`, of which a warning tells. All
others, of later versions too, change what is timed."""


@dataclass(frozen=True)
class ComparedRow:
    """A row of OLD and the row of NEW for the same model, size and threads; one of them is None without a partner.

    Attributes:
        old, new: the rows.
        stages: the ratio of each of `STAGES`; empty unless both were measured.
        verdict: one of the words above.
    """

    old: TimedRow | None
    new: TimedRow | None
    stages: Mapping[str, Ratio]
    verdict: str

    @property
    def shown(self) -> TimedRow:
        """The row to take names from: the one that knows more."""
        known = [row for row in (self.old, self.new) if row]
        return next((row for row in known if row.key), known[0])

    @property
    def is_other_file(self) -> bool:
        """Whether the model files differ: then two models are compared, not two runs of one."""
        return self.old is not None and self.new is not None and self.old.sha256 != self.new.sha256


@dataclass(frozen=True)
class Comparison:
    """Two files compared.

    Attributes:
        old, new: the files.
        fail_above: the largest ratio that is no failure; None: any.
        rows: in OLD's order, then what is only in NEW.
        warnings: what else differs between the runs, a line each.
    """

    old: Path
    new: Path
    fail_above: float | None
    rows: list[ComparedRow] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[ComparedRow]:
        """Rows that are too slow, or that failed in NEW and not in OLD."""
        return [row for row in self.rows if row.verdict in (TOO_SLOW, FAILED_IN_NEW)]


def compare_files(old: str | Path, new: str | Path, *, fail_above: float | None = None) -> Comparison:
    """Compare two files of `quietframe bench --json`, row by row.

    Args:
        old, new: the files.
        fail_above: a row is too slow if its ratio NEW / OLD is above this and its interval lies above 1; with a ratio
            above it and an interval that reaches down to 1, or without an interval, it is unsure. 1 or more.

    Raises:
        SourceError: a file cannot be read.
        UsageError: a file is none of bench's, no row of one belongs to a row of the other, rows that belong together
            were measured with other settings, or `fail_above` is below 1.
    """
    if fail_above is not None and not (math.isfinite(fail_above) and fail_above >= 1):
        raise UsageError(f"--fail-above is a ratio of 1 or more, as 1.10. Received: {fail_above}")
    pairs = pair_rows(read_timed_rows(old), read_timed_rows(new))
    measured = [(a, b) for a, b in pairs if a and b and not a.error and not b.error]
    for pair in measured:
        _check_comparable(*pair)
    rows = [_compare(*pair, fail_above) for pair in pairs]
    return Comparison(Path(old), Path(new), fail_above, rows, warnings_about(measured))


def pair_rows(old: Sequence[TimedRow], new: Sequence[TimedRow]) -> list[tuple[TimedRow | None, TimedRow | None]]:
    """Rows that measured the same, together; a row without a partner stands alone.

    A model that could not be opened has not told its name: its row goes with all rows of a file of that name.

    Raises:
        UsageError: no row has a partner; the message says what differs.
    """
    by_key = {row.key: row for row in new if row.key}
    pairs: list[tuple[TimedRow | None, TimedRow | None]] = []
    paired: set[int] = set()  # lines of NEW
    for row in old:
        partners = [by_key[row.key]] if row.key in by_key else _of_file(row, new)
        pairs += [(row, partner) for partner in partners] or [(row, None)]
        paired |= {partner.line for partner in partners}
    if not paired:
        raise UsageError(f"no row of NEW belongs to a row of OLD: {_what_differs(old, new)}")
    return pairs + [(None, row) for row in new if row.line not in paired]


def _of_file(row: TimedRow, others: Sequence[TimedRow]) -> list[TimedRow]:
    return [other for other in others if other.file == row.file and not (row.key and other.key)]


def _what_differs(old: Sequence[TimedRow], new: Sequence[TimedRow]) -> str:
    views: dict[str, Callable[[TimedRow], str | None]] = {
        "model": lambda row: row.name or row.file,
        "precision": lambda row: row.precision,
        "engine": lambda row: row.engine,
        "size": lambda row: size_text(row.size_wh) if row.size_wh else None,
        "threads": lambda row: str(row.threads) if row.threads else None,
    }
    differ = []
    for what, view in views.items():
        before, after = ({text: None for row in rows if (text := view(row))} for rows in (old, new))
        if before and after and not before.keys() & after.keys():
            differ.append(f"{what} {_few(before)} in OLD, {_few(after)} in NEW")
    told = "; ".join(differ) or f"such as {old[0].label} in OLD, {new[0].label} in NEW"
    return f"{told}: measure both alike"


def _few(texts: Mapping[str, None]) -> str:
    some = list(texts)[:4]
    return ", ".join(some + ["…"] * (len(texts) > len(some)))


def _check_comparable(old: TimedRow, new: TimedRow) -> None:
    """Raise UsageError if two rows did not time the same."""
    before, after = old.record["settings"], new.record["settings"]
    for name in sorted((before.keys() | after.keys()) - _MAY_DIFFER):
        if before.get(name) != after.get(name):
            raise UsageError(
                f"{new.label}: OLD was measured with {name} {short(before.get(name))}, NEW with "
                f"{short(after.get(name))}: measure both alike"
            )


def _compare(old: TimedRow | None, new: TimedRow | None, fail_above: float | None) -> ComparedRow:
    stages: dict[str, Ratio] = {}
    if old and new and not old.error and not new.error:
        stages = {stage: median_ratio(old.rounds_ns[stage], new.rounds_ns[stage]) for stage in STAGES}
        verdict = _judge(stages["total"], fail_above)
    elif new and new.error:
        verdict = FAILED_IN_BOTH if old and old.error else FAILED_IN_NEW
    elif not new:
        verdict = ONLY_IN_OLD
    else:
        verdict = FAILED_IN_OLD if old else ONLY_IN_NEW
    return ComparedRow(old, new, stages, verdict)


def _judge(total: Ratio, fail_above: float | None) -> str:
    """What a row's ratio and interval say. The limit already is a tolerance: the interval must only exclude chance."""
    assert total.ratio is not None  # a frame takes some time
    is_above = fail_above is not None and total.ratio > fail_above
    if total.low is None or total.high is None:
        return UNSURE if is_above else NO_INTERVAL
    if total.low > 1:
        return TOO_SLOW if is_above else SLOWER
    if total.high < 1:
        return FASTER
    return UNSURE if is_above else UNCLEAR


def write_document(path: Path, comparison: Comparison) -> None:
    """Write `as_document` as JSON; the file appears whole or not at all. Raises OutputError if it cannot be written."""
    text = json.dumps(as_document(comparison), ensure_ascii=False, indent=1, allow_nan=False)
    write_whole(path, f"{text}\n".encode())


def as_document(comparison: Comparison) -> dict[str, Any]:
    """The comparison for JSON. Units are in the keys; `null` is what a row does not have."""
    return {
        "schema": 1,
        "kind": "compare",
        "old": click.format_filename(comparison.old.name),  # a name may hold bytes that are no UTF-8
        "new": click.format_filename(comparison.new.name),
        "fail_above": comparison.fail_above,
        "interval": {"confidence": CONFIDENCE, "resampled": "rounds", "resamples": RESAMPLES, "seed": SEED},
        "warnings": comparison.warnings,
        "rows": [_record(row) for row in comparison.rows],
    }


def _record(row: ComparedRow) -> dict[str, Any]:
    shown = row.shown
    return {
        **{name: getattr(shown, name) for name in ("file", "name", "precision", "engine", "size_wh", "threads")},
        "verdict": row.verdict,
        "stages": {stage: vars(ratio) for stage, ratio in row.stages.items()},
        "is_other_file": row.is_other_file,
        **{side: run and _run(run) for side, run in (("old", row.old), ("new", row.new))},
    }


def _run(row: TimedRow) -> dict[str, Any]:
    return {
        "line": row.line,
        "sha256": row.sha256,
        "error": row.error,
        "samples": sum(map(len, row.rounds_ns.get("total", []))),
        "rounds": len(row.rounds_ns.get("total", [])),
        "finished_utc": row.record["finished_utc"],
        "commit": row.record["commit"],
    }
