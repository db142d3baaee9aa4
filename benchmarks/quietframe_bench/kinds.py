"""What `quietframe bench` can measure: each kind takes models and options, prints its tables and gives its lines.

Heavy modules are imported by the kind that needs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from quietframe.cpu import physical_cores
from quietframe.errors import UsageError
from quietframe_bench.cli_comparisons import Outcome, compare_with_peers, failure, judge_pairs
from quietframe_bench.cli_formats import judge_formats
from quietframe_bench.cli_operators import find_roof, take_apart

Kind = Callable[[Sequence[str], dict[str, Any]], Outcome]


def speed(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """Times of each stage, over the grid of models, sizes and threads."""
    from quietframe_bench.image_quality import find_pictures
    from quietframe_bench.report import Report, print_results, speed_tables, write_lines
    from quietframe_bench.resume import Finished
    from quietframe_bench.scaling import scaling_table
    from quietframe_bench.speed import SpeedRow, SpeedSettings, measure_speed, settings_record

    settings = SpeedSettings(
        sizes_wh=options["sizes_wh"],
        threads=options["threads"] or (physical_cores(),),
        runs=options["runs"],
        min_secs=options["min_secs"],
        warmup=options["warmup"],
        frames=options["frames"],
        video_fps=options["fps"] if options["as_video"] else None,
    )
    paths, target = _paths(models), options["json_path"]
    if options["data"]:  # looked at now, not after minutes of measuring
        find_pictures(options["data"])
    report = Report("speed", settings_record(settings))
    finished = Finished(target if options["resume"] else None, report)
    lines = list(finished.lines)

    def keep(block: Sequence[SpeedRow]) -> None:
        lines.extend(report.lines([(row.model, row.as_record()) for row in block]))
        if target:
            write_lines(target, lines)

    _warn_if_busy(report.machine)
    try:
        with progress_bar() as on_step:
            rows = measure_speed(paths, settings, on_step, keep, finished.holds)
    except KeyboardInterrupt:
        if target and lines:
            rows_there = f"{len(lines)} row{'s' * (len(lines) > 1)}"
            click.echo(f"quietframe: {target} holds {rows_there}: --resume goes on with it", err=True)
        raise
    lines.sort(key=_grid_order(paths))
    print_results(*speed_tables(lines), *scaling_table(lines))
    failures = [failure(row.model, row.error) for row in rows if row.error]
    if options["html_path"]:
        failed = {row.model for row in rows if row.error}
        more, troubles = _for_the_page([path for path in paths if path not in failed], options)
        lines += more
        failures += troubles
    if noisy := [line["model"]["file"] for line in lines if line.get("noisy_machine")]:
        click.echo(f"quietframe: noisy machine: rounds differ in {', '.join(dict.fromkeys(noisy))}", err=True)
    return lines, failures


def _for_the_page(paths: Sequence[Path], options: dict[str, Any]) -> Outcome:
    """What the page shows beside the speed: operators and the roof at the first size, pictures, with --data quality."""
    from quietframe_bench.image_quality import QualitySettings, measure_quality
    from quietframe_bench.image_quality import settings_record as quality_record
    from quietframe_bench.pictures import before_and_after
    from quietframe_bench.report import Report

    for_frames = [path for path in paths if _denoises_frames(path)]
    lines = [*Report("picture", {}).lines(before_and_after(for_frames))]
    failures: list[str] = []
    if for_frames:
        at_one_size = {**options, "sizes_wh": options["sizes_wh"][:1], "plot": None}
        for measure in (take_apart, find_roof):
            more, failed = measure(for_frames, at_one_size, progress_bar, lambda machine: None)
            lines += more
            failures += failed
    if options["data"]:
        quality = QualitySettings(options["data"], *(options[name] for name in ("sigmas_255", "seed", "limit")))
        with progress_bar() as on_step:
            rows = measure_quality(for_frames, quality, on_step)
        lines += Report("quality", quality_record(quality)).lines([(row.model, row.as_record()) for row in rows])
    return lines, failures


def _grid_order(paths: Sequence[Path]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """Sorts lines as the models were given, then by size and threads."""
    order = {path.name: index for index, path in enumerate(paths)}

    def key(line: Mapping[str, Any]) -> tuple[Any, ...]:
        at = order.get(line["model"]["file"], len(order))
        return at, tuple(line["size_wh"] or ()), line["threads"] or 0

    return key


def quality(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """PSNR and SSIM on pictures with noise added."""
    from quietframe_bench.image_quality import QualitySettings, int8_drops, measure_quality, settings_record
    from quietframe_bench.report import Report, print_results, quality_tables

    names = ("sigmas_255", "seed", "limit")
    settings = QualitySettings(options["data"], **{name: options[name] for name in names})
    paths = _paths(models, frames=True)
    report = Report("quality", settings_record(settings))
    with progress_bar() as on_step:
        rows = measure_quality(paths, settings, on_step)
    drops = int8_drops(rows)
    print_results(*quality_tables(rows, drops))
    lines = report.lines([(row.model, row.as_record()) for row in rows], int8_drops=[vars(d) for d in drops])
    failures = {failure(row.model, row.error): None for row in rows if row.error}
    failures |= {f"{row.name}: {picture}: {why}": None for row in rows for picture, why in row.failed.items()}
    return lines, list(failures)


def accuracy(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """How often classifiers are right."""
    from quietframe_bench.accuracy import measure_accuracy
    from quietframe_bench.report import Report, accuracy_table, print_results

    if not models:
        raise UsageError("--accuracy needs a classifier whose labels are the folders' names: name its file")
    folder, limit = options["data"], options["limit"]
    paths = _paths(models)
    report = Report("accuracy", {"folder": folder.name, "limit": limit})
    with progress_bar() as on_step:
        rows = measure_accuracy(paths, folder, limit, on_step)
    lines = report.lines([(row.model, row.as_record()) for row in rows])
    print_results(accuracy_table(lines))
    failures = [failure(row.model, row.error) for row in rows if row.error]
    failures += dict.fromkeys(f"{picture}: {why}" for row in rows for picture, why in row.failed.items())
    return lines, failures


def video(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """PSNR and flicker on videos with noise added."""
    from quietframe_bench.report import Report, print_results, video_table
    from quietframe_bench.video_quality import VideoSettings, measure_video, settings_record

    settings = VideoSettings(options["data"], options["sigmas_255"], options["seed"], options["limit"])
    paths = _paths(models, frames=True)
    report = Report("video", settings_record(settings))
    with progress_bar() as on_step:
        rows = measure_video(paths, settings, on_step)
    print_results(video_table(rows))
    lines = report.lines([(row.model, row.as_record()) for row in rows])
    failures = {failure(row.model, row.error): None for row in rows if row.error}
    failures |= {f"{row.name}: {sequence}: {why}": None for row in rows for sequence, why in row.failed.items()}
    return lines, list(failures)


def live(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """The real-time loop behind a paced source."""
    from dataclasses import asdict

    from quietframe_bench.live_loop import LiveSettings, measure_live
    from quietframe_bench.report import Report, live_table, print_results

    size_wh, threads = _one_size_and_threads(options, "--live")
    clients = (None, 0, 1) if options["preview"] else (None,)
    settings = LiveSettings(size_wh, threads, options["fps"], options["secs"], clients)
    paths = _paths(models, frames=True)
    report = Report("live", asdict(settings))
    _warn_if_busy(report.machine)
    with progress_bar() as on_step:
        rows = measure_live(paths, settings, on_step)
    print_results(live_table(rows))
    lines = report.lines([(row.model, row.as_record()) for row in rows])
    return lines, [failure(row.model, row.error) for row in rows if row.error]


def peers(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """`quality` and speed beside classical filters and published networks."""
    return compare_with_peers(_paths(models, frames=True), options, progress_bar)


def formats(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """PSNR and SSIM on pictures with noise added, in the formats of cameras."""
    return judge_formats(_paths(models, frames=True), options, progress_bar)


def pairs(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """PSNR and SSIM on photographs with a camera's own noise."""
    return judge_pairs(_paths(models, frames=True), options, progress_bar)


