"""Results for people (tables) and for machines (one JSON document)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from quietframe.images import write_whole
from quietframe_bench.image_quality import Drop, QualityRow
from quietframe_bench.live_loop import LiveRow
from quietframe_bench.machine import describe_commit, describe_file, describe_machine, describe_versions
from quietframe_bench.speed import SpeedRow
from quietframe_bench.startup import Startup
from quietframe_bench.timing import PERCENTILES
from quietframe_bench.video_quality import VideoRow

SCHEMA = 1
"""Version of the JSON document. Units are in the keys; `null` is what the system or the model does not tell."""

_WIDTH = 140


class Report:
    """The circumstances of a run, noted when it begins, and its results on the way out.

    Args:
        kind: `speed`, `quality`, `video` or `startup`.
        settings: every setting of the run.
    """

    def __init__(self, kind: str, settings: Mapping[str, Any]) -> None:
        self.kind = kind
        self.machine = describe_machine()
        self._circumstances = {
            "settings": dict(settings),
            "machine": self.machine,
            "versions": describe_versions(),
            "commit": describe_commit(),
        }

    def document(self, results: Sequence[tuple[Path | None, Mapping[str, Any]]], **more: Any) -> dict[str, Any]:
        """The JSON document: each row describes itself wholly, so that rows of several runs can be mixed.

        results: a model's file (None for what is no model) and its figures, for each row.
        """
        files = {model: describe_file(model) for model, _ in results if model}
        rows = [
            {"model": files[model] if model else None, **figures, **self._circumstances} for model, figures in results
        ]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {"schema": SCHEMA, "kind": self.kind, "finished_utc": now, "rows": rows, **more}


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write the document; the file appears whole or not at all. Raises OutputError if it cannot be written."""
    write_whole(path, (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode())


def print_results(*parts: RenderableType) -> None:
    """Print tables and lines to standard output, wide enough to read when it is not a terminal."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDTH)
    for part in parts:
        console.print(part)


def speed_tables(rows: Sequence[SpeedRow]) -> list[RenderableType]:
    """Time of the stages, and what else a model costs, row by row."""
    times = new_table("model", "size", "threads", "pre", "engine", "post", "total", "p95", "p99", "total/engine", "fps")
    times.title = "milliseconds a frame: medians, and p95 and p99 of the total"
    costs = new_table("model", "size", "threads", "load ms", "first ms", "peak MB", "file MB", "MMAC", "GMAC/s")
    costs.title = "load and first frame in a fresh process, its peak memory, and the work of one frame"
    for row in rows:
        what = (row.model.name, _size(row.size_wh), str(row.threads or ""))
        if not (figures := row.figures()):
            times.add_row(*what, "failed")
            continue
        stages = figures["stages"]
        total, engine = stages["total"], stages["engine"]
        times.add_row(
            *what,
            *(f"{stages[stage]['p50_ms']:.2f}" for stage in ("pre", "engine", "post", "total")),
            f"{total['p95_ms']:.2f}",
            f"{total['p99_ms']:.2f}",
            f"{figures['total_over_engine_p50']:.3f}",
            f"{figures['frames_per_s_p50']:.1f}",
        )
        costs.add_row(
            *what,
            f"{row.facts['load_ms']:.1f}",
            f"{row.facts['first_frame_ms']:.1f}",
            f"{row.facts['peak_rss_mb']:.0f}",
            f"{row.model.stat().st_size / 1e6:.3f}",
            f"{row.facts['macs'] / 1e6:.0f}",
            f"{row.facts['macs'] / engine['p50_ms'] / 1e6:.1f}",
        )
    return [times, costs] if costs.row_count else [times]


def quality_tables(rows: Sequence[QualityRow], drops: Sequence[Drop]) -> list[RenderableType]:
    """PSNR and SSIM of the noisy input and of each model, and what 8-bit integers cost."""
    table = new_table("model", "sigma", "images", "PSNR dB", "SSIM", "estimated sigma")
    table.title = "mean over images; 8-bit noisy frames in, 8-bit frames out, the noise level estimated"
    for row in rows:
        if not row.figures:
            table.add_row(row.name, f"{row.sigma_255:g}", "failed")
        else:
            estimated = row.mean("estimated_sigma_255")
            table.add_row(
                row.name,
                f"{row.sigma_255:g}",
                str(len(row.figures)),
                f"{row.mean('psnr_db'):.2f}",
                f"{row.mean('ssim'):.4f}",
                "" if estimated is None else f"{estimated:.1f}",
            )
    costs = new_table("model", "sigma", "int8 - fp32 dB", "int8", "fp32")
    for drop in drops:
        costs.add_row(drop.name, f"{drop.sigma_255:g}", f"{drop.psnr_db:+.3f}", drop.int8_file, drop.fp32_file)
    return [table, costs] if drops else [table]


def video_table(rows: Sequence[VideoRow]) -> RenderableType:
    """PSNR and flicker of the noisy input and of each model: over all sequences, and on each."""
    table = new_table("model", "sigma", "sequence", "frames", "PSNR dB", "flicker", "estimated sigma")
    table.title = (
        "frame by frame, 8-bit noisy frames in, 8-bit frames out, the noise level estimated;\n"
        "flicker: mean change of the error from one frame to the next, in 8-bit levels"
    )
    for row in rows:
        what = row.name, f"{row.sigma_255:g}"
        if len(row.figures) > 1:
            frames = sum(map(len, row.figures.values()))
            table.add_row(*what, "mean", str(frames), *(_video_cells(row.mean)))
        for sequence, by_frame in row.figures.items():
            table.add_row(*what, sequence, str(len(by_frame)), *_video_cells(partial(row.of_sequence, sequence)))
        for sequence in ["all"] if row.error else row.failed:
            table.add_row(*what, sequence, "", "failed")
    return table


def _video_cells(mean: Callable[[str], float | None]) -> list[str]:
    figures = (("psnr_db", ".2f"), ("flicker_255", ".2f"), ("estimated_sigma_255", ".1f"))
    return ["" if (value := mean(figure)) is None else f"{value:{digits}}" for figure, digits in figures]


def live_table(rows: Sequence[LiveRow]) -> RenderableType:
    """What became of a paced source's frames, how old results were, and what the loop adds to the engine."""
    table = new_table(
        "model", "preview", "captured", "dropped", "age p50", "p95", "p99", "engine", "loop", "overhead", "of engine"
    )
    table.title = (
        "the real-time loop: ages from capture to sink, and medians of engine and whole loop, in milliseconds;\n"
        "overhead: what the loop is busy with beside the engine, on average, noise estimate and tensors included"
    )
    for row in rows:
        if not (figures := row.figures()):
            table.add_row(row.model.name, _looking(row.clients), "failed")
            continue
        table.add_row(
            row.model.name,
            _looking(row.clients),
            str(figures["captured"]),
            str(figures["dropped"]),
            *(f"{figures[f'age_p{percent}_ms']:.1f}" for percent in PERCENTILES),
            *(f"{figures[name]:.2f}" for name in ("engine_p50_ms", "busy_p50_ms", "overhead_mean_ms")),
            f"{figures['overhead_mean_of_engine']:.1%}",
        )
    return table


def _looking(clients: int | None) -> str:
    return "none" if clients is None else f"{clients} looking"


def startup_table(startup: Startup) -> RenderableType:
    """What starting costs, against what the libraries cost."""
    record = startup.as_record()
    table = new_table("fresh process", "median")
    table.add_row("import numpy, cv2, ai_edge_litert.interpreter", f"{record['libraries_ms']:.1f} ms")
    table.add_row("import quietframe; quietframe.Denoiser(MODEL)", f"{record['denoiser_ms']:.1f} ms")
    table.add_row(f"ratio (goal: at most {record['goal_ratio']})", f"{startup.ratio:.3f}")
    table.add_row("ratio of processor time", f"{startup.cpu_ratio:.3f}")
    table.add_row("libraries that quietframe --help imports", ", ".join(startup.help_imports) or "none")
    return table


def new_table(first: str, *others: str) -> Table:
    """An empty table: its first column takes long names, the others numbers."""
    table = Table(title_justify="left", title_style="")
    table.add_column(first, overflow="fold")
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _size(size_wh: tuple[int, int] | None) -> str:
    return f"{size_wh[0]}×{size_wh[1]}" if size_wh else ""
