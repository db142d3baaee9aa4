"""`quietframe bench`: what models cost on this machine, and what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, ExtraCommand
from quietframe.errors import OutputError, UsageError
from quietframe_bench.cli_comparisons import (
    PAIR_OPTIONS,
    PEER_OPTIONS,
    compare_with_peers,
    comparison_options,
    judge_pairs,
)

T = TypeVar("T")


class _List(click.ParamType[Any]):
    """Values with commas between them."""

    def __init__(self, name: str, parse: Callable[[str], Any], example: str) -> None:
        self.name = name
        self._parse = parse
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        if not isinstance(value, str):
            return tuple(value)
        try:
            values = tuple(self._parse(part.strip()) for part in value.split(","))
        except ValueError:
            self.fail(f"Expected values such as {self._example}. Received: {value!r}", param, ctx)
        return tuple(dict.fromkeys(values))


def _size_wh(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    return _count(width), _count(height)


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _level(text: str) -> float:
    if not 0 <= (number := float(text)) <= 255:
        raise ValueError(text)
    return number


@click.command(
    cls=ExtraCommand,
    short_help="Measure speed, quality or start-up.",
    extra="bench",
    needs=("psutil", "onnxruntime"),
)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--size",
    "sizes_wh",
    type=_List("WxH,...", _size_wh, "640x480,1280x720"),
    default="640x480",
    show_default=True,
    help="Frame sizes.",
)
@click.option(
    "--threads", type=_List("N,...", _count, "1,2"), help="CPU threads.  [default: as many as physical cores]"
)
@click.option(
    "--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Timed frames for each row, at least."
)
@click.option(
    "--min-secs",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Timed seconds for each row, at least.",
)
@click.option(
    "--warmup",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="Frames before each round of timed ones; kept apart.",
)
@click.option("--frames", metavar="FOLDER|VIDEO", help="Your own frames.  [default: a photograph with noise]")
@click.option(
    "--quality", is_flag=True, help="PSNR and SSIM over the pictures of --data, with noise added, in place of speed."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With --quality: clean pictures; with --pairs: pairs; with --video: folders of frames.",
)
@click.option(
    "--video",
    is_flag=True,
    help="PSNR and flicker on the clean videos in --data, each a folder of frames, in place of speed.",
)
@click.option(
    "--sigma",
    "sigmas_255",
    type=_List("S,...", _level, "15,25,50"),
    default="15,25,50",
    show_default=True,
    help="With --quality and --video: noise levels, in 8-bit levels.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="With --quality and --video: of the noise."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="With --quality, --pairs and --video: only the first so many pictures or frames.",
)
@comparison_options
@click.option(
    "--live", is_flag=True, help="The real-time loop behind a paced source: age, drops and overhead, in place of speed."
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=1000),
    default=30.0,
    show_default=True,
    help="With --live: frames a second of the source.",
)
@click.option(
    "--secs", type=click.FloatRange(min=1), default=20.0, show_default=True, help="With --live: how long to run."
)
@click.option(
    "--preview",
    is_flag=True,
    help="With --live: also with the preview open, nobody looking, and with one who looks.",
)
@click.option("--startup", is_flag=True, help="Time of imports and the first denoiser, in place of speed.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write everything here too.")
@click.pass_context
def bench(ctx: click.Context, /, models: tuple[str, ...], json_path: Path | None, **options: Any) -> int:
    """Measure models: speed, or with --quality and --video what they give, or with --startup how soon they are ready.
    With --live: the real-time loop behind a camera's pace.
    With --quality --peers: what they give and how soon, beside FFDNet, CBM3D and OpenCV's filters. With --pairs: what
    they give on a camera's own noise.

    Without MODEL: all built-in models; on pictures, those that denoise frames of any size. Frames differ in every
    iteration; rows are measured in turn, each in a process of its own. A model that fails is a failed row and exit
    code 1.
    """
    from quietframe_bench.report import write_json

    mode = _mode(ctx, options)
    if json_path and not json_path.parent.is_dir():  # said now, not after minutes of measuring
        raise OutputError(f"{json_path}: no such folder: {json_path.parent}")
    document, failures = mode(models, options)
    if json_path:
        write_json(json_path, document)
        click.echo(f"wrote {json_path}", err=True)
    for failure in failures:
        click.echo(f"failed: {' '.join(failure.split())}", err=True)
    return EXIT_FAILED if failures else EXIT_DONE


Mode = Callable[[Sequence[str], dict[str, Any]], tuple[dict[str, Any], list[str]]]


def _mode(ctx: click.Context, options: dict[str, Any]) -> Mode:
    """The kind of measurement; options that only another kind uses are refused rather than ignored."""
    kinds = [kind for kind in ("quality", "pairs", "video", "live", "startup") if options[kind]]
    if len(kinds) > 1:
        raise UsageError(f"--{kinds[0]} and --{kinds[1]} measure different things: give one of them")
    chosen = kinds[0] if kinds else "speed"
    of_quality = {"quality", "data", "sigmas_255", "seed", "limit"}
    mode, own = {
        "quality": (_peers, of_quality | PEER_OPTIONS) if options["peers"] else (_quality, of_quality),
        "pairs": (_pairs, PAIR_OPTIONS),
        "video": (_video, {"video", "data", "sigmas_255", "seed", "limit"}),
        "live": (_live, {"live", "fps", "secs", "preview", "sizes_wh", "threads"}),
        "startup": (_startup, {"startup", "runs"}),
        "speed": (_speed, {"sizes_wh", "threads", "runs", "min_secs", "warmup", "frames"}),
    }[chosen]
    flags = {param.name: param.opts[0] for param in ctx.command.params}
    for name in options.keys() - own:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"{flags[name]} does not go with this kind of measurement")
    if "data" in own and options["data"] is None:
        raise UsageError(f"--{chosen} needs pictures: name their folder with --data FOLDER")
    return mode


def _speed(models: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    from quietframe.cpu import physical_cores
    from quietframe_bench.report import Report, print_results, speed_tables
    from quietframe_bench.speed import SpeedSettings, measure_speed, settings_record

    settings = SpeedSettings(
        sizes_wh=options["sizes_wh"],
        threads=options["threads"] or (physical_cores(),),
        runs=options["runs"],
        min_secs=options["min_secs"],
        warmup=options["warmup"],
        frames=options["frames"],
    )
    paths = _paths(models)
    report = Report("speed", settings_record(settings))
    _warn_if_busy(report.machine)
    with _progress() as on_step:
        rows = measure_speed(paths, settings, on_step)
    print_results(*speed_tables(rows))
    document = report.document([(row.model, row.as_record()) for row in rows])
    return document, [_failure(row.model, row.error) for row in rows if row.error]


def _quality(models: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    from quietframe_bench.image_quality import QualitySettings, int8_drops, measure_quality, settings_record
    from quietframe_bench.report import Report, print_results, quality_tables

    names = ("sigmas_255", "seed", "limit")
    settings = QualitySettings(options["data"], **{name: options[name] for name in names})
    paths = _paths(models, frames=True)
    report = Report("quality", settings_record(settings))
    with _progress() as on_step:
        rows = measure_quality(paths, settings, on_step)
    drops = int8_drops(rows)
    print_results(*quality_tables(rows, drops))
    document = report.document([(row.model, row.as_record()) for row in rows], int8_drops=[vars(d) for d in drops])
    failures = {_failure(row.model, row.error): None for row in rows if row.error}
    failures |= {f"{row.name}: {picture}: {why}": None for row in rows for picture, why in row.failed.items()}
    return document, list(failures)


def _video(models: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    from quietframe_bench.report import Report, print_results, video_table
    from quietframe_bench.video_quality import VideoSettings, measure_video, settings_record

    settings = VideoSettings(options["data"], options["sigmas_255"], options["seed"], options["limit"])
    paths = _paths(models, frames=True)
    report = Report("video", settings_record(settings))
    with _progress() as on_step:
        rows = measure_video(paths, settings, on_step)
    print_results(video_table(rows))
    document = report.document([(row.model, row.as_record()) for row in rows])
    failures = {_failure(row.model, row.error): None for row in rows if row.error}
    failures |= {f"{row.name}: {sequence}: {why}": None for row in rows for sequence, why in row.failed.items()}
    return document, list(failures)


def _live(models: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    from dataclasses import asdict

    from quietframe.cpu import physical_cores
    from quietframe_bench.live_loop import LiveSettings, measure_live
    from quietframe_bench.report import Report, live_table, print_results

    threads = options["threads"] or (physical_cores(),)
    if len(options["sizes_wh"]) > 1 or len(threads) > 1:
        raise UsageError("--live runs at one --size and one number of --threads")
    clients = (None, 0, 1) if options["preview"] else (None,)
    settings = LiveSettings(options["sizes_wh"][0], threads[0], options["fps"], options["secs"], clients)
    paths = _paths(models, frames=True)
    report = Report("live", asdict(settings))
    _warn_if_busy(report.machine)
    with _progress() as on_step:
        rows = measure_live(paths, settings, on_step)
    print_results(live_table(rows))
    document = report.document([(row.model, row.as_record()) for row in rows])
    return document, [_failure(row.model, row.error) for row in rows if row.error]


def _peers(models: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return compare_with_peers(_paths(models, frames=True), options, _progress)


def _pairs(models: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    return judge_pairs(_paths(models, frames=True), options, _progress)


def _startup(models: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    from quietframe_bench.report import Report, print_results, startup_table
    from quietframe_bench.startup import measure_startup

    if len(models) > 1:
        raise UsageError(f"--startup takes one model. Received: {len(models)}")
    (path,) = _paths(models or ("camera",))
    report = Report("startup", {"runs": options["runs"]})
    with _progress() as on_step:
        startup = measure_startup(path, runs=options["runs"], on_step=on_step)
    print_results(startup_table(startup))
    document = report.document([(path, startup.as_record())])
    return document, [] if startup.reached else ["a goal of the start-up was missed"]


def _failure(model: Path | None, error: str) -> str:
    """The error with the model in front, once."""
    return error if error.startswith(f"{model}: ") else f"{model}: {error}"


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
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error, on a terminal only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("")

        def on_step(text: str, step: int, steps: int) -> None:
            progress.update(bar, description=text, completed=step, total=steps)

        yield on_step