def operators(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """What each operator costs."""
    return take_apart(_paths(models, frames=True), options, progress_bar, _warn_if_busy)


def roof(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """What the machine can do at most, and how near the models come."""
    return find_roof(_paths(models, frames=True), options, progress_bar, _warn_if_busy)


def startup(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """Cold starts, and imports against the bare libraries."""
    from quietframe_bench.cold_start import measure_cold_starts
    from quietframe_bench.report import Report, cold_start_table, print_results, startup_table
    from quietframe_bench.startup import measure_startup

    size_wh, threads = _one_size_and_threads(options, "--startup")
    paths = _paths(models or ("camera",))
    report = Report("startup", {"runs": options["runs"], "size_wh": size_wh, "threads": threads})
    with progress_bar() as on_step:
        starts = measure_cold_starts(paths, size_wh, threads, runs=options["runs"], on_step=on_step)
        good = next((start.model for start in starts if start.error is None and start.task != "classify"), None)
        ratio = measure_startup(good, runs=options["runs"], on_step=on_step) if good else None
    lines = report.lines([(start.model, start.as_record()) for start in starts], **(ratio.as_record() if ratio else {}))
    print_results(cold_start_table(lines), *([startup_table(ratio)] if ratio else []))
    failures = [failure(start.model, start.error) for start in starts if start.error]
    return lines, failures if ratio is None or ratio.reached else [*failures, "a goal of the start-up was missed"]


def sustained(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """The first minute of a run without a pause against its last."""
    from quietframe_bench.report import Report, print_results, sustained_table
    from quietframe_bench.speed import SpeedSettings
    from quietframe_bench.sustained import measure_sustained

    seconds, threads = options["sustained_s"], options["threads"] or (physical_cores(),)
    settings = SpeedSettings(options["sizes_wh"], threads, frames=options["frames"])
    paths = _paths(models)
    report = Report("sustained", {"seconds": seconds, "frames": options["frames"]})
    _warn_if_busy(report.machine)
    with progress_bar() as on_step:
        rows = measure_sustained(paths, settings, seconds, on_step)
    lines = report.lines([(one.row.model, one.as_record()) for one in rows])
    print_results(sustained_table(lines))
    return lines, [failure(one.row.model, one.row.error) for one in rows if one.row.error]


def from_files(models: Sequence[str], options: dict[str, Any]) -> Outcome:
    """What was measured before, read from files."""
    from quietframe_bench.formats_report import format_tables
    from quietframe_bench.page import to_html
    from quietframe_bench.report import print_results, speed_tables
    from quietframe_bench.rows import read_rows
    from quietframe_bench.scaling import scaling_table

    if models:
        raise UsageError("--from measures nothing: name no model")
    lines = [line for path in options["from_files"] for line in read_rows(path)]
    speed_lines = [line for line in lines if line["kind"] == "speed"]
    try:
        to_html(lines)  # looks at every line
        if speed_lines:
            print_results(*speed_tables(speed_lines), *scaling_table(speed_lines))
        print_results(*format_tables(lines))
    except (KeyError, TypeError, ValueError) as exc:
        names = ", ".join(map(str, options["from_files"]))
        raise UsageError(f"{names}: a row lacks what its kind has ({exc!r}): measure again with this version") from exc
    return lines, []


def _one_size_and_threads(options: dict[str, Any], kind: str) -> tuple[tuple[int, int], int]:
    threads = options["threads"] or (physical_cores(),)
    if len(options["sizes_wh"]) > 1 or len(threads) > 1:
        raise UsageError(f"{kind} runs at one --size and one number of --threads")
    return options["sizes_wh"][0], threads[0]


def _paths(models: Sequence[str], *, frames: bool = False) -> list[Path]:
    """The files of the models; without any, of all built-in ones (with `frames`: that denoise those of any size)."""
    from quietframe.zoo import builtin_models, find_model

    if models:
        return [find_model(model) for model in models]
    found = [path for path in builtin_models().values() if not frames or _denoises_frames(path)]
    if not found:
        raise UsageError("there are no built-in models to measure: name a model file")
    return found


def _denoises_frames(path: Path) -> bool:
    from quietframe.tasks.base import open_model
    from quietframe.tasks.fit import is_resized

    card = open_model(path)[1]
    return "denoise" in card.task.split("+") and not is_resized(card.spatial)


def _warn_if_busy(machine: dict[str, Any]) -> None:
    from quietframe_bench.machine import is_busy

    if is_busy(machine):
        click.echo(f"quietframe: the machine is busy (load {machine['load_1min']}): times will be too long", err=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("")

        def on_step(text: str, step: int, steps: int) -> None:
            progress.update(bar, description=text, completed=step, total=steps)

        yield on_step
