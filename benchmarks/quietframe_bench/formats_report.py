"""The quality over formats as tables: the same for a terminal and, as Markdown, for documents; and flat, for CSV."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isclose
from statistics import fmean
from typing import Any, NamedTuple

from rich.console import RenderableType

from quietframe.quality import PSNR_CAP_DB
from quietframe_bench.contenders import NOISY_INPUT
from quietframe_bench.report import new_table
from quietframe_bench.results.markdown import NONE, gain, table

Line = Mapping[str, Any]

HARSH = ("jpeg-60-420", "h264-28")
"""Formats that are reported, and left out of means."""

_FLAT = (
    "contender", "name", "precision", "format", "sigma_255", "images", "psnr_db", "ssim", "gain_db", "lead_db",
    "estimated_sigma_255", "psnr_to_input_db", "error",
)  # fmt: skip


class Text(NamedTuple):
    """A table: what stands above it, the heads of its columns, its rows of cells."""

    title: str
    head: Sequence[str]
    cells: Sequence[Sequence[str]]


def format_tables(lines: Sequence[Line]) -> list[RenderableType]:
    """Make the tables for a terminal, of the lines of kind `formats`."""
    tables: list[RenderableType] = []
    for text in _texts(lines):
        made = new_table(*text.head)
        made.title = text.title
        made.columns[0].no_wrap = True
        for column in made.columns[1:]:  # the names of many models are wider than a terminal
            column.no_wrap, column.overflow = False, "fold"
        for cells in text.cells:
            made.add_row(*cells)
        tables.append(made)
    return tables


def format_markdown(lines: Sequence[Line]) -> list[str]:
    """Make the same for a document: sentences and tables in turn."""
    return [part for text in _texts(lines) for part in (text.title, table(text.head, text.cells))]


def flat(line: Line) -> dict[str, Any]:
    """Return the figures of a line, one to a column."""
    file = None if line["model"] is None else line["model"]["file"]
    return {"file": file, **{name: line.get(name) for name in _FLAT}}


def mean_lead_db(lines: Sequence[Line], contender: str, sigma_255: float) -> float | None:
    """Return the mean of a contender's lead over bilateral in all formats but `HARSH`; None without any."""
    leads = [
        line["lead_db"]
        for line in lines
        if (line["contender"], line["sigma_255"]) == (contender, sigma_255)
        and line["format"] not in HARSH
        and line["lead_db"] is not None
    ]
    return fmean(leads) if leads else None


def _texts(lines: Sequence[Line]) -> list[Text]:
    found = [line for line in lines if line["kind"] == "formats"]
    texts = []
    for sigma_255 in dict.fromkeys(line["sigma_255"] for line in found):
        at_level = [line for line in found if line["sigma_255"] == sigma_255]
        images = max(line["images"] for line in at_level)
        if sigma_255 == 0:
            title = (
                f"Clean frames, {images} images: PSNR in dB of the frame as delivered, which is what the format lost; "
                "of a model how it changes that, and in brackets the PSNR of its output to its input"
            )
            texts.append(Text(title, *_pivot(at_level, _clean, mean=False)))
            continue
        title = (
            f"σ {sigma_255:g}, {images} images: PSNR in dB, and in brackets the lead over the best bilateral; "
            f"means are without {' and '.join(HARSH)}"
        )
        texts.append(Text(title, *_pivot(at_level, _psnr)))
        texts.append(Text(f"σ {sigma_255:g}, {images} images: SSIM", *_pivot(at_level, _ssim)))
    return texts


def _pivot(
    lines: Sequence[Line], cell: Callable[[Sequence[Line]], str], *, mean: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Make a row for each format and one for their mean, a column for each contender, and the level read.

    lines: of one noise level. cell: makes a cell of one contender's lines, one for each format in it.
    """
    heads = _heads(lines)
    groups = {name: [name] for name in dict.fromkeys(line["format"] for line in lines)}
    usual = [name for name in groups if name not in HARSH]
    if mean and len(usual) > 1:
        groups["mean"] = usual
    rows = []
    for label, group in groups.items():
        cells = [[one for one in lines if one["contender"] == name and one["format"] in group] for name in heads]
        level = f"{cells[0][0]['estimated_sigma_255']:.1f}" if len(group) == 1 else ""
        rows.append([label, *("failed" if any(one["error"] for one in of) else cell(of) for of in cells), level])
    return ["format", *heads.values(), "level read"], rows


def _heads(lines: Sequence[Line]) -> dict[str, str]:
    """Return the contenders and what stands above their columns: a model's name, or its file where two have one."""
    heads = {line["contender"]: line.get("name") or line["contender"] for line in lines}
    heads[NOISY_INPUT.name] = "delivered"
    names = [*heads.values()]
    return {contender: head if names.count(head) == 1 else contender for contender, head in heads.items()}


def _psnr(lines: Sequence[Line]) -> str:
    psnr_db = f"{fmean(line['psnr_db'] for line in lines):.2f}"
    if lines[0]["model"] is None or lines[0]["lead_db"] is None:
        return psnr_db
    return f"{psnr_db} ({gain('psnr_db', fmean(line['lead_db'] for line in lines))})"


def _ssim(lines: Sequence[Line]) -> str:
    return f"{fmean(line['ssim'] for line in lines):.4f}"


def _clean(lines: Sequence[Line]) -> str:
    (line,) = lines
    if line["model"] is None:
        return "lossless" if line["psnr_db"] == PSNR_CAP_DB else f"{line['psnr_db']:.2f}"
    delivered_db = line["psnr_db"] - line["gain_db"]
    change = NONE if isclose(delivered_db, PSNR_CAP_DB) else gain("psnr_db", line["gain_db"])
    return f"{change} ({line['psnr_to_input_db']:.1f})"
