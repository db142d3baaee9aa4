"""Sustained speed: whether a model is as fast at the end of a run without a pause as at the start, in a hot machine.

Such a run is a row of `speed`, whose rounds follow one another at once: its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe_bench.columns import WHAT, Column, Table

_PART_S = 5.0
_ENDS_S = 60.0


def part_s(seconds: float) -> float:
    """Return how many seconds each part of a run of so many takes: a short run has two."""
    return min(_PART_S, seconds / 2)


def ends(seconds: float, from_s: Sequence[float], parts_ns: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """Return the figures of a run of so many seconds, given when each part began, and its times in nanoseconds.

    `ends_s`: how many seconds the two ends are: a minute, or half the time of a run of less than two. `first_p50_ms`,
    `last_p50_ms`: their medians.
    """
    ends_s = min(_ENDS_S, seconds / 2)
    timed = list(zip(from_s, parts_ns, strict=True))
    first = [times_ns for begun_s, times_ns in timed if begun_s < ends_s]
    last = [times_ns for begun_s, times_ns in timed if begun_s >= seconds - ends_s] or parts_ns[-1:]
    medians_ms = (float(np.median(np.concatenate(end))) / 1e6 for end in (first, last))
    return {"ends_s": ends_s, **dict(zip(("first_p50_ms", "last_p50_ms"), medians_ms, strict=True))}


def _of_run(head: str, value: Callable[[Any], Any], digits: str, name: str) -> Column:
    return Column(head, lambda row: value(row) if row.ends_s else None, digits, name)


def _throttled(row: Any) -> str:
    states = [health["throttled"] for health in row.round_health]
    return "unknown" if states[-1] is None else "yes" if any(states) else "no"


COLUMNS = (
    Column("first ms", "first_p50_ms", ".2f"),
    Column("last ms", "last_p50_ms", ".2f"),
    _of_run("last/first", lambda row: row.last_p50_ms / row.first_p50_ms, ".3f", "last_over_first"),
    _of_run("first °C", lambda row: row.round_health[0]["temperature_c"], ".0f", "first_c"),
    _of_run("last °C", lambda row: row.round_health[-1]["temperature_c"], ".0f", "last_c"),
    _of_run("throttled", _throttled, "", "throttled"),
)


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the table of the first and last end of each run without a pause, if there are any."""
    runs = [row for row in rows if row.ends_s]
    title = f"medians of the first and last {runs[0].ends_s:g} seconds of a run without a pause" if runs else ""
    return [Table(title, (*WHAT, *COLUMNS), runs)] if runs else []
