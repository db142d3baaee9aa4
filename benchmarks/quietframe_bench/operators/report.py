"""Operators for people: a table for each row, and the clocks beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from quietframe_bench.operators.measure import OperatorRow
from quietframe_bench.report import new_table


def operator_tables(rows: Sequence[OperatorRow]) -> list[RenderableType]:
    """A table of operators for each row that did not fail, with its notes; then what each clock says of one run."""
    parts: list[RenderableType] = []
    for row in rows:
        if not row.error:
            parts += [_operators(row), *(f"- {note}" for note in row.profiled["notes"]), ""]
    missing = [f"- {row.model.name}: {row.tool['missing']}" for row in rows if "missing" in row.tool]
    return [*parts, _clocks(rows), *dict.fromkeys(missing)]


def title_of(row: OperatorRow) -> str:
    """The model, the size and the threads of a row."""
    assert row.size_wh is not None
    return f"{row.model.name} at {row.size_wh[0]}×{row.size_wh[1]}, threads: {row.threads}"


def _operators(row: OperatorRow) -> Table:
    table = Table(title_justify="left", title_style="")
    table.title = f"{title_of(row)}; {row.profiled['source']}\nmedians of {len(row.profiled['runs_ns'])} runs"
    if row.facts["engine_runs"] > 1:
        table.title += f"; one of the {row.facts['engine_runs']} runs that a frame takes"
    table.add_column("#", justify="right")
    table.add_column("operator", overflow="fold")
    table.add_column("layer", overflow="fold")
    for name in ("output", "ms", "share", "MMAC", "GMAC/s", "GB/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in row.operators():
        table.add_row(
            str(one["index"]),
            one["kind"],
            one["name"],
            "×".join(map(str, one["output_shape"])),
            f"{one['median_ms']:.3f}",
            "" if one["share"] is None else f"{one['share']:.1%}",
            f"{one['macs'] / 1e6:.2f}" if one["macs"] else "",
            "" if one["gmacs_per_s"] is None else f"{one['gmacs_per_s']:.1f}",
            "" if one["gbytes_per_s"] is None else f"{one['gbytes_per_s']:.1f}",
        )
    return table


def _clocks(rows: Sequence[OperatorRow]) -> Table:
    table = new_table(
        *(
            "model",
            "size",
            "threads",
            "stopwatch",
            "profiler",
            "operators",
            "own tool",
            "median",
            "average",
            "tool/watch",
        )
    )
    table.title = (
        "one run of the engine in milliseconds, by each clock: medians; stopwatch: as in quietframe bench;\n"
        "operators: those of the profile added up; tool/watch: the own tool's median by the stopwatch's"
    )
    for row in rows:
        size = f"{row.size_wh[0]}×{row.size_wh[1]}" if row.size_wh else ""
        what = row.model.name, size, str(row.threads or "")
        if row.error:
            table.add_row(*what, "failed")
            continue
        clocks = row.clocks()
        ratio = clocks["tool"] / clocks["stopwatch"] if clocks["tool"] and clocks["stopwatch"] else None
        table.add_row(
            *what,
            *(_ms(clocks[name]) for name in ("stopwatch", "profiler", "operators")),
            row.tool.get("name", ""),
            *(_ms(clocks[name]) for name in ("tool", "tool_avg")),
            "" if ratio is None else f"{ratio:.3f}",
        )
    return table


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
