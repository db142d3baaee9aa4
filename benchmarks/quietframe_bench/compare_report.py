"""A comparison of two runs for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from rich.console import RenderableType

from quietframe_bench.compare import FAILED_IN_NEW, ONLY_IN_OLD, UNSURE, ComparedRow, Comparison
from quietframe_bench.ratio import Ratio
from quietframe_bench.report import new_table
from quietframe_bench.timed_rows import TimedRow


def compare_table(comparison: Comparison) -> list[RenderableType]:
    """Each row's medians, their ratio with its interval, and the verdict; then where model files differ."""
    table = new_table("model, size, threads", "OLD ms", "NEW ms", "NEW/OLD", "95 % range", "verdict")
    table.title = (
        f"OLD {_run(comparison.old, (row.old for row in comparison.rows))}\n"
        f"NEW {_run(comparison.new, (row.new for row in comparison.rows))}\n"
        "median time of a frame; the range is the 95 % confidence interval of NEW/OLD"
    )
    for row in comparison.rows:
        total = row.stages.get("total")
        table.add_row(row.shown.label, *(_cells(total) if total else [""] * 4), row.verdict)
    others = dict.fromkeys(row.shown.model for row in comparison.rows if row.stages and row.is_other_file)
    return [table, *(f"{model}: OLD and NEW are different model files: two models are compared" for model in others)]


def _run(path: Path, rows: Iterable[TimedRow | None]) -> str:
    """The file, and the commits that its rows were measured at."""
    commits = {row.record["commit"]["sha"][:7]: None for row in rows if row and row.record["commit"]}
    name = click.format_filename(path.name)
    return f"{name}: commit {', '.join(commits)}" if commits else name


def _cells(total: Ratio) -> list[str]:
    interval = "" if total.low is None or total.high is None else f"{total.low:.3f}–{total.high:.3f}"
    return [f"{total.old_p50_ms:.3f}", f"{total.new_p50_ms:.3f}", f"{total.ratio:.3f}", interval]


def messages(comparison: Comparison) -> Iterator[str]:
    """What standard error is told, a line each: warnings, then rows that are unsure, then those that failed."""
    limit = comparison.fail_above
    yield from (f"warning: {text}" for text in comparison.warnings)
    if limit is not None:  # a run that was cut short must not pass in silence
        yield from (
            f"warning: {row.shown.label} is only in OLD: not compared"
            for row in comparison.rows
            if row.verdict == ONLY_IN_OLD
        )
    for row in comparison.rows:
        if row.verdict == UNSURE:
            yield f"unsure: {_reason(row, limit)}: measure both again, for longer or on a machine that does less"
    yield from (f"failed: {_reason(row, limit)}" for row in comparison.failed)


def _reason(row: ComparedRow, fail_above: float | None) -> str:
    label = row.shown.label
    if row.verdict == FAILED_IN_NEW:
        assert row.new is not None and row.new.error is not None
        error = " ".join(row.new.error.split())
        return "".join(letter if letter.isprintable() else "?" for letter in f"{label}: {error}")
    total = row.stages["total"]
    interval = "no interval" if total.low is None else f"{total.low:.3f} to {total.high:.3f}"
    return f"{label}: {total.ratio:.3f} times as long ({interval}), above {fail_above:g}"
