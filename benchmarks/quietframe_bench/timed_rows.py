"""The speed rows of a file of `quietframe bench --json`, checked: models and their times, round by round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import UsageError
from quietframe_bench.rows import field, is_count, is_object, is_text, read_rows
from quietframe_bench.timing import STAGES

Key = tuple[str, str, str, tuple[int, int], int]
"""What a row measured: name, precision, engine, size_wh and threads."""

_MOST_NS = 2**53  # 104 days; above it floats leave out whole numbers


@dataclass(frozen=True)
class TimedRow:
    """A checked speed row.

    Attributes:
        line: where it stood in its file.
        file, sha256: of the model.
        name, precision, engine: as the model's card and file say; None where a model could not be opened.
        size_wh, threads: of the frames and the engine; None likewise.
        error: why it failed; None if it did not.
        rounds_ns: for each of `STAGES` the samples of each round, (n,) float64; empty if it failed.
        record: the whole row, as read.
    """

    line: int
    file: str
    sha256: str
    name: str | None
    precision: str | None
    engine: str | None
    size_wh: tuple[int, int] | None
    threads: int | None
    error: str | None
    rounds_ns: Mapping[str, list[NDArray[np.float64]]]
    record: Mapping[str, Any]

    @property
    def key(self) -> Key | None:
        """What rows of two files are matched by; None if the row failed before that was known."""
        if None in (parts := (self.name, self.precision, self.engine, self.size_wh, self.threads)):
            return None
        return parts  # type: ignore[return-value]  # mypy does not see that none is None

    @property
    def model(self) -> str:
        """The model in a few words; of one that could not be opened the file's name."""
        if self.name is None or self.precision is None or self.engine is None:
            return self.file
        return f"{self.name} {self.precision} {self.engine.removesuffix('Engine')}"

    @property
    def label(self) -> str:
        """The row in a few words."""
        if self.size_wh is None or self.threads is None:
            return self.model
        return f"{self.model} {size_text(self.size_wh)}, {self.threads} thread{'s' * (self.threads > 1)}"


def size_text(size_wh: tuple[int, int]) -> str:
    """(width, height) as people write it."""
    return f"{size_wh[0]}×{size_wh[1]}"


def read_timed_rows(path: str | Path) -> list[TimedRow]:
    """The speed rows of a file, in order; rows of other kinds are left out.

    Raises:
        SourceError: the file cannot be read, or is empty.
        UsageError: not such a file, without speed rows, or with two rows for the same. See also `read_rows`.
    """
    rows = read_rows(path)
    speed = [_checked(row, path, line) for line, row in enumerate(rows, 1) if row["kind"] == "speed"]
    if not speed:
        kinds = ", ".join(Counter(row["kind"] for row in rows))
        raise UsageError(f"{path}: holds no speed rows ({kinds}): quietframe bench --json FILE MODEL writes them")
    seen: dict[Key, int] = {}
    for row in speed:
        if row.key and (before := seen.setdefault(row.key, row.line)) != row.line:
            raise UsageError(f"{path}: lines {before} and {row.line} are both {row.label}: keep one of them")
    return speed


def _checked(row: Mapping[str, Any], path: str | Path, line: int) -> TimedRow:
    where = f"{path}: line {line}"
    error = field(row, "error", lambda value: value is None or isinstance(value, str), "text or null", where)
    model = field(row, "model", is_object, "an object", where)
    if failed := error is not None:  # a model that cannot be opened has told nothing of itself
        row = {"name": None, "precision": None, "engine": None, "size_wh": None, "threads": None, **row}
    texts = {
        name: field(row, name, lambda value: is_text(value) or (failed and value is None), "text", where)
        for name in ("name", "precision", "engine")
    }
    size_wh = field(row, "size_wh", lambda value: _is_size(value) or (failed and value is None), "[W, H]", where)
    threads = field(
        row, "threads", lambda value: is_count(value) or (failed and value is None), "a whole number above 0", where
    )
    return TimedRow(
        line=line,
        file=model["file"],
        sha256=model["sha256"],
        **texts,
        size_wh=tuple(size_wh) if size_wh else None,
        threads=threads,
        error=error,
        rounds_ns={} if failed else _rounds(row, where),
        record=row,
    )


def _rounds(row: Mapping[str, Any], where: str) -> dict[str, list[NDArray[np.float64]]]:
    """The samples of each stage, cut where rounds end."""
    runs = field(row, "round_runs", _are_counts, "whole numbers above 0, one for each round", where)
    samples_ns = field(row, "samples_ns", is_object, "an object", where)
    rounds = {}
    for stage in STAGES:
        least = 1 if stage == "total" else 0  # a stage may be shorter than the clock's tick
        times = field(
            samples_ns,
            stage,
            partial(_are_times, least=least),
            f"a list of nanoseconds, {least} to 2**53",
            f"{where}: samples_ns",
        )
        if len(times) != sum(runs):
            raise UsageError(f"{where}: {len(times)} samples of {stage!r}, but round_runs add up to {sum(runs)}")
        rounds[stage] = np.split(np.asarray(times, np.float64), np.cumsum(runs[:-1]))
    return rounds


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_count, value))


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_count, value))


def _are_times(value: object, *, least: int) -> bool:
    return isinstance(value, list) and all(type(time) is int and least <= time < _MOST_NS for time in value)
