"""`quietframe bench`: what models cost on this machine, and what they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, ExtraCommand
from quietframe.errors import OutputError, UsageError
from quietframe_bench import kinds
from quietframe_bench.cli_comparisons import PAIR_OPTIONS, PEER_OPTIONS, comparison_options
from quietframe_bench.cli_formats import FORMAT_OPTIONS, format_options
from quietframe_bench.cli_operators import OPERATOR_OPTIONS, ROOF_OPTIONS, operator_options
from quietframe_bench.kinds import Kind

_FILE = click.Path(path_type=Path, dir_okay=False)
_KINDS = (
    *("quality", "formats", "accuracy", "pairs", "video", "live", "ops", "roof"),
    *("startup", "sustained_s", "from_files"),
)
"""Options that ask for something else than speed."""
_WRITTEN = frozenset({"json_path", "html_path"})


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
@click.option(
    "--as-video", is_flag=True, help="Estimate the noise as in a video of --fps frames a second, not in every frame."
)
@click.option("--frames", metavar="FOLDER|VIDEO", help="Your own frames.  [default: a photograph with noise]")
@click.option(
    "--quality", is_flag=True, help="PSNR and SSIM over the pictures of --data, with noise added, in place of speed."
)
@click.option(
    "--accuracy", is_flag=True, help="How often classifiers are right on --data, which has one folder for each class."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With --quality, --formats and --html: clean pictures; with --pairs: pairs; with --video: folders of frames; "
    "with --accuracy: a folder for each class.",
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
    help="With --quality, --video and --formats: noise levels, in 8-bit levels.  [default: 15,25,50; with --formats: "
    "0,10,25]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="With --quality, --video and --formats: of the noise.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="With --quality, --formats, --pairs and --video: only the first so many pictures or frames; with --accuracy: "
    "so many.",
)
@comparison_options
@format_options
@operator_options
@click.option(
    "--live", is_flag=True, help="The real-time loop behind a paced source: age, drops and overhead, in place of speed."
)
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=1000),
    default=30.0,
    show_default=True,
    help="With --live and --as-video: frames a second of the source.",
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
@click.option(
    "--sustained",
    "sustained_s",
    type=click.FloatRange(min=2),
    metavar="SECONDS",
    help="Run each model for so long, without a pause: how it fares when the machine gets hot.",
)
@click.option("--json", "json_path", type=_FILE, help="Write everything as JSON Lines: docs/benchmarks.md.")
@click.option("--resume", is_flag=True, help="Go on with the rows that are in the --json file.")
@click.option(
    "--from",
    "from_files",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Measure nothing: show what --json wrote. More than once: all of them, as for a page of several kinds.",
)
@click.option("--csv", "csv_path", type=_FILE, help="Write the rows of speed or formats as a table, too.")
@click.option("--markdown", "markdown_path", type=_FILE, help="Write the rows of speed or formats for a document, too.")
@click.option("--html", "html_path", type=_FILE, help="Write a page with tables, plots and pictures, too.")
@click.pass_context
def bench(ctx: click.Context, /, models: tuple[str, ...], **options: Any) -> int:
    """Measure models: speed, or with --quality and --video what they give, or with --startup how soon they are ready.
    With --live: the real-time loop behind a camera's pace. With --ops: what each operator costs. With --roof: what the
    machine can do at most, and how near the models come.
    With --quality --peers: what they give and how soon, beside FFDNet, CBM3D and OpenCV's filters. With --formats: what
    they give on noise as cameras deliver it. With --pairs: what they give on a camera's own noise.

    Without MODEL: all built-in models; on pictures, those that denoise frames of any size. Frames differ in every
    iteration; rows are measured in turn, each in a process of its own. A model that fails is a failed row and exit
    code 1.
    """
    from quietframe.images import write_whole
    from quietframe_bench.page import to_html
    from quietframe_bench.report import write_lines
    from quietframe_bench.tabular import to_csv, to_markdown

    rendered = {"csv_path": to_csv, "markdown_path": to_markdown, "html_path": to_html}
    mode = _mode(ctx, options)
    if options["formats"] and ctx.get_parameter_source("sigmas_255") is click.core.ParameterSource.DEFAULT:
        from quietframe_bench.formats import SIGMAS_255

        options["sigmas_255"] = SIGMAS_255
    for name in ("json_path", *rendered):
        if (path := options[name]) and not path.parent.is_dir():  # said now, not after minutes of measuring
            raise OutputError(f"{path}: no such folder: {path.parent}")
    if options["resume"] and not options["json_path"]:
        raise UsageError("--resume goes on with a file of rows: name it with --json FILE")
    lines, failures = mode(models, options)
    if path := options["json_path"]:
        write_lines(path, lines)
        click.echo(f"wrote {path}", err=True)
    for name, render in rendered.items():
        if path := options[name]:
            write_whole(path, render(lines).encode())
            click.echo(f"wrote {path}", err=True)
    for failure in failures:
        click.echo(f"failed: {' '.join(failure.split())}", err=True)
    return EXIT_FAILED if failures else EXIT_DONE


def _mode(ctx: click.Context, options: dict[str, Any]) -> Kind:
    """The kind of measurement; options that only another kind uses are refused rather than ignored."""
    flags = {param.name: param.opts[0] for param in ctx.command.params}
    asked = [kind for kind in _KINDS if options[kind]]
    if len(asked) > 1:
        first, second = (flags[kind] for kind in asked[:2])
        raise UsageError(f"{first} and {second} measure different things: give one of them")
    chosen = asked[0] if asked else "speed"
    of_quality = {"quality", "data", "sigmas_255", "seed", "limit"}
    of_page = {"data", "sigmas_255", "seed", "limit"} if options["html_path"] else set()
    tables = {"csv_path", "markdown_path"}
    mode, own = {
        "quality": (kinds.peers, of_quality | PEER_OPTIONS) if options["peers"] else (kinds.quality, of_quality),
        "formats": (kinds.formats, FORMAT_OPTIONS | tables),
        "accuracy": (kinds.accuracy, {"accuracy", "data", "limit"}),
        "pairs": (kinds.pairs, PAIR_OPTIONS),
        "video": (kinds.video, {"video", "data", "sigmas_255", "seed", "limit"}),
        "live": (kinds.live, {"live", "fps", "secs", "preview", "sizes_wh", "threads"}),
        "ops": (kinds.operators, OPERATOR_OPTIONS),
        "roof": (kinds.roof, ROOF_OPTIONS),
        "startup": (kinds.startup, {"startup", "runs", "sizes_wh", "threads"}),
        "sustained_s": (kinds.sustained, {"sustained_s", "sizes_wh", "threads", "frames"}),
        "from_files": (kinds.from_files, {"from_files"} | tables),
        "speed": (
            kinds.speed,
            {"sizes_wh", "threads", "runs", "min_secs", "warmup", "frames", "resume", "as_video"}
            | ({"fps"} if options["as_video"] else set())
            | tables
            | of_page,
        ),
    }[chosen]
    for name in options.keys() - own - _WRITTEN:
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"{flags[name]} does not go with this kind of measurement")
    if "data" in own and options["data"] is None and chosen != "speed":
        raise UsageError(f"--{chosen} needs pictures: name their folder with --data FOLDER")
    return mode
