"""A speed run that goes on where an earlier one was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from quietframe.errors import UsageError
from quietframe_bench.report import Report
from quietframe_bench.rows import read_rows
from quietframe_bench.speed import SpeedRow

_GRID = ("sizes_wh", "threads")
_MACHINE = ("board", "cpu", "architecture", "physical_cores", "logical_cores")


class Finished:
    """The rows of a file that need not be measured again: those of the run's kind that did not fail.

    Args:
        path: what `bench --json` wrote; a file that is not there holds no rows, nor does None.
        report: of the run that goes on.

    Raises:
        UsageError: the rows were measured with other settings, versions or on another machine, or none is of this kind.
    """

    def __init__(self, path: Path | None, report: Report) -> None:
        self.lines: list[Mapping[str, Any]] = []
        there = read_rows(path) if path and path.exists() else []
        of_kind = [line for line in there if line["kind"] == report.kind]
        if there and not of_kind:
            raise UsageError(f"{path}: cannot go on with it, it holds no rows of kind {report.kind!r}")
        for line in of_kind:
            if differs := _difference(line, report):
                raise UsageError(f"{path}: cannot go on with it, {differs}: give --json another file")
            if line["error"] is None:
                self.lines.append(line)
        self._keys = {_key(line["model"]["sha256"], line["size_wh"], line["threads"]) for line in self.lines}

    def holds(self, row: SpeedRow) -> bool:
        """Whether that model file was measured at that size with so many threads."""
        if row.size_wh is None:
            return False
        return _key(hashlib.sha256(row.model.read_bytes()).hexdigest(), row.size_wh, row.threads) in self._keys


def _key(sha256: str, size_wh: Sequence[int], threads: int | None) -> Hashable:
    return sha256, tuple(size_wh), threads


def _difference(line: Mapping[str, Any], report: Report) -> str | None:
    """What a row has that this run has not; None if they belong together."""
    ours = report.circumstances
    for name, value in line["settings"].items():
        if name not in _GRID and value != ours["settings"].get(name):
            return f"{name} was {value!r} and is {ours['settings'].get(name)!r}"
    for name in _MACHINE:
        if line["machine"][name] != ours["machine"][name]:
            return f"the machine's {name} was {line['machine'][name]!r} and is {ours['machine'][name]!r}"
    for name, value in line["versions"].items():
        if value != ours["versions"].get(name):
            return f"{name} was {value} and is {ours['versions'].get(name, 'not installed')}"
    return None
