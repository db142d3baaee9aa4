"""Quality over the formats of cameras: models beside OpenCV's filters at their best."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isclose
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np

from quietframe.cpu import physical_cores
from quietframe.errors import QuietFrameError, UsageError
from quietframe.images import read_image
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import FORMATS, Format, deliver_noisy, find_format
from quietframe.quality import PSNR_CAP_DB, mean_psnr_db, psnr_db, ssim
from quietframe_bench.candidates import NOISY_INPUT, Candidate, QualityRow, new_entry
from quietframe_bench.classical import METHODS, ClassicalDenoiser, Frame, Setting
from quietframe_bench.columns import CIRCUMSTANCES, Column, Table
from quietframe_bench.plan import OnStep, find_images, ignore_step
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run

TITLE = "Quality over camera formats"
SIGMAS_255 = (0.0, 10.0, 25.0)
"""The noise levels of a run, in 8-bit levels; 0: clean frames in the format."""
BASELINES = ("bilateral", "NLM")
"""The filters beside the models: names in `quietframe_bench.classical.METHODS`."""
HARSH = ("jpeg-60-420", "h264-28")
"""Formats that are reported, and left out of means."""

_MIN_SIDE = 16  # of an image; SSIM needs 11
_NLM_SEARCH = 11  # a window of 21 takes four times as long, and was not better in any format
_NLM_H = 0.25, 1.2  # the smallest and the greatest `h` that is tried, as shares of the noise level

Pair: TypeAlias = tuple[Frame, Frame]
"""A clean image and the same as delivered: (H, W, 3) uint8 BGR each."""


@dataclass(frozen=True)
class FormatSettings:
    """How to judge over formats.

    Image number i of the folder, in a format at level σ, draws its noise from
    `numpy.random.default_rng([seed, i, round(σ · 1000), CRC-32 of the format's name])`.

    Attributes:
        folder: of clean images; subfolders are searched too. Gray ones become three equal planes.
        sigmas_255: of the noise before the format, in 8-bit levels; 0: clean frames, without baselines.
        formats: names in `quietframe.noise.formats.FORMATS`.
        baselines: of `BASELINES`; each has the setting with the greatest mean PSNR on these very images in this
            format at this level, which favours it.
        every: use every so many images, sorted by path.
        limit: use only the first so many of these.
        crop: (rows, columns) to cut off the top left; (3, 5) moves frames off the 8×8 grid of a file's own JPEG.
        seed: of the noise.
    """

    folder: Path
    sigmas_255: Sequence[float] = SIGMAS_255
    formats: Sequence[str] = tuple(FORMATS)
    baselines: Sequence[str] = BASELINES
    every: int = 1
    limit: int | None = None
    crop: tuple[int, int] = (0, 0)
    seed: int = 0


class FormatRow(QualityRow, kw_only=True, tag="formats"):
    """A model, a filter, or the frames as delivered, in one format at one noise level.

    Its `by_image` holds each image's `psnr_db` and `ssim` against the clean image; for the frames as delivered also
    `estimated_sigma_255`, for all others `psnr_to_input_db`, against the frame as delivered.

    Attributes:
        format: a name in `quietframe.noise.formats.FORMATS`.
        psnr_to_input_db: the mean.
        gain_db: mean PSNR minus that of the frames as delivered, in dB; at σ 0 it says what is lost.
        lead_db: mean PSNR minus that of the bilateral filter at its best, in dB.
    """

    format: str
    psnr_to_input_db: float | None = None
    gain_db: float | None = None
    lead_db: float | None = None


@dataclass(frozen=True)
class _Model:
    """A model that was opened, or why it could not be."""

    candidate: Candidate
    denoise: Callable[[Frame], Frame] | None
    facts: Mapping[str, Any]
    error: str | None = None


def measure_formats(models: Sequence[Path], settings: FormatSettings, on_step: OnStep = ignore_step) -> Results:
    """Judge denoisers as they run on a device, on clean images with white noise as a camera's format delivers them.

    Args:
        models: model files; the noise level is estimated in every frame.
        settings: the images, the noise and the formats.
        on_step: called with (what, step, steps) as it goes on.

    Returns:
        For each level and format: the frames as delivered, the baselines, the models. A model that fails has an error.

    Raises:
        UsageError: no such format or baseline, or an image that is too small.
        SourceError: no images, or one that cannot be read.
        MissingExtraError: a format needs PyAV, and it is not installed.
    """
    formats = [find_format(name) for name in settings.formats]
    for name in settings.baselines:
        if name not in BASELINES:
            raise UsageError(f"Unknown baseline {name!r}: expected {' or '.join(BASELINES)}")
    images = _read_images(settings.folder, settings.every, settings.limit, settings.crop)
    run = Run(settings)
    names = [path.name for path in models]
    opened = [_open(path, path.name if names.count(path.name) == 1 else str(path)) for path in models]
    conditions = [(sigma_255, form) for sigma_255 in settings.sigmas_255 for form in formats]
    rows: list[Row] = []
    for step, (sigma_255, form) in enumerate(conditions):
        on_step(f"{form.name}, σ {sigma_255:g}", step, len(conditions))
        frames = {
            name: (clean, deliver_image(clean, form, sigma_255, seed=settings.seed, index=index))
            for index, name, clean in images
        }
        rows += _judge(run, frames, form, sigma_255, opened, settings.baselines if sigma_255 else ())
    return Results(rows)


def deliver_image(clean: Frame, form: Format, sigma_255: float, *, seed: int, index: int) -> Frame:
    """Return a clean image with noise as a format delivers it; `measure_formats` says how the noise is drawn.

    clean: (H, W, 3) uint8 BGR, and so is the result. sigma_255: of the noise, in 8-bit levels. index: of the image.
    """
    entropy = [seed, index, round(sigma_255 * 1000), zlib.crc32(form.name.encode())]
    return deliver_noisy(clean, sigma_255, form, np.random.default_rng(entropy))


def best_setting(method: str, sigma_255: float, pairs: Sequence[Pair]) -> Setting:
    """Return the setting of a filter with the greatest mean PSNR; of equals, the first.

    method: of `BASELINES`. sigma_255: the noise level before the format. pairs: what it is to be best on.
    """
    apply, threads = METHODS[method].apply, physical_cores()

    def reached(setting: Setting) -> float:
        return mean_psnr_db((clean, apply(frame, setting, threads)) for clean, frame in pairs)

    return max(settings_for(method, sigma_255), key=reached)


def settings_for(method: str, sigma_255: float) -> Sequence[Setting]:
    """Return the settings of a filter that are tried at a noise level: its grid, or of slow NLM's those about it."""
    settings = METHODS[method].settings(gray=False)
    if method != "NLM":
        return settings
    least, greatest = (share * sigma_255 for share in _NLM_H)
    near = [one for one in settings if one["searchWindowSize"] == _NLM_SEARCH and least <= one["h"] <= greatest]
    return near or settings[:1]


