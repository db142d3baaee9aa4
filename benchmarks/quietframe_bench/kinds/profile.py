"""Profile: the operators of models, and the machine's roofline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from quietframe_bench import options, plan
from quietframe_bench.kinds.operators import ProfileSettings, measure_profiles
from quietframe_bench.kinds.roofline import measure_roofline, write_plot
from quietframe_bench.plan import OnStep, all_cores, ignore_step
from quietframe_bench.results import Results
from quietframe_bench.rows import Run


def profile(
    models: Sequence[str | Path] = (),
    settings: ProfileSettings | None = None,
    *,
    roofline: bool = False,
    on_step: OnStep = ignore_step,
) -> Results:
    """Profile the operators of models, each row in a process of its own.

    Args:
        models: model files or names of built-in ones; without any, all built-in ones for frames.
        settings: how to measure.
        roofline: measure the machine's peak and bandwidth, too, and each layer's place under them; the engine's own
            tool is then not run.
        on_step: called with (what, step, steps) as it goes on.

    Returns:
        A row for each model, size and number of threads, in that order; a model that cannot be opened gives one row
        with its error. With `roofline` first those of the machine.
    """
    settings = settings or ProfileSettings(threads=all_cores())
    paths = plan.find_models(models, frames=True)
    if roofline:
        return measure_roofline(paths, settings, on_step)
    return Results(measure_profiles(paths, settings, on_step))


@click.command(short_help="Measure each operator, and the machine's roofline.")
@options.models_argument
@options.sizes_option
@options.threads_option
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Timed runs by each clock.")
@click.option("--warmup", type=click.IntRange(min=0), default=3, show_default=True, help="Runs before each round.")
@click.option(
    "--roofline", is_flag=True, help="Measure the machine's peak, too, and how much of it each model and layer reaches."
)
@click.option("--plot", type=options.FILE, metavar="PNG", help="With --roofline: draw it.")
@options.output_options
def command(
    models: tuple[str, ...],
    sizes_wh: tuple[tuple[int, int], ...],
    threads: tuple[int, ...] | None,
    runs: int,
    warmup: int,
    roofline: bool,
    plot: Path | None,
) -> Results:
    """Measure what each operator costs, by the engines' own profilers.

    LiteRT's is experimental: where this LiteRT has another interface, the graph is timed as a whole.
    """
    if plot and not roofline:
        raise click.UsageError("--plot goes with --roofline")
    settings = ProfileSettings(sizes_wh, threads or all_cores(), runs, warmup, engine_tool=not roofline)
    options.warn(plan.busy_warning(Run(settings).machine))
    with plan.progress_bar() as on_step:
        results = profile(models, settings, roofline=roofline, on_step=on_step)
    if plot:
        write_plot(results, plot)
        click.echo(f"wrote {plot}", err=True)
    return results
