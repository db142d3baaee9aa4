"""The part of `quietframe bench` that judges over the formats of cameras: its options, and what they start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from quietframe_bench.cli_comparisons import Outcome, Progress, failure

FORMAT_OPTIONS = frozenset(
    {"formats", "data", "sigmas_255", "seed", "limit", "every", "format_names", "crop", "baselines"}
)
"""The options of `--formats`, by their names in Python."""

_OPTIONS = (
    click.option(
        "--formats",
        is_flag=True,
        help="PSNR and SSIM over the pictures of --data, with noise added, in the formats of cameras.",
    ),
    click.option(
        "--format",
        "format_names",
        metavar="NAME,...",
        help="With --formats: these alone.  [default: rgb, yuyv-422, jpeg-90-422, …: all]",
    ),
    click.option(
        "--baselines",
        default="bilateral,NLM",
        show_default=True,
        metavar="NAME,...",
        help="With --formats: OpenCV's filters beside the models, at their best; none: without. NLM is slow.",
    ),
    click.option(
        "--crop",
        type=click.IntRange(min=0),
        nargs=2,
        default=(0, 0),
        metavar="ROWS COLUMNS",
        help="With --formats: cut so much off the top left; 3 5 moves frames off the grid of the files' own JPEG.",
    ),
)


def format_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def judge_formats(models: Sequence[Path], options: dict[str, Any], progress: Progress) -> Outcome:
    """Run `bench --formats`."""
    from quietframe.noise.formats import FORMATS
    from quietframe_bench.formats import measure_formats
    from quietframe_bench.formats_report import format_tables
    from quietframe_bench.report import Report, print_results

    settings: dict[str, Any] = {
        "sigmas_255": options["sigmas_255"],
        "formats": _names(options["format_names"]) or list(FORMATS),
        "baselines": [] if options["baselines"] == "none" else _names(options["baselines"]),
        "every": options["every"] or 1,
        **{name: options[name] for name in ("limit", "crop", "seed")},
    }
    report = Report("formats", {"folder": options["data"].name, **settings})
    with progress() as on_step:
        rows = measure_formats(options["data"], models, **settings, on_step=on_step)
    lines = report.lines([(row.model, row.as_record()) for row in rows])
    print_results(*format_tables(lines))
    failures = [failure(row.model, row.error) for row in rows if row.error and row.model]
    return lines, list(dict.fromkeys(failures))


def _names(text: str | None) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))
