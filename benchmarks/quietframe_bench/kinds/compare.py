"""Compare: two runs of `quietframe bench speed` side by side, matched row by row, with the ratio of their times."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from quietframe.cli.terminal import printable
from quietframe.errors import UsageError
from quietframe_bench import options
from quietframe_bench.columns import Column, Table
from quietframe_bench.kinds.speed import SpeedRow
from quietframe_bench.machine import is_busy
from quietframe_bench.ratio import CONFIDENCE, RESAMPLES, SEED, Ratio, median_ratio
from quietframe_bench.results import Results, row_types
from quietframe_bench.rows import Commit, Row, SizedRow, differences, read_rows
from quietframe_bench.subject import STAGES

TITLE = "Comparison"
SLOWER, FASTER, UNCLEAR, NO_INTERVAL = "slower", "faster", "unclear", "no interval"
TOO_SLOW, UNSURE = "too slow", "unsure"
FAILED_IN_NEW, FAILED_IN_OLD, FAILED_IN_BOTH = "failed in NEW", "failed in OLD", "failed in both"
ONLY_IN_OLD, ONLY_IN_NEW = "only in OLD", "only in NEW"

_MAY_DIFFER = frozenset({"sizes_wh", "threads", "runs", "min_secs", "rounds", "frames"})
"""Settings that say which rows there are and how many frames are timed, and `frames`, which a warning covers. All
others, of later versions too, change what is timed."""
_MACHINE = ("cpu", "board", "architecture", "physical_cores", "logical_cores", "governor")
"""What makes a machine another one; its load and clock change by the second."""


class Side(Struct):
    """What is kept of a row of one run."""

    finished_utc: str
    sha256: str | None
    commit: Commit | None
    error: str | None
    rounds: int
    samples: int

    @classmethod
    def of(cls, row: SpeedRow) -> Side:
        """Take it from a row."""
        known = {name: getattr(row, name) for name in ("finished_utc", "sha256", "commit", "error")}
        return cls(**known, rounds=len(row.round_runs), samples=sum(row.round_runs))


class CompareRow(SizedRow, kw_only=True, tag="compare"):
    """The rows of OLD and of NEW for the same model, size and threads; what both have is that of NEW.

    Attributes:
        old, new: one of them is None without a partner.
        stages: the ratio of each of `STAGES`; empty unless both were measured.
        verdict: one of the words above.
        warnings: what else makes the two differ, or their times doubtful, a line each.
    """

    old: Side | None
    new: Side | None
    stages: dict[str, Ratio]
    verdict: str
    warnings: list[str]

    @property
    def total(self) -> Ratio | None:
        """The ratio of whole frames."""
        return self.stages.get("total")

    @property
    def is_other_file(self) -> bool:
        """Whether the model files differ: then two models are compared, not two runs of one."""
        return bool(self.old and self.new and self.old.sha256 != self.new.sha256)

    @property
    def reason(self) -> str:
        """Why the row failed, or is unsure, in one line."""
        if self.new and self.new.error:
            return printable(f"{self.label}: {self.new.error}")
        total = self.stages["total"]
        interval = "no interval" if total.low is None else f"{total.low:.3f} to {total.high:.3f}"
        return f"{self.label}: {total.ratio:.3f} times as long ({interval}), above {self.settings['fail_above']:g}"

    def failures(self) -> list[str]:
        """Say whether it is too slow, or failed in NEW and not in OLD."""
        return [self.reason] if self.verdict in (TOO_SLOW, FAILED_IN_NEW) else []

    def messages(self) -> Iterator[str]:
        """Yield warnings, and that it is unsure, or missing in NEW: a run cut short must not pass in silence."""
        yield from (f"warning: {text}" for text in self.warnings)
        if self.verdict == ONLY_IN_OLD and self.settings["fail_above"] is not None:
            yield f"warning: {self.label} is only in OLD: not compared"
        if self.verdict == UNSURE:
            yield f"unsure: {self.reason}: measure both again, for longer or on a machine that does less"


def compare(old: str | Path, new: str | Path, *, fail_above: float | None = None) -> Results:
    """Compare two files of `quietframe bench speed --out`, row by row.

    Args:
        old, new: the files.
        fail_above: a row is too slow if its ratio NEW / OLD is above this and its interval lies above 1; with a ratio
            above it and an interval that reaches down to 1, or without an interval, it is unsure. 1 or more.

    Returns:
        Rows in OLD's order, then what is only in NEW.

    Raises:
        SourceError: a file cannot be read.
        UsageError: a file is none of bench's, no row of one belongs to a row of the other, rows that belong together
            were measured with other settings, or `fail_above` is below 1.
    """
    if fail_above is not None and not (math.isfinite(fail_above) and fail_above >= 1):
        raise UsageError(f"--fail-above is a ratio of 1 or more, as 1.10. Received: {fail_above}")
    names = {"old": click.format_filename(Path(old).name), "new": click.format_filename(Path(new).name)}
    settings = {**names, "fail_above": fail_above, "confidence": CONFIDENCE, "resamples": RESAMPLES, "seed": SEED}
    return Results(_compare(*pair, settings) for pair in pair_rows(read_speed_rows(old), read_speed_rows(new)))


def key_of(row: SpeedRow) -> tuple[Any, ...] | None:
    """Return what rows of two files are matched by; None if the row failed before that was known."""
    parts = row.name, row.precision, row.engine, row.size_wh, row.threads
    return None if None in parts else parts


def read_speed_rows(path: str | Path) -> list[SpeedRow]:
    """Read the speed rows of a file, in order; rows of other kinds are left out.

    Raises:
        SourceError: the file cannot be read, or is empty.
        UsageError: not such a file, without speed rows, or with two rows for the same. See also `read_rows`.
    """
    rows = read_rows(path, row_types())
    seen: dict[Any, int] = {}
    for line, row in rows:
        if not isinstance(row, SpeedRow):
            continue
        if (key := key_of(row)) and (before := seen.setdefault(key, line)) != line:
            raise UsageError(f"{path}: lines {before} and {line} are both {row.label}: keep one of them")
        if row.error is None and not row.samples_ns.total:
            raise UsageError(f"{path}: line {line}: holds no samples: measure again")
    if not (speed := [row for _, row in rows if isinstance(row, SpeedRow)]):
        kinds = ", ".join(Counter(row.kind for _, row in rows))
        raise UsageError(f"{path}: holds no speed rows ({kinds}): quietframe bench speed MODEL --out FILE writes them")
    return speed


def pair_rows(old: Sequence[SpeedRow], new: Sequence[SpeedRow]) -> list[tuple[SpeedRow | None, SpeedRow | None]]:
    """Return rows that measured the same, together; a row without a partner stands alone.

    The name of a model that could not be opened is unknown: its row goes with all rows of a file of that name.

    Raises UsageError if no row has a partner.
    """
    pairs: list[tuple[SpeedRow | None, SpeedRow | None]] = []
    paired: set[int] = set()  # places in NEW
    for row in old:
        key = key_of(row)
        partners = [place for place, other in enumerate(new) if key and key_of(other) == key] or [
            place for place, other in enumerate(new) if other.file == row.file and not (key and key_of(other))
        ]
        pairs += [(row, new[place]) for place in partners] or [(row, None)]
        paired.update(partners)
    if not paired:
        raise UsageError(
            f"no row of NEW belongs to a row of OLD: {_few(old)} in OLD, {_few(new)} in NEW: measure both alike"
        )
    return pairs + [(None, row) for place, row in enumerate(new) if place not in paired]


def _few(rows: Sequence[SpeedRow]) -> str:
    known = (f" ({row.name} {row.precision}, {row.engine})" if key_of(row) else "" for row in rows)
    labels = list(dict.fromkeys(row.label + text for row, text in zip(rows, known, strict=True)))
    return "; ".join(labels[:3] + ["…"] * (len(labels) > 3))


def _check_comparable(old: SpeedRow, new: SpeedRow) -> None:
    """Raise UsageError if two rows did not time the same."""
    names = (old.settings.keys() | new.settings.keys()) - _MAY_DIFFER
    if differ := differences(old.settings, new.settings, names):
        raise UsageError(f"{new.label}: OLD and NEW were measured with other settings ({differ}): measure both alike")


def _compare(old: SpeedRow | None, new: SpeedRow | None, settings: dict[str, Any]) -> CompareRow:
    stages: dict[str, Ratio] = {}
    warnings: list[str] = []
    if old and new and not old.error and not new.error:
        _check_comparable(old, new)
        warnings = warnings_about(old, new)
        stages = {stage: median_ratio(old.rounds_ns(stage), new.rounds_ns(stage)) for stage in STAGES}
        verdict = _judge(stages["total"], settings["fail_above"])
    elif new and new.error:
        verdict = FAILED_IN_BOTH if old and old.error else FAILED_IN_NEW
    elif not new:
        verdict = ONLY_IN_OLD
    else:
        verdict = FAILED_IN_OLD if old else ONLY_IN_NEW
    known = [row for row in (new, old) if row]
    shown = next((row for row in known if key_of(row)), known[0])  # the one that knows more
    about = {name: getattr(shown, name) for name in SizedRow.__struct_fields__} | {"settings": settings, "error": None}
    about |= {"old": old and Side.of(old), "new": new and Side.of(new)}
    return CompareRow(**about, stages=stages, verdict=verdict, warnings=warnings)


def _judge(total: Ratio, fail_above: float | None) -> str:
    """Return the verdict of a ratio. The limit already is a tolerance: the interval must only exclude chance."""
    assert total.ratio is not None  # a frame takes some time
    is_above = fail_above is not None and total.ratio > fail_above
    if total.low is None or total.high is None:
        return UNSURE if is_above else NO_INTERVAL
    if total.low > 1:
        return TOO_SLOW if is_above else SLOWER
    if total.high < 1:
        return FASTER
    return UNSURE if is_above else UNCLEAR


def warnings_about(old: SpeedRow, new: SpeedRow) -> list[str]:
    """Return what else makes two rows differ, or their times doubtful: one line each."""
    found = []
    for what, before, after, names, them in (
        ("machine", old.machine, new.machine, _MACHINE, "the machines"),
        ("frames", old.settings, new.settings, ("frames",), "them"),
        ("versions", old.versions, new.versions, old.versions.keys() | new.versions.keys(), "them"),
    ):
        if differ := differences(before, after, names):
            found.append(f"other {what} ({differ}): the ratios compare {them} too")
    for side, row in (("OLD", old), ("NEW", new)):
        if row.commit and row.commit.dirty:
            where = f"in a changed checkout of commit {row.commit.sha[:7]}"
            found.append(f"{side} was measured {where}: its code is not that of the commit")
        if is_busy(row.machine):
            where = f"on a busy machine (load {row.machine['load_1min']} on {row.machine['physical_cores']} cores)"
            found.append(f"{side} was measured {where}: its times are too long")
    return found


# What is shown


def _total(head: str, figure: str, *, shown: bool = True) -> Column:
    return Column(head, lambda row: row.total and getattr(row.total, figure), ".3f", figure, shown=shown)


COLUMNS: dict[type[Row], Sequence[Column]] = {
    CompareRow: (
        Column("model, size, threads", "label", name="row"),
        _total("OLD ms", "old_p50_ms"),
        _total("NEW ms", "new_p50_ms"),
        _total("NEW/OLD", "ratio"),
        Column("95 % range", lambda row: row.total and row.total.range_text),
        _total("low", "low", shown=False),
        _total("high", "high", shown=False),
        Column("verdict", "verdict"),
    )
}


def tables(rows: Sequence[CompareRow]) -> list[Table]:
    """Make the table of medians, ratios with their intervals, and verdicts of each comparison."""
    return [_table(list(group)) for _, group in groupby(rows, lambda row: row.settings)]


def _table(rows: Sequence[CompareRow]) -> Table:
    lines = [f"median time of a frame; the range is the {CONFIDENCE:.0%} confidence interval of NEW/OLD"]
    for side in ("new", "old"):
        runs = [run for row in rows if (run := getattr(row, side))]
        commits = ", ".join(dict.fromkeys(run.commit.sha[:7] for run in runs if run.commit))
        lines.insert(0, f"{side.upper()} {rows[0].settings[side]}" + f": commit {commits}" * bool(commits))
    others = dict.fromkeys(row.file for row in rows if row.stages and row.is_other_file)
    notes = [f"{file}: OLD and NEW are different model files: two models are compared" for file in others]
    return Table("\n".join(lines), COLUMNS[CompareRow], rows, notes)


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--fail-above",
    type=float,
    metavar="RATIO",
    help="Exit with 1 if NEW takes more than RATIO times as long as OLD and the interval lies above 1; where the "
    "interval reaches down to 1 the row is called unsure, and does not fail.",
)
@partial(options.output_options, measures=False)
def command(old: Path, new: Path, fail_above: float | None) -> Results:
    """Compare two files of `bench speed --out`: how much longer NEW takes than OLD, row by row.

    Rows belong together if model, precision, engine, size and threads are the same. The ratio is of the median times
    of a frame. Its 95 % interval, found by resampling whole rounds, covers chance within these two runs; what lasts
    through a whole run, such as a slower clock, is not in it. A row that failed in NEW alone is exit code 1.
    """
    return compare(old, new, fail_above=fail_above)
