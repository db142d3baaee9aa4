"""Tables of quality, and the points of its plot: what `kinds/quality.py` shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isclose
from statistics import fmean
from typing import Any

import msgspec

from quietframe.quality import PSNR_CAP_DB
from quietframe_bench import plots
from quietframe_bench.columns import CIRCUMSTANCES, Column, Table, table_of_lines
from quietframe_bench.judging import QualityRow

HARSH = ("jpeg-60-420", "h264-28")
"""Formats that are reported, and left out of means."""

_FIGURES = {
    column.head: column
    for column in (
        Column("denoiser", "candidate"),
        Column("format", "format"),
        Column("motion", "motion"),
        Column("sigma", "sigma_255", "g"),
        Column("samples", lambda row: len(row.by_sample) or None, name="samples"),
        Column("PSNR dB", "psnr_db", ".2f"),
        Column("gain dB", "gain_db", "+.2f"),
        Column("gaining", "gaining_share", ".0%"),
        Column("worst dB", "worst_gain_db", "+.2f"),
        Column("lead dB", "lead_db", "+.2f"),
        Column("SSIM", "ssim", ".4f"),
        Column("flicker", "flicker_255", ".2f"),
        Column("ghost", "ghost_255", ".2f"),
        Column("PSNR to input dB", "psnr_to_input_db", ".1f"),
        Column("est. sigma", "estimated_sigma_255", ".1f"),
        Column("worst pair", "worst_sample", words=True),
        Column("ms", "total_p50_ms", ".1f"),
    )
}
COLUMNS = (
    Column("file", "file"),
    Column("source", "source"),
    *_FIGURES.values(),
    *(Column(name, name) for name in ("name", "precision", "method", "given_sigma_255")),
    *CIRCUMSTANCES,
)
_SHOWN = {
    "images": ("denoiser", "sigma", "samples", "PSNR dB", "SSIM", "est. sigma"),
    "pairs": ("denoiser", "samples", "PSNR dB", "gain dB", "gaining", "worst dB", "SSIM", "est. sigma", "worst pair"),
    "video": ("denoiser", "sigma", "samples", "PSNR dB", "SSIM", "flicker", "ghost", "est. sigma"),
}
_TITLES = {
    "images": "mean over images; 8-bit noisy frames in, 8-bit frames out, the noise level estimated",
    "pairs": "real camera noise: mean over the pairs to report on; 8-bit frames in and out; gaining: share of pairs",
    "video": "frame by frame, 8-bit noisy frames in, 8-bit frames out, the noise level estimated; "
    "flicker: mean change of the error from one frame to the next; ghost: RMSE where something came into view in the "
    "last three frames; both in 8-bit levels; samples: videos",
}
_BY_VIDEO = (
    _FIGURES["denoiser"],
    _FIGURES["sigma"],
    Column("delivered", lambda row: _delivery(row) if row.format or row.motion == "still" else None),
    Column("video", lambda row: next(iter(row.by_sample or row.failed_samples), None)),
    Column("frames", lambda row: next(map(len, row.by_frame.values()), None)),
    *(_FIGURES[head] for head in ("PSNR dB", "SSIM", "flicker", "ghost", "est. sigma", "ms")),
)


def int8_drops(rows: Sequence[QualityRow]) -> list[tuple[Any, ...]]:
    """Return what 8-bit integers cost, for each model and level that has both an int8 and a float file.

    That is (name, level, PSNR of int8 minus fp32 over the images that both were judged on, both files).
    """
    return [
        (int8.name, int8.sigma_255, fmean(gains.values()), int8.candidate, fp32.candidate)
        for int8 in rows
        for fp32 in rows
        if (int8.precision, fp32.precision) == ("int8", "fp32")
        and (int8.name, int8.sigma_255) == (fp32.name, fp32.sigma_255)
        if (gains := int8.gains_db(fp32))
    ]


def tables_of(rows: Sequence[QualityRow]) -> list[Table]:
    """Make the tables of each source, of the images that a slow method saw, and of what int8 costs."""
    made = []
    by_source = {source: [row for row in rows if row.source == source] for source in (*_TITLES, "formats")}
    for source, title in _TITLES.items():
        judged, columns = by_source[source], [_FIGURES[head] for head in _SHOWN[source]]
        if not judged:
            continue
        times = [_FIGURES["ms"]] if any(row.total_p50_ms for row in judged) else []
        for among, group in _by_delivery(judged).items():
            made.append(Table(among + title, [*columns, *times], group))
        if slow := next((row for row in judged if row.every > 1 and row.by_sample), None):
            seen = f"the same on the images that {slow.method} was judged on"
            made.append(Table(seen, columns[:-1], [_only(row, slow.by_sample) for row in judged]))
    drops = [(line[0], f"{line[1]:g}", f"{line[2]:+.3f}", *line[3:]) for line in int8_drops(by_source["images"])]
    made.append(table_of_lines("what 8-bit integers cost", ("model", "sigma", "int8 - fp32 dB", "int8", "fp32"), drops))
    by_video = [_only(row, [name]) for row in by_source["video"] for name in (*row.by_sample, *row.failed_samples)]
    shown = [column for column in _BY_VIDEO if column.head != "delivered" or any(map(column.value, by_video))]
    return [*made, Table("by video", shown, by_video), *_format_tables(by_source["formats"])]


def _by_delivery(rows: Sequence[QualityRow]) -> dict[str, list[QualityRow]]:
    """Return the rows of videos by format and motion, what they are in words; all others as they are, without words."""
    groups: dict[str, list[QualityRow]] = {}
    several = any(row.format or row.motion == "still" for row in rows)
    for row in rows:
        groups.setdefault(f"{_delivery(row)}: " if several and row.motion else "", []).append(row)
    return {words: sorted(of, key=lambda row: row.sigma_255 or 0) if words else of for words, of in groups.items()}


def _delivery(row: QualityRow) -> str:
    return ", ".join(word for word in (row.format, row.motion) if word)


def _only(row: QualityRow, names: Collection[str]) -> QualityRow:
    """Return a row of some of the samples alone."""
    parts = {
        field: {name: value for name, value in getattr(row, field).items() if name in names}
        for field in ("by_sample", "by_frame", "ms_by_sample", "failed_samples")
    }
    part = msgspec.structs.replace(row, **parts)
    part.error = row.error or ("failed" if part.failed_samples and not part.by_sample else None)
    part.finish()
    return part


# Camera formats: a line for each format, a column for each denoiser


def _format_tables(rows: Sequence[QualityRow]) -> list[Table]:
    """Make for each noise level a table of PSNR and one of SSIM."""
    made = []
    for sigma_255 in dict.fromkeys(row.sigma_255 for row in rows):
        at_level = [row for row in rows if row.sigma_255 == sigma_255]
        images = max(len(row.by_sample) for row in at_level)
        if sigma_255 == 0:
            title = (
                f"Clean frames, {images} images: PSNR in dB of the frame as delivered, which is what the format lost; "
                "of a model how it changes that, and in brackets the PSNR of its output to its input"
            )
            made.append(_pivot(title, at_level, _clean, mean=False))
            continue
        title = (
            f"σ {sigma_255:g}, {images} images: PSNR in dB, and in brackets the lead over the best bilateral; "
            f"means are without {' and '.join(HARSH)}"
        )
        made.append(_pivot(title, at_level, _psnr))
        made.append(_pivot(f"σ {sigma_255:g}, {images} images: SSIM", at_level, _ssim))
    return made


def _pivot(
    title: str, rows: Sequence[QualityRow], cell: Callable[[Sequence[QualityRow]], str], *, mean: bool = True
) -> Table:
    """Make a line for each format and one for their mean, a column for each candidate, and the estimated level.

    rows: of one noise level. cell: makes a cell of one candidate's rows, one for each format in it.
    """
    names = {row.candidate: "delivered" if row.is_noisy_input else row.name or row.candidate for row in rows}
    groups = {name: [name] for name in dict.fromkeys(row.format for row in rows)}
    usual = [name for name in groups if name not in HARSH]
    if mean and len(usual) > 1:
        groups["mean"] = usual
    lines = []
    for label, group in groups.items():
        cells = [[row for row in rows if row.candidate == name and row.format in group] for name in names]
        level = cells[0][0].estimated_sigma_255 if len(group) == 1 else None
        texts = ["failed" if any(row.psnr_db is None for row in of) else cell(of) for of in cells]
        lines.append([str(label), *texts, "" if level is None else f"{level:.1f}"])
    given = list(names.values())  # two files of one model go by their files
    heads = [head if given.count(head) == 1 else candidate for candidate, head in names.items()]
    return table_of_lines(title, ("format", *heads, "est. sigma"), lines)


def _psnr(rows: Sequence[QualityRow]) -> str:
    psnr, lead_db = f"{fmean(row.psnr_db or 0 for row in rows):.2f}", rows[0].lead_db
    if rows[0].model is None or lead_db is None:
        return psnr
    return f"{psnr} ({fmean(row.lead_db or 0 for row in rows):+.2f})"


def _ssim(rows: Sequence[QualityRow]) -> str:
    return f"{fmean(row.ssim or 0 for row in rows):.4f}"


def _clean(rows: Sequence[QualityRow]) -> str:
    (row,) = rows
    reached_db, gain_db = row.psnr_db or 0, row.gain_db or 0
    if row.model is None:
        return "lossless" if reached_db == PSNR_CAP_DB else f"{reached_db:.2f}"
    change = "–" if isclose(reached_db - gain_db, PSNR_CAP_DB) else f"{gain_db:+.2f}"
    return f"{change} ({row.psnr_to_input_db:.1f})"


# PSNR against time


def front_panels(rows: Sequence[Any], times_ms: Mapping[str, float]) -> list[plots.FrontPanel]:
    """Make a panel of quality against time for each noise level of images.

    What has no figures or no time (of its own, or in `times_ms` by its file's hash) stays out.
    """
    panels = []
    images = [row for row in rows if isinstance(row, QualityRow) and row.source == "images" and row.psnr_db is not None]
    for noisy in [row for row in images if row.is_noisy_input]:
        at_level = [row for row in images if row.sigma_255 == noisy.sigma_255]
        points = [point for row in at_level if (point := _point(row, times_ms, len(noisy.by_sample)))]
        if points:
            panels.append(plots.FrontPanel(noisy.sigma_255 or 0.0, noisy.psnr_db or 0.0, points))
    return panels


def _point(row: QualityRow, times_ms: Mapping[str, float], images: int) -> plots.Point | None:
    ms = row.total_p50_ms or (times_ms.get(row.model.sha256) if row.model else None)
    if ms is None:
        return None
    family = "textbook" if row.candidate.endswith("textbook") else "classical" if row.method else "model"
    name = row.candidate.removesuffix(".tflite").removesuffix(", best setting").replace(".", " ")
    if row.every > 1:
        name += f" ({len(row.by_sample)} of {images} images)"
    return plots.Point(ms, row.psnr_db or 0.0, name, family)
