"""What differs between two runs beside the models: machines, versions, changed checkouts, other load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from quietframe_bench.machine import is_busy
from quietframe_bench.rows import short
from quietframe_bench.timed_rows import TimedRow

_MACHINE = ("cpu", "board", "architecture", "physical_cores", "logical_cores", "governor")
"""What makes a machine another one; its load and clock change by the second."""


def warnings_about(pairs: Sequence[tuple[TimedRow, TimedRow]]) -> list[str]:
    """What makes the ratios of (old, new) rows say less than they seem to: one line each, none twice."""
    records = [(old.record, new.record) for old, new in pairs]
    found = [text for old, new in records for text in _between(old, new)]
    for place, side in enumerate(("OLD", "NEW")):
        found += [text for pair in records for text in _of_one(pair[place], side)]
    return list(dict.fromkeys(found))


def _between(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if differ := _differences(old["machine"], new["machine"], _MACHINE):
        yield f"other machine ({differ}): the ratios compare the machines too"
    if differ := _differences(old["settings"], new["settings"], ("frames",)):
        yield f"other pictures ({differ}): the ratios compare them too"
    names = sorted(old["versions"].keys() | new["versions"].keys())
    if differ := _differences(old["versions"], new["versions"], names):
        yield f"other versions ({differ}): the ratios compare them too"


def _of_one(row: Mapping[str, Any], side: str) -> Iterator[str]:
    if row["commit"] and row["commit"]["dirty"]:
        sha = row["commit"]["sha"][:7]
        yield f"{side} was measured in a changed checkout of commit {sha}: its code is not that of the commit"
    if is_busy(row["machine"]):
        load, cores = row["machine"]["load_1min"], row["machine"]["physical_cores"]
        yield f"{side} was measured on a busy machine (load {load} on {cores} cores): its times are too long"


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> str:
    """`name OLD, NEW` for each that differs."""
    return "; ".join(
        f"{name} {_said(old.get(name))}, {_said(new.get(name))}" for name in names if old.get(name) != new.get(name)
    )


def _said(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) and value.isprintable() and len(value) < 60 else short(value)
