"""The comparison with peers for people (tables, notes) and for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from quietframe_bench.classical import CBM3D, METHODS
from quietframe_bench.comparison import Comparison, ComparisonSettings
from quietframe_bench.contenders import Contender
from quietframe_bench.image_quality import QualityRow, settings_record
from quietframe_bench.report import new_table


def comparison_tables(found: Comparison, settings: ComparisonSettings) -> list[RenderableType]:
    """Quality of each contender at each level; the same on CBM3D's pictures; what each costs; the notes."""
    sigmas_255 = settings.quality.sigmas_255
    quality = _quality_table(found, sigmas_255)
    quality.title = "mean over images; 8-bit noisy frames in, 8-bit frames out"
    parts: list[RenderableType] = [quality]
    if among := _subset(found):
        subset = _quality_table(found, sigmas_255, among)
        subset.title = f"the same on those that {CBM3D} was judged on"
        parts.append(subset)
    parts.append(_cost_table(found, settings))
    return [*parts, *(f"- {note}" for note in notes(found, settings))]


def notes(found: Comparison, settings: ComparisonSettings) -> list[str]:
    """How the figures came about, and what flatters whom."""
    images = next((choice.images for choice in found.choices), 0)
    some = f"every {_ordinal(found.every)} picture" if found.every > 1 else "every picture"
    grids = "; ".join(f"{method}: {METHODS[method].grid_says}" for method in settings.filters)
    size_wh, threads = settings.speed.sizes_wh[0], settings.speed.threads[0]
    kind = "gray" if found.gray else "colour"
    said = [
        f"{found.pictures} {kind} pictures; white Gaussian noise, rounded and clipped to 8 bits.",
        "Models estimate the noise level in every frame. Rows that say 'level told' know the true one, as published "
        "figures do; they have no time of their own.",
        f"'best setting': of a small grid, by mean PSNR at each level on {some} ({images}) of these same pictures, "
        f"with the level known: that flatters the filters. The grid: {grids}.",
        "'textbook': the setting of OpenCV's tutorials.",
        f"ms: medians on {size_wh[0]}×{size_wh[1]} {kind} frames with {threads} threads, OpenCV's as many; contenders "
        "timed in turn, each in a process of its own. whole: with the estimate of the level and the frame's way to "
        "the engine and back.",
    ]
    if any(row.contender.method == CBM3D for row in found.rows):
        said.append(
            f"{CBM3D}: the bm3d package, profile np, on {some}: compare it in the table of those images. It takes the "
            "noise to be Gaussian, which it no longer is where it was clipped."
        )
    if found.gray:
        said.append("Colour models see a gray frame as three equal channels.")
    return said + [f"{name} is not measured: {what}" for name, what in found.absent.items()]


def comparison_record(found: Comparison, settings: ComparisonSettings) -> dict[str, Any]:
    """What the document holds besides the rows: times, grids, notes and settings."""
    return {
        "comparison": {
            **settings.as_record(),
            "every": found.every,
            "gray": found.gray,
            "absent": dict(found.absent),
            "textbook": {method: dict(METHODS[method].textbook) for method in settings.filters},
            "grids": [choice.as_record() for choice in found.choices],
            "times": [one.as_record() for one in found.times],
            "notes": notes(found, settings),
        }
    }


def document_rows(found: Comparison) -> list[tuple[Path | None, Mapping[str, Any]]]:
    """The rows for `Report.lines`, each with its time; of a model whose file could not be made, without it."""
    return [
        (
            row.model if row.model and row.model.is_file() else None,
            {**row.as_record(), "total_p50_ms": times.p50_ms("total") if (times := found.time_of(row)) else None},
        )
        for row in found.rows
    ]


def settings_of(settings: ComparisonSettings) -> dict[str, Any]:
    """All settings for JSON."""
    return {**settings_record(settings.quality), **settings.as_record()}


def _quality_table(found: Comparison, sigmas_255: Sequence[float], among: frozenset[str] | None = None) -> Table:
    columns = [f"σ {sigma_255:g} {what}" for sigma_255 in sigmas_255 for what in ("dB", "SSIM")]
    result = new_table("contender", "images", *columns)
    for name in dict.fromkeys(row.name for row in found.rows):
        rows = {row.sigma_255: row for row in found.rows if row.name == name}
        cells = [cell for sigma_255 in sigmas_255 for cell in _cells(rows[sigma_255], among)]
        count = max(len(row.figures.keys() & among if among else row.figures) for row in rows.values())
        result.add_row(name, str(count), *cells)
    if among is None:
        for name in found.absent:
            result.add_row(name, "", "not measured")
    return result


def _cells(row: QualityRow, among: frozenset[str] | None) -> tuple[str, str]:
    psnr_db, ssim = row.mean("psnr_db", among), row.mean("ssim", among)
    return ("failed", "") if psnr_db is None or ssim is None else (f"{psnr_db:.2f}", f"{ssim:.4f}")


def _cost_table(found: Comparison, settings: ComparisonSettings) -> Table:
    result = new_table("contender", "setting", "whole ms", "engine ms", "frames", "MB", "MAC/px", "GMAC/s")
    result.columns[1].justify, result.columns[1].no_wrap = "left", False
    size_wh = settings.speed.sizes_wh[0]
    result.title = f"a frame of {size_wh[0]}×{size_wh[1]}, medians, threads: {settings.speed.threads[0]}"
    for one in found.times:
        model = one.contender.model
        users = [row for row in found.rows if found.time_of(row) is one]
        whole_ms, engine_ms = one.p50_ms("total"), one.p50_ms("engine")
        macs = users[0].facts.get("macs_per_pixel")
        result.add_row(
            one.contender.name + _used_by(users),
            _in_words(one.contender),
            "failed" if whole_ms is None else f"{whole_ms:.1f}",
            "" if engine_ms is None else f"{engine_ms:.1f}",
            str(len(one.samples)),
            f"{model.stat().st_size / 1e6:.3f}" if model and model.is_file() else "",
            "" if macs is None else f"{macs:,.0f}",
            "" if one.gmacs_per_s is None else f"{one.gmacs_per_s:.0f}",
        )
    return result


def _used_by(rows: Sequence[QualityRow]) -> str:
    """Which rows of a filter have this time, such as `, best at σ 15, 25`."""
    best = [f"{row.sigma_255:g}" for row in rows if row.name.endswith("best setting")]
    said = [f"best at σ {', '.join(best)}"] if best else []
    if any(row.name.endswith("textbook") for row in rows):
        said.append("textbook")
    return f", {' and '.join(said)}" if said else ""


def _in_words(contender: Contender) -> str:
    """The setting, without what is the same in every setting of the method."""
    if contender.method is None:
        return ""
    method = METHODS[contender.method]
    told = {
        name: value
        for name, value in contender.setting.items()
        if any(other.get(name, value) != method.textbook.get(name) for other in method.grid) or name == method.told_as
    }
    return ", ".join(f"{name} {value:g}" for name, value in told.items())


def _subset(found: Comparison) -> frozenset[str] | None:
    """The pictures that the slow method was judged on, where they are not all."""
    slow = next((row for row in found.rows if row.contender.every > 1 and row.figures), None)
    return frozenset(slow.figures) if slow else None


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")
