"""Quality on images: white noise added to clean ones, and PSNR and SSIM of what denoisers make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quietframe_bench import figures, plots
from quietframe_bench.candidates import (
    LEVEL_KNOWN,
    NOISY_INPUT,
    Candidate,
    Entry,
    ImageSettings,
    QualityRow,
    judge_entries,
    new_entry,
)
from quietframe_bench.columns import CIRCUMSTANCES, Column, Table
from quietframe_bench.kinds import baselines
from quietframe_bench.kinds.speed import fastest_ms
from quietframe_bench.plan import OnStep, ignore_step
from quietframe_bench.results import Results
from quietframe_bench.rows import Row, Run

TITLE = "Quality on images"


def measure_images(models: Sequence[Path], settings: ImageSettings, on_step: OnStep = ignore_step) -> Results:
    """Judge denoisers as they run on a device: 8-bit noisy frames in, 8-bit frames out, the level estimated.

    Returns the noisy input's rows, one for each level, then each model's. Raises SourceError if there are no images.
    """
    run = Run(settings)
    entries = new_entries(run, [NOISY_INPUT, *(Candidate(path.name, model=path) for path in models)], settings)
    judge_entries(entries, settings.images(), settings.seed, on_step)
    return Results([entry.row for entry in entries])


def new_entries(run: Run, candidates: Sequence[Candidate], settings: ImageSettings) -> list[Entry]:
    """Make a row for each candidate and level."""
    return [new_entry(run, candidate, sigma_255) for candidate in candidates for sigma_255 in settings.sigmas_255]


class Drop(NamedTuple):
    """What 8-bit integers cost: PSNR of an int8 file minus that of a float file of the same model."""

    name: str
    sigma_255: float | None
    int8_file: str
    fp32_file: str
    psnr_db: float


def int8_drops(rows: Sequence[QualityRow]) -> list[Drop]:
    """Return for each model and level that has both int8 minus fp32 over the images that both were judged on."""
    return [
        _drop(int8, fp32)
        for int8 in rows
        for fp32 in rows
        if (int8.precision, fp32.precision) == ("int8", "fp32")
        and (int8.name, int8.sigma_255, int8.given_sigma_255 is None)
        == (fp32.name, fp32.sigma_255, fp32.given_sigma_255 is None)
        and int8.by_image.keys() & fp32.by_image.keys()
    ]


def _drop(int8: QualityRow, fp32: QualityRow) -> Drop:
    shared = int8.by_image.keys() & fp32.by_image.keys()
    drops = [int8.by_image[image]["psnr_db"] - fp32.by_image[image]["psnr_db"] for image in shared]
    return Drop(str(int8.name), int8.sigma_255, int8.candidate, fp32.candidate, float(np.mean(drops)))


QUALITY = (
    Column("denoiser", lambda row: row.candidate, name="candidate"),
    Column("sigma", lambda row: row.sigma_255, "g", "sigma_255"),
    Column("images", lambda row: row.images or None, name="images"),
    Column("PSNR dB", lambda row: row.psnr_db, ".2f", "psnr_db"),
    Column("SSIM", lambda row: row.ssim, ".4f", "ssim"),
    Column("estimated sigma", lambda row: row.estimated_sigma_255, ".1f", "estimated_sigma_255"),
)
_TIME = Column("ms", lambda row: row.total_p50_ms, ".1f", "total_p50_ms")
_DROPS = (
    Column("model", lambda drop: drop.name),
    Column("sigma", lambda drop: drop.sigma_255, "g"),
    Column("int8 - fp32 dB", lambda drop: drop.psnr_db, "+.3f"),
    Column("int8", lambda drop: drop.int8_file),
    Column("fp32", lambda drop: drop.fp32_file),
)
COLUMNS: dict[type[Row], Sequence[Column]] = {
    QualityRow: (
        Column("file", lambda row: row.file, name="file"),
        *QUALITY,
        _TIME,
        *(
            Column(name, lambda row, name=name: getattr(row, name), name=name)  # type: ignore[misc]
            for name in ("name", "precision", "method", "given_sigma_255")
        ),
        *CIRCUMSTANCES,
    ),
    **baselines.COLUMNS,
}


class _OnSubset(NamedTuple):
    """A row on the images that the slow method was judged on."""

    candidate: str
    sigma_255: float | None
    images: int
    psnr_db: float | None
    ssim: float | None
    estimated_sigma_255: None = None


def tables(rows: Sequence[Any]) -> list[Table]:
    """Make the tables of quality, of the images that a slow method saw, of what int8 costs, and of time."""
    judged = [row for row in rows if isinstance(row, QualityRow)]
    timed = any(row.total_p50_ms for row in judged)
    title = "mean over images; 8-bit noisy frames in, 8-bit frames out, the noise level estimated"
    made = [Table(title, (*QUALITY, _TIME) if timed else QUALITY, judged)]
    slow = next((row for row in judged if row.every > 1 and row.by_image), None)
    if slow:
        among = frozenset(slow.by_image)
        subset = [
            _OnSubset(row.candidate, row.sigma_255, len(among), row.mean("psnr_db", among), row.mean("ssim", among))
            for row in judged
        ]
        made.append(Table(f"the same on the images that {slow.method} was judged on", QUALITY[:-1], subset))
    return [*made, Table("what 8-bit integers cost", _DROPS, int8_drops(judged)), *baselines.tables(rows)]


def front_panels(rows: Sequence[QualityRow], times_ms: Mapping[str, float]) -> list[figures.FrontPanel]:
    """Make a panel of quality against time for each noise level.

    What has no figures or no time stays out, and so do models that know the level.
    """
    panels = []
    for sigma_255 in dict.fromkeys(row.sigma_255 for row in rows):
        at_level = [row for row in rows if row.sigma_255 == sigma_255]
        noisy = next((row for row in at_level if row.is_noisy_input and row.psnr_db is not None), None)
        points = [point for row in at_level if (point := _point(row, times_ms, noisy.images if noisy else 0))]
        if sigma_255 is not None and noisy and noisy.psnr_db is not None and points:
            panels.append(figures.FrontPanel(sigma_255, noisy.psnr_db, points))
    return panels


def _point(row: QualityRow, times_ms: Mapping[str, float], images: int) -> figures.Point | None:
    ms = row.total_p50_ms or (times_ms.get(row.model.sha256) if row.model else None)
    if row.psnr_db is None or ms is None or row.given_sigma_255 is not None:
        return None
    name, family = row.candidate, "ours"
    if row.method:
        family = "textbook" if name.endswith("textbook") else "classical"
    elif name.startswith("FFDNet"):
        family = "network"
    name = name.removesuffix(".tflite").removesuffix(", best setting").removesuffix(LEVEL_KNOWN).replace(".", " ")
    partly = row.every > 1
    if partly:
        name += f" ({row.images} of {images} images)"
    return figures.Point(name, ms, row.psnr_db, family, partly)


def draw(rows: Sequence[Any], all_rows: Sequence[Row]) -> list[str]:
    """Draw PSNR against time, with the times of speed rows where there are none of its own."""
    panels = front_panels([row for row in rows if isinstance(row, QualityRow)], fastest_ms(all_rows))
    if not panels:
        return []
    return [plots.as_image(figures.front_figure(panels, "median of the total"), "PSNR against time")]
