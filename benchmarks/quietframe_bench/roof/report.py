"""The roof for people: what the machine can do, what each model reaches, and each layer's place."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from quietframe_bench.operators.measure import OperatorRow
from quietframe_bench.operators.report import title_of
from quietframe_bench.report import new_table
from quietframe_bench.roof.measure import ENGINE_NAMES, Roof, layers_of, reached


def roof_tables(roof: Roof, rows: Sequence[OperatorRow]) -> list[RenderableType]:
    """Peaks and bandwidths; what each model reaches of its peak; the layers of each."""
    parts: list[RenderableType] = [_peaks(roof), _bandwidths(roof)]
    if rows:
        parts.append(_models(roof, rows))
    for row in rows:
        if layers := _layers(roof, row):
            parts += [layers, *(f"- {note}" for note in row.profiled["notes"])]
    return parts


def _peaks(roof: Roof) -> Table:
    table = new_table("peak", "precision", "threads", "GMAC/s", "reached by")
    table.title = "the fastest run of the best of several models that only multiply"
    for peak in roof.peaks:
        what = ENGINE_NAMES[peak.engine], peak.precision, str(peak.threads)
        if peak.error:
            table.add_row(*what, "failed")
        else:
            table.add_row(*what, f"{peak.gmacs_per_s:.1f}", peak.best["name"])
    return table


def _bandwidths(roof: Roof) -> Table:
    table = new_table("bandwidth", "threads", "GB/s", "arrays of")
    table.title = "reading and writing while NumPy copies:\nthe fastest round"
    for one in roof.bandwidths:
        level = "last cache" if one.level == "cache" else one.level
        table.add_row(level, str(one.threads), f"{one.gbytes_per_s:.1f}", f"{one.held_bytes / 1e6:.1f} MB")
    return table


def _models(roof: Roof, rows: Sequence[OperatorRow]) -> Table:
    table = new_table("model", "size", "threads", "MMAC", "engine ms", "GMAC/s", "peak", "of the peak")
    table.title = "models: engine time by the stopwatch; the peak of the same engine, precision and threads"
    for row in rows:
        size = f"{row.size_wh[0]}×{row.size_wh[1]}" if row.size_wh else ""
        what = row.model.name, size, str(row.threads or "")
        figures, peak = reached(row, roof), None if row.error else roof.peak_of(row)
        if not figures or peak is None:
            table.add_row(*what, "", "failed" if row.error else "no peak")
            continue
        table.add_row(
            *what,
            f"{row.macs / 1e6:.1f}",
            f"{figures['engine_ms']:.2f}",
            f"{figures['gmacs_per_s']:.1f}",
            f"{peak.gmacs_per_s:.1f}",
            f"{figures['of_peak']:.1%}",
        )
    return table


def _layers(roof: Roof, row: OperatorRow) -> Table | None:
    layers = layers_of(row, roof)
    if not layers:
        return None
    table = Table(title_justify="left", title_style="")
    table.title = f"{title_of(row)}: layers that multiply\nroof: the peak, or what memory or cache can feed"
    table.add_column("#", justify="right")
    table.add_column("operator", overflow="fold")
    table.add_column("layer", overflow="fold")
    for name in ("ms", "share", "MMAC", "MAC/byte", "GMAC/s", "roof", "of the roof", "limit"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in layers:
        table.add_row(
            str(one.index),
            one.kind,
            one.name,
            f"{one.median_ms:.3f}",
            f"{one.share:.1%}",
            f"{one.macs / 1e6:.2f}",
            f"{one.intensity:.1f}",
            f"{one.gmacs_per_s:.1f}",
            f"{one.roof_gmacs_per_s:.1f}",
            f"{one.gmacs_per_s / one.roof_gmacs_per_s:.1%}",
            one.limit,
        )
    return table
