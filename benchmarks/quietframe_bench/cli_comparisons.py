"""The part of `quietframe bench` that compares with peers and judges on pairs: its options, and what they start."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import click

from quietframe.errors import OutputError, UsageError

OnStep = Callable[[str, int, int], None]
Progress = Callable[[], AbstractContextManager[OnStep]]
Outcome = tuple[Sequence[Mapping[str, Any]], list[str]]
"""Lines for JSON, and what failed."""

_OPTIONS = (
    click.option(
        "--pairs",
        is_flag=True,
        help="PSNR and SSIM over pairs of photographs in --data, with a camera's noise and without.",
    ),
    click.option(
        "--pair-suffixes",
        default="_real,_mean",
        show_default=True,
        metavar="NOISY,CLEAN",
        help="With --pairs: ends of the file names, before the dot.",
    ),
    click.option(
        "--scene",
        metavar="REGEX",
        help="With --pairs: finds the scene in a name.  [default: its last part that begins with a letter]",
    ),
    click.option(
        "--same-scene",
        multiple=True,
        metavar="A=B",
        help="With --pairs: two names of one scene. More than once: more of them.",
    ),
    click.option(
        "--peers",
        is_flag=True,
        help="With --quality: other denoisers beside the models, and their time. With --pairs: bilateral and NLM.",
    ),
    click.option(
        "--peer-weights",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="With --peers: FFDNet's published weights, ffdnet_color_clip.npz and ffdnet_gray.npz.",
    ),
    click.option(
        "--peer-calibrate",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="With --peer-weights: training pictures to calibrate FFDNet's int8 file with.",
    ),
    click.option(
        "--peer-cache",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="With --peer-weights: keep FFDNet's files here.  [default: a temporary folder]",
    ),
    click.option(
        "--every",
        type=click.IntRange(min=1),
        metavar="N",
        help="With --peers: choose settings, and judge CBM3D, on every N-th picture.  [default: on about 8, pairs 12] "
        "With --formats: use every N-th picture.",
    ),
    click.option(
        "--plot",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="PNG",
        help="With --peers: plot PSNR against time; with --roof: the rooflines.",
    ),
)

PEER_OPTIONS = frozenset(
    {"peers", "peer_weights", "peer_calibrate", "peer_cache", "every", "plot"}
    | {"sizes_wh", "threads", "runs", "min_secs", "warmup"}
)
"""The options of a comparison beyond those of `--quality`, by their names in Python."""

PAIR_OPTIONS = frozenset({"pairs", "data", "limit", "pair_suffixes", "scene", "same_scene", "peers", "every"})
"""The options of `--pairs`."""

_PAIR_METHODS = ("bilateral", "NLM")


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def failure(model: Path | None, error: str) -> str:
    """The error with the model in front, once."""
    return error if error.startswith(f"{model}: ") else f"{model}: {error}"


def compare_with_peers(models: Sequence[Path], options: dict[str, Any], progress: Progress) -> Outcome:
    """`bench --quality --peers`."""
    from quietframe_bench.comparison import check_settings, compare, make_networks
    from quietframe_bench.comparison_report import comparison_record, comparison_tables, document_rows, settings_of
    from quietframe_bench.image_quality import int8_drops
    from quietframe_bench.report import Report, print_results

    if options["plot"]:
        check_plot(options["plot"])
    with _cache(options["peer_cache"], announce=options["peer_weights"] is not None) as cache:
        settings = _settings(options, cache)
        check_settings(settings)
        report = Report("quality", settings_of(settings))
        networks = make_networks(settings)
        with progress() as on_step:
            found = compare(models, settings, networks, on_step)
        drops = [vars(drop) for drop in int8_drops(found.rows)]
        print_results(*comparison_tables(found, settings))
        lines = report.lines(document_rows(found), int8_drops=drops, **comparison_record(found, settings))
    if options["plot"]:
        from quietframe_bench.pareto import draw, panels_of

        (size_wh,), (threads,) = settings.speed.sizes_wh, settings.speed.threads
        caption = f"{size_wh[0]}×{size_wh[1]}, threads: {threads}, {report.machine['cpu']}"
        draw(panels_of(found), options["plot"], f"{caption} · {found.pictures} pictures of {options['data'].name}")
        click.echo(f"wrote {options['plot']}", err=True)
    return lines, found.failures()


def judge_pairs(models: Sequence[Path], options: dict[str, Any], progress: Progress) -> Outcome:
    """`bench --pairs`."""
    from quietframe_bench.camera_quality import PairsSettings, measure_pairs
    from quietframe_bench.pairs_report import pairs_record, pairs_tables, row_record
    from quietframe_bench.report import Report, print_results

    if options["every"] and not options["peers"]:
        raise UsageError("--every goes with --peers")
    settings = PairsSettings(
        options["data"],
        _pair_rule(options),
        options["limit"],
        methods=_PAIR_METHODS if options["peers"] else (),
        every=options["every"],
    )
    report = Report("pairs", settings.as_record())
    with progress() as on_step:
        found = measure_pairs(models, settings, on_step)
    print_results(*pairs_tables(found, settings))
    lines = report.lines([(row.model, row_record(found, row)) for row in found.rows], **pairs_record(found, settings))
    return lines, found.failures()


def _pair_rule(options: dict[str, Any]) -> Any:
    from quietframe_bench.pairs import PairRule

    noisy_end, comma, clean_end = options["pair_suffixes"].partition(",")
    if not (comma and noisy_end) or noisy_end == clean_end or "," in clean_end:
        raise UsageError(f"Expected --pair-suffixes such as _real,_mean. Received: {options['pair_suffixes']!r}")
    try:
        re.compile(options["scene"] or "")
    except re.error as exc:
        raise UsageError(f"--scene {options['scene']!r}: not a regular expression ({exc})") from exc
    same = dict(text.partition("=")[::2] for text in options["same_scene"])
    if not all(same.values()) or "" in same:
        raise UsageError(f"Expected --same-scene such as grass=flower. Received: {options['same_scene']!r}")
    return PairRule((noisy_end, clean_end), options["scene"], same)


def _settings(options: dict[str, Any], cache: Path) -> Any:
    from quietframe.cpu import physical_cores
    from quietframe_bench.comparison import ComparisonSettings
    from quietframe_bench.image_quality import QualitySettings
    from quietframe_bench.speed import SpeedSettings

    return ComparisonSettings(
        quality=QualitySettings(options["data"], options["sigmas_255"], options["seed"], options["limit"]),
        speed=SpeedSettings(
            options["sizes_wh"],
            options["threads"] or (physical_cores(),),
            options["runs"],
            options["min_secs"],
            options["warmup"],
        ),
        weights=options["peer_weights"],
        calibrate=options["peer_calibrate"],
        cache=cache,
        every=options["every"],
    )


@contextmanager
def _cache(folder: Path | None, *, announce: bool) -> Iterator[Path]:
    """The folder for FFDNet's files; a temporary one is gone afterwards."""
    if folder is not None:
        if announce:
            click.echo(f"quietframe: FFDNet's files are kept in {folder}", err=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="quietframe-peers-") as temporary:
        yield Path(temporary)


def check_plot(path: Path) -> None:
    """Say what is wrong with a plot now, not after minutes of measuring."""
    import importlib.util

    from quietframe.errors import MissingExtraError

    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "bench")
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: plots are PNG files: name one that ends in .png")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: no such folder: {path.parent}")