def _judge(
    run: Run,
    frames: Mapping[str, Pair],
    form: Format,
    sigma_255: float,
    models: Sequence[_Model],
    baselines: Sequence[str],
) -> list[FormatRow]:
    """Make the rows of one format and level."""
    new = partial(new_entry, run, sigma_255=sigma_255, row_type=FormatRow, format=form.name)
    noisy: FormatRow = new(NOISY_INPUT).row
    for name, (clean, frame) in frames.items():
        noisy.by_image[name] = _figures(clean, frame) | {"estimated_sigma_255": estimate_noise(frame)}
    rows: list[FormatRow] = []
    for method in baselines:
        setting = best_setting(method, sigma_255, list(frames.values()))
        rows.append(new(Candidate(method, method=method, setting=setting)).row)
        _fill(rows[-1], ClassicalDenoiser(method, setting, threads=physical_cores()), frames)
    for model in models:
        rows.append(new(model.candidate, **model.facts, error=model.error).row)
        if model.denoise is not None:
            _fill(rows[-1], model.denoise, frames)
    bilateral = next((row for row in rows if row.method == "bilateral"), None)
    for row in [noisy, *rows]:
        row.finish()
    for row in rows:
        row.psnr_to_input_db = row.mean("psnr_to_input_db")
        row.gain_db = _over(row, noisy)
        row.lead_db = None if row is bilateral else _over(row, bilateral)
    return [noisy, *rows]


def _over(row: FormatRow, other: FormatRow | None) -> float | None:
    """Return how much better a row is than another, in dB."""
    ours, theirs = row.psnr_db, None if other is None else other.psnr_db
    return None if ours is None or theirs is None else ours - theirs


def _fill(row: FormatRow, denoise: Callable[[Frame], Frame], frames: Mapping[str, Pair]) -> None:
    """Add the figures of every frame to a row, or why that cannot be."""
    try:
        for name, (clean, frame) in frames.items():
            result = denoise(frame)
            row.by_image[name] = _figures(clean, result) | {"psnr_to_input_db": psnr_db(frame, result)}
    except QuietFrameError as exc:
        row.by_image.clear()
        row.error = str(exc)


def _figures(clean: Frame, result: Frame) -> dict[str, float]:
    return {"psnr_db": psnr_db(clean, result), "ssim": ssim(clean, result)}


def _open(path: Path, name: str) -> _Model:
    from quietframe import Denoiser

    candidate = Candidate(name, model=path)
    try:
        denoise = Denoiser(path)
    except QuietFrameError as exc:
        return _Model(candidate, None, {}, str(exc))
    return _Model(candidate, denoise, {"name": denoise.card.name, "precision": denoise.card.precision})


