"""The part of `quietframe bench` that compares with peers: its options, and what they start."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import click

from quietframe.errors import OutputError, UsageError

OnStep = Callable[[str, int, int], None]
Progress = Callable[[], AbstractContextManager[OnStep]]
Outcome = tuple[dict[str, Any], list[str]]

_OPTIONS = (
    click.option("--peers", is_flag=True, help="With --quality: other denoisers beside the models, and their time."),
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
        help="With --peers: choose settings, and judge CBM3D, on every N-th picture.  [default: about 8 pictures]",
    ),
    click.option(
        "--plot",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="PNG",
        help="With --peers: plot PSNR against time.",
    ),
)

PEER_OPTIONS = frozenset(
    {"peers", "peer_weights", "peer_calibrate", "peer_cache", "every", "plot"}
    | {"sizes_wh", "threads", "runs", "min_secs", "warmup"}
)
"""The options of a comparison beyond those of `--quality`, by their names in Python."""


def comparison_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def compare_with_peers(models: Sequence[Path], options: dict[str, Any], progress: Progress) -> Outcome:
    """`bench --quality --peers`."""
    from quietframe_bench.comparison import check_settings, compare, make_networks
    from quietframe_bench.comparison_report import comparison_record, comparison_tables, document_rows, settings_of
    from quietframe_bench.image_quality import int8_drops
    from quietframe_bench.report import Report, print_results

    if options["plot"]:
        _check_plot(options["plot"])
    with _cache(options["peer_cache"], announce=options["peer_weights"] is not None) as cache:
        settings = _settings(options, cache)
        check_settings(settings)
        report = Report("quality", settings_of(settings))
        networks = make_networks(settings)
        with progress() as on_step:
            found = compare(models, settings, networks, on_step)
        drops = [vars(drop) for drop in int8_drops(found.rows)]
        print_results(*comparison_tables(found, settings))
        document = report.document(document_rows(found), int8_drops=drops, **comparison_record(found, settings))
    if options["plot"]:
        from quietframe_bench.pareto import draw, panels_of

        (size_wh,), (threads,) = settings.speed.sizes_wh, settings.speed.threads
        caption = f"{size_wh[0]}×{size_wh[1]}, threads: {threads}, {report.machine['cpu']}"
        draw(panels_of(found), options["plot"], f"{caption} · {found.pictures} pictures of {options['data'].name}")
        click.echo(f"wrote {options['plot']}", err=True)
    return document, found.failures()


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


def _check_plot(path: Path) -> None:
    """Say what is wrong with a plot now, not after minutes of measuring."""
    import importlib.util

    from quietframe.errors import MissingExtraError

    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "bench")
    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: plots are PNG files: name one that ends in .png")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: no such folder: {path.parent}")
