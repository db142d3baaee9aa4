"""The part of `quietframe bench` that takes a model apart: its operators, and how near they are to the roof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from quietframe_bench.cli_comparisons import Outcome, Progress, check_plot, failure

Warn = Callable[[dict[str, Any]], None]

OPERATOR_OPTIONS = frozenset({"ops", "sizes_wh", "threads", "runs", "warmup"})
"""The options of `--ops`, by their names in Python."""

ROOF_OPTIONS = frozenset({"roof", "sizes_wh", "threads", "runs", "warmup", "plot"})
"""The options of `--roof`."""

_OPTIONS = (
    click.option("--ops", is_flag=True, help="What each operator costs, in place of speed: the engines' own profiles."),
    click.option(
        "--roof",
        is_flag=True,
        help="What this machine can do at most, and how much of it the models reach. --plot: draw the rooflines.",
    ),
)


def operator_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options above."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_apart(models: Sequence[Path], options: dict[str, Any], progress: Progress, warn: Warn) -> Outcome:
    """`bench --ops`."""
    from quietframe_bench.operators.measure import measure_operators, settings_record
    from quietframe_bench.operators.report import operator_tables
    from quietframe_bench.report import Report, print_results

    settings = _settings(options)
    report = Report("operators", settings_record(settings))
    warn(report.machine)
    with progress() as on_step:
        rows = measure_operators(models, settings, on_step)
    print_results(*operator_tables(rows))
    lines = report.lines([(row.model, row.as_record()) for row in rows])
    return lines, [failure(row.model, row.error) for row in rows if row.error]


def find_roof(models: Sequence[Path], options: dict[str, Any], progress: Progress, warn: Warn) -> Outcome:
    """`bench --roof`."""
    from quietframe_bench.operators.measure import measure_operators, settings_record
    from quietframe_bench.report import Report, print_results
    from quietframe_bench.roof.measure import layers_of, measure_roof, reached
    from quietframe_bench.roof.report import roof_tables

    if options["plot"]:
        check_plot(options["plot"])
    settings = _settings(options, own_tool=False)
    report = Report("roof", settings_record(settings))
    warn(report.machine)
    with progress() as on_step:
        roof = measure_roof(settings.threads, on_step=on_step)
        rows = measure_operators(models, settings, on_step)
    print_results(*roof_tables(roof, rows))
    if options["plot"]:
        from quietframe_bench.roof.plot import draw, panels_of

        draw(panels_of(roof, rows), options["plot"], str(report.machine["cpu"] or report.machine["architecture"]))
        click.echo(f"wrote {options['plot']}", err=True)
    results: list[tuple[Path | None, dict[str, Any]]] = []
    results += [(None, peak.as_record()) for peak in roof.peaks]
    results += [(None, bandwidth.as_record()) for bandwidth in roof.bandwidths]
    for row in rows:
        under = {"reached": reached(row, roof), "layers": [vars(layer) for layer in layers_of(row, roof)]}
        results.append((row.model, {"row": "model", **row.as_record(), **under}))
    lines = report.lines(results)
    return lines, [*roof.errors, *(failure(row.model, row.error) for row in rows if row.error)]


def _settings(options: dict[str, Any], *, own_tool: bool = True) -> Any:
    from quietframe.cpu import physical_cores
    from quietframe_bench.operators.measure import OperatorSettings

    threads = options["threads"] or (physical_cores(),)
    return OperatorSettings(options["sizes_wh"], threads, options["runs"], options["warmup"], own_tool)