def _read_images(folder: Path, every: int, limit: int | None, crop: tuple[int, int]) -> list[tuple[int, str, Frame]]:
    """Read the images as (number in the folder, name, clean (H, W, 3) uint8 BGR)."""
    images = []
    for index, path in list(enumerate(find_images(folder)))[::every][:limit]:
        clean = np.ascontiguousarray(read_image(path).bgr[crop[0] :, crop[1] :])
        if min(clean.shape[:2]) < _MIN_SIDE:
            height, width = clean.shape[:2]
            raise UsageError(f"{path}: {width}×{height} pixels to judge, and {_MIN_SIDE}×{_MIN_SIDE} are needed")
        images.append((index, path.relative_to(folder).as_posix(), clean))
    return images


# Columns and tables

_FIGURES = (
    Column("denoiser", lambda row: row.candidate, name="candidate"),
    Column("name", lambda row: row.name, name="name"),
    Column("precision", lambda row: row.precision, name="precision"),
    Column("format", lambda row: row.format, name="format"),
    Column("sigma", lambda row: row.sigma_255, "g", "sigma_255"),
    Column("images", lambda row: row.images, name="images"),
    Column("PSNR dB", lambda row: row.psnr_db, ".2f", "psnr_db"),
    Column("SSIM", lambda row: row.ssim, ".4f", "ssim"),
    Column("gain dB", lambda row: row.gain_db, "+.2f", "gain_db"),
    Column("lead dB", lambda row: row.lead_db, "+.2f", "lead_db"),
    Column("estimated sigma", lambda row: row.estimated_sigma_255, ".1f", "estimated_sigma_255"),
    Column("PSNR to input dB", lambda row: row.psnr_to_input_db, ".1f", "psnr_to_input_db"),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {
    FormatRow: (Column("file", lambda row: row.file, name="file"), *_FIGURES, *CIRCUMSTANCES)
}


def mean_lead_db(rows: Sequence[FormatRow], candidate: str, sigma_255: float) -> float | None:
    """Return the mean of a candidate's lead over bilateral in all formats but `HARSH`; None without any."""
    leads = [
        row.lead_db
        for row in rows
        if (row.candidate, row.sigma_255) == (candidate, sigma_255)
        and row.format not in HARSH
        and row.lead_db is not None
    ]
    return fmean(leads) if leads else None


def tables(rows: Sequence[FormatRow]) -> list[Table]:
    """Make for each noise level a table of PSNR and one of SSIM: a row for each format, a column for each denoiser."""
    made = []
    for sigma_255 in dict.fromkeys(row.sigma_255 for row in rows):
        at_level = [row for row in rows if row.sigma_255 == sigma_255]
        images = max(row.images for row in at_level)
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
    title: str, rows: Sequence[FormatRow], cell: Callable[[Sequence[FormatRow]], str], *, mean: bool = True
) -> Table:
    """Make a line for each format and one for their mean, a column for each candidate, and the estimated level.

    rows: of one noise level. cell: makes a cell of one candidate's rows, one for each format in it.
    """
    heads = _heads(rows)
    groups = {name: [name] for name in dict.fromkeys(row.format for row in rows)}
    usual = [name for name in groups if name not in HARSH]
    if mean and len(usual) > 1:
        groups["mean"] = usual
    lines: list[list[str]] = []
    for label, group in groups.items():
        cells = [[one for one in rows if one.candidate == name and one.format in group] for name in heads]
        level = f"{cells[0][0].estimated_sigma_255:.1f}" if len(group) == 1 else ""
        lines.append([label, *("failed" if any(one.error for one in of) else cell(of) for of in cells), level])
    columns = [
        Column(head, lambda line, index=index: line[index])  # type: ignore[misc]
        for index, head in enumerate(("format", *heads.values(), "estimated sigma"))
    ]
    return Table(title, columns, lines)


def _heads(rows: Sequence[FormatRow]) -> dict[str, str]:
    """Return the candidates and the heads of their columns: a model's name, or its file where two have one."""
    heads = {row.candidate: row.name or row.candidate for row in rows}
    heads[NOISY_INPUT.name] = "delivered"
    names = [*heads.values()]
    return {candidate: head if names.count(head) == 1 else candidate for candidate, head in heads.items()}


def _psnr(rows: Sequence[FormatRow]) -> str:
    psnr = f"{fmean(row.psnr_db or 0 for row in rows):.2f}"
    if rows[0].model is None or rows[0].lead_db is None:
        return psnr
    return f"{psnr} ({fmean(row.lead_db or 0 for row in rows):+.2f})"


def _ssim(rows: Sequence[FormatRow]) -> str:
    return f"{fmean(row.ssim or 0 for row in rows):.4f}"


def _clean(rows: Sequence[FormatRow]) -> str:
    (row,) = rows
    reached_db, gain_db = row.psnr_db or 0, row.gain_db or 0
    if row.model is None:
        return "lossless" if reached_db == PSNR_CAP_DB else f"{reached_db:.2f}"
    change = "–" if isclose(reached_db - gain_db, PSNR_CAP_DB) else f"{gain_db:+.2f}"
    return f"{change} ({row.psnr_to_input_db:.1f})"
