"""How time grows with pixels, and falls with threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from quietframe_bench.report import new_table

Line = Mapping[str, Any]


def pixel_exponents(lines: Sequence[Line]) -> dict[tuple[str, int], float]:
    """By model file and threads: the power of the number of pixels with which the median total time grows.

    A least-squares line through the logarithms; of models that were measured at two sizes or more. 1: twice the pixels
    take twice the time; below 1, part of the time is the same for all sizes; above 1, what no longer fits into caches
    shows.
    """
    exponents = {}
    for key, rows in _grouped(lines, "threads").items():
        pixels = [row["size_wh"][0] * row["size_wh"][1] for row in rows]
        if len(set(pixels)) > 1:
            slope, _ = np.polyfit(np.log(pixels), np.log([_total_ms(row) for row in rows]), 1)
            exponents[key] = float(slope)
    return exponents


def speedups(lines: Sequence[Line]) -> dict[tuple[str, tuple[int, int]], dict[int, float]]:
    """By model file and size: for each number of threads, how many times faster than with the fewest."""
    found = {}
    for key, rows in _grouped(lines, "size_wh").items():
        first, *more = sorted(rows, key=lambda row: row["threads"])
        if more:
            found[key] = {row["threads"]: _total_ms(first) / _total_ms(row) for row in more}
    return found


def scaling_table(lines: Sequence[Line]) -> list[Table]:
    """Both, for the terminal; nothing where there is one size and one number of threads."""
    tables = []
    if exponents := pixel_exponents(lines):
        table = new_table("model", "threads", "exponent")
        table.title = "time grows with pixels to the power of"
        for (model, threads), exponent in exponents.items():
            table.add_row(model, str(threads), f"{exponent:.2f}")
        tables.append(table)
    if gains := speedups(lines):
        counts = sorted({count for by_threads in gains.values() for count in by_threads})
        table = new_table("model", "size", *(f"{count} threads" for count in counts))
        table.title = "times as fast as with the fewest threads"
        for (model, (width, height)), by_threads in gains.items():
            cells = (f"{by_threads[count]:.2f}" if count in by_threads else "" for count in counts)
            table.add_row(model, f"{width}×{height}", *cells)
        tables.append(table)
    return tables


def _total_ms(row: Line) -> float:
    return float(row["stages"]["total"]["p50_ms"])


def _grouped(lines: Sequence[Line], by: str) -> dict[tuple[str, Any], list[Line]]:
    groups: dict[tuple[str, Any], list[Line]] = {}
    for line in lines:
        if line["error"] is None:
            key = tuple(line[by]) if by == "size_wh" else line[by]
            groups.setdefault((line["model"]["file"], key), []).append(line)
    return groups
