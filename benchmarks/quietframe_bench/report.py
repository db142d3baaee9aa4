"""Results for people (tables) and for machines (JSON Lines)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from quietframe.commit import describe_commit
from quietframe.images import write_whole
from quietframe_bench.image_quality import Drop, QualityRow
from quietframe_bench.live_loop import LiveRow
from quietframe_bench.machine import describe_file, describe_machine, describe_versions
from quietframe_bench.rows import SCHEMA
from quietframe_bench.speed import NOISY_SPREAD
from quietframe_bench.startup import Startup
from quietframe_bench.timing import PERCENTILES
from quietframe_bench.video_quality import VideoRow

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
        self.circumstances: Mapping[str, Any] = {
            "settings": dict(settings),
            "machine": self.machine,
            "versions": describe_versions(),
            "commit": describe_commit(),
        }

    def lines(
        self, results: Sequence[tuple[Path | None, Mapping[str, Any]]], **summary: Any
    ) -> list[Mapping[str, Any]]:
        """The rows for JSON: each describes itself wholly, so that rows of several runs can be mixed.

        results: a model's file (None for what is no model) and its figures, for each row.
        summary: what belongs to no row in particular; where there is any, it becomes a last line of its own.
        """
        files = {model: describe_file(model) for model, _ in results if model}
        rows = [self._line(self.kind, {"model": files[model] if model else None, **row}) for model, row in results]
        return [*rows, self._line(f"{self.kind}-summary", {"model": None, **summary})] if summary else rows

    def _line(self, kind: str, figures: Mapping[str, Any]) -> Mapping[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return {"schema": SCHEMA, "kind": kind, "finished_utc": now, **figures, **self.circumstances}


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON Lines; the file appears whole or not at all. Raises OutputError if it cannot be written."""
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    write_whole(path, text.encode())


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write one JSON document, as `write_lines` writes many."""
    write_whole(path, (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode())


def print_results(*parts: RenderableType) -> None:
    """Print tables and lines to standard output, wide enough to read when it is not a terminal."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=_WIDTH)
    for part in parts:
        console.print(part)


def speed_tables(lines: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """Time of the stages, and what else a model costs, row by row, of the lines of a speed run."""
    times = new_table(
        "model", "size", "threads", "pre", "engine", "post", "total", "p95", "p99", "spread", "total/engine", "fps"
    )
    times.title = (
        "milliseconds a frame: medians, and p95 and p99 of the total; spread: how far the medians of its rounds lie\n"
        f"apart, marked above {NOISY_SPREAD:.0%}: other work, heat or a changing clock was measured, too"
    )
    if as_video := any(row["settings"].get("video_fps") for row in lines):
        times.title += ";\nthe noise estimated as in a video, now and then: total/engine is the ratio of means"
    costs = new_table(
        "model", "size", "threads", "load ms", "first ms", "peak MB", "steady MB", "file MB", "MMAC", "GMAC/s"
    )
    costs.title = "load and first frame in a fresh process, its peak and last memory, and the work of one frame"
    for row in lines:
        what = (row["model"]["file"], _size(row["size_wh"]), str(row["threads"] or ""))
        if row["error"]:
            times.add_row(*what, "failed")
            continue
        stages = row["stages"]
        total, engine = stages["total"], stages["engine"]
        times.add_row(
            *what,
            *(f"{stages[stage]['p50_ms']:.2f}" for stage in ("pre", "engine", "post", "total")),
            f"{total['p95_ms']:.2f}",
            f"{total['p99_ms']:.2f}",
            f"{'! ' if row['noisy_machine'] else ''}{row['spread']:.1%}",
            f"{row['total_over_engine_mean' if as_video else 'total_over_engine_p50']:.3f}",
            f"{row['frames_per_s_p50']:.1f}",
        )
        costs.add_row(
            *what,
            *(f"{row[name]:.1f}" for name in ("load_ms", "first_frame_ms")),
            *(f"{row[name]:.0f}" for name in ("peak_rss_mb", "steady_rss_mb")),
            f"{row['model']['file_bytes'] / 1e6:.3f}",
            f"{row['macs'] / 1e6:.0f}",
            f"{row['macs'] / engine['p50_ms'] / 1e6:.1f}",
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


def accuracy_table(lines: Sequence[Mapping[str, Any]]) -> RenderableType:
    """How often each classifier is right, and of which class least often."""
    table = new_table("model", "pictures", "accuracy", "95 % interval", "worst class", "ms a picture")
    table.title = "accuracy; the interval is Wilson's"
    for line in lines:
        if line["error"] or "accuracy" not in line:
            table.add_row(line["model"]["file"], str(line["images"]), "failed")
            continue
        by_class = {name: share for name, share in line["accuracy_by_class"].items() if share is not None}
        worst = min(by_class, key=lambda name: by_class[name])
        table.add_row(
            line["model"]["file"],
            str(line["images"]),
            f"{line['accuracy']:.4f}",
            "{:.4f} to {:.4f}".format(*line["accuracy_95"]),
            f"{worst} {by_class[worst]:.3f}",
            f"{line['total_p50_ms']:.2f}",
        )
    return table


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


def cold_start_table(lines: Sequence[Mapping[str, Any]]) -> RenderableType:
    """What a model takes until its first frame is done, step by step."""
    steps = ("process_ms", "import_ms", "load_ms", "first_frame_ms", "ready_ms")
    table = new_table("model", "size", "threads", "process", "import", "load", "first frame", "sum", "MB then")
    table.title = "cold start in fresh processes, medians in milliseconds"
    for line in lines:
        if "ready_ms" in line:
            what = line["model"]["file"], _size(line["size_wh"]), str(line["threads"])
            table.add_row(*what, *(f"{line[step]:.1f}" for step in steps), f"{line['rss_mb']:.0f}")
        elif line.get("error"):
            table.add_row(line["model"]["file"], "", "", "failed")
    return table


def sustained_table(lines: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The first minute of a run without a pause, against its last."""
    table = new_table("model", "size", "threads", "first", "last", "last/first", "°C first", "last", "throttled")
    table.title = (
        f"medians of the first and last {lines[0].get('ends_s', 0):g} seconds, in milliseconds" if lines else ""
    )
    for line in lines:
        what = line["model"]["file"], _size(line["size_wh"]), str(line["threads"] or "")
        if line["error"]:
            table.add_row(*what, "failed")
            continue
        ends = [line["parts"][at]["temperature_c"] for at in (0, -1)]
        throttled = [part["throttled"] for part in line["parts"]]
        table.add_row(
            *what,
            *(f"{line[name]:.2f}" for name in ("first_p50_ms", "last_p50_ms")),
            f"{line['last_over_first']:.3f}",
            *("not told" if celsius is None else f"{celsius:.0f}" for celsius in ends),
            "not told" if throttled[-1] is None else "yes" if any(throttled) else "no",
        )
    return table


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


def _size(size_wh: Sequence[int] | None) -> str:
    return f"{size_wh[0]}×{size_wh[1]}" if size_wh else ""
