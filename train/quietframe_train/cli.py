"""`quietframe train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietframe.cli import EXIT_DONE, ExtraCommand
from quietframe.cli.terminal import json_line, print_table, progress_bar, say

if TYPE_CHECKING:
    import keras

    from quietframe_train.run_folder import Run


@click.command(cls=ExtraCommand, short_help="Train a model by a recipe.", extra="train", needs=("keras", "matplotlib"))
@click.argument("recipe", required=False)
@click.option("--data", type=click.Path(path_type=Path), help="mnist.npz, or a folder of images.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder, new or empty.  [default: runs/RECIPE]")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Override the epochs of the recipe's first phase; others in proportion.",
)
@click.option("--limit", type=click.IntRange(min=2), help="Use only so many images, for a fast trial.")
@click.option("--seed", type=click.IntRange(min=0), help="Of weights, split, order and noise.  [default: 0]")
@click.option("--resume", is_flag=True, help="Resume the training in --out.")
@click.option("--data-name", metavar="NAME", help="What the model card calls the data.")
@click.option("--data-terms", metavar="TERMS", help="The terms of the data, for the model card.")
@click.option(
    "--compute",
    type=click.Choice(["float32", "mixed_bfloat16", "mixed_float16"]),
    help="Override the recipe's number format of the training; the saved model is float32 always.",
)
@click.option(
    "--start-from",
    type=click.Path(path_type=Path),
    help="Begin with the weights of another training of the same model: a run folder, a .keras or .weights.h5 file, an "
    "exported .tflite file or a built-in model's name.",
)
@click.option("--from-phase", metavar="NAME", help="Skip the phases before this one.")
@click.option(
    "--camera",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Fine-tune a camera model on the noise of one camera, as quietframe calibrate measured it.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    help="Processes that prepare batches; more than 1 where a GPU waits for them.  [default: 1]",
)
@click.option(
    "--folds/--no-folds", default=True, help="Cross-validate where the recipe does (image-classifier).  [default: yes]"
)
@click.option("--list", "list_recipes", is_flag=True, help="Show the recipes and exit.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def train(recipe: str | None, list_recipes: bool, as_json: bool, **options: Any) -> int:
    """Train a model by a RECIPE and leave it in a run folder, ready for quietframe export.

    Digit recipes download MNIST unless --data names a file; the others take a folder of images, and
    image-classifier one with a sub-folder for each class.
    """
    if list_recipes:
        _print_recipes(as_json=as_json)
        return EXIT_DONE
    if recipe is None:
        raise click.UsageError("Missing argument 'RECIPE': quietframe train --list shows them.")
    import logging
    import sys

    from quietframe_train.signals import Signals

    handler, log = logging.StreamHandler(sys.stderr), logging.getLogger("quietframe_train")
    handler.setFormatter(logging.Formatter("quietframe: %(message)s"))
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        with Signals() as signals:
            from rich.console import Console

            from quietframe_train.training import train as train_recipe

            def report() -> list[keras.callbacks.Callback]:
                from quietframe_train.progress import Report

                return [Report(bar)]

            with progress_bar(Console(stderr=True)) as bar:
                run = train_recipe(recipe, callbacks=report, **options)
    except KeyboardInterrupt:
        out = options["out"] or (Path("runs", f"{recipe}-own") if options["camera"] else None)
        say(f"interrupted: {_kept(recipe, out)}")
        return signals.exit_code
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    _print_run(run, as_json=as_json)
    return EXIT_DONE


def _kept(recipe: str, out: Path | None) -> str:
    """Say what an interrupted training left behind, and how to go on."""
    from quietframe_train.recipes import find_recipe
    from quietframe_train.run_folder import HISTORY, RECIPE, load_run

    folder = out or Path("runs", recipe)
    if not (folder / RECIPE).is_file():
        parts = [name for name in find_recipe(recipe).parts if (folder.parent / name / RECIPE).is_file()]
        return _kept(parts[-1], folder.parent / parts[-1]) if parts else "nothing was begun"
    lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines() if (folder / HISTORY).is_file() else [""]
    done = f"{len(lines) - 1} of {load_run(folder).epochs} epochs are kept"
    return f"{done}; go on with quietframe train {recipe} --out {folder} --resume"


def _print_recipes(*, as_json: bool) -> None:
    from quietframe_train.recipes import RECIPES

    if as_json:
        names = ("name", "task", "data", "epochs", "summary")
        rows = [(one.name, one.task, one.data.source(one.task), one.epochs, one.summary) for one in RECIPES.values()]
        click.echo(json_line([dict(zip(names, row, strict=True)) for row in rows], indent=1))
        return
    print_table(
        ("recipe", "data", ">epochs", "summary"),
        [(one.name, one.data.source(one.task), str(one.epochs), one.summary) for one in RECIPES.values()],
    )


def _print_run(run: Run, *, as_json: bool) -> None:
    if as_json:
        record = {"recipe": run.recipe.name, "folder": str(run.folder), "seed": run.seed, "epochs": run.epochs}
        click.echo(json_line(record | {"metrics": run.metrics}, indent=1))
        return
    import statistics

    from quietframe.metrics import by_set, metric_table

    metrics = run.metrics
    click.echo(
        f"{run.model_path}: {metrics['parameters']:,} parameters, {metrics['macs_per_pixel']:,.0f} MAC/pixel, "
        f"{metrics['epochs_run']} epochs in {metrics['training_seconds']:.0f} s"
    )
    for name, measured in by_set(run.measured).items():
        arrow = ", noisy → denoised" if any(metric.noisy is not None for metric in measured) else ""
        click.echo(f"\nmeasured on {name}{arrow}")
        print_table(*metric_table(measured))
    for found in metrics.get("cross_validation", []):
        values = found["values"]
        mean, spread = statistics.fmean(values), statistics.stdev(values)
        of_folds = f"{found['measure']}, {found['noise']}, of {len(values)} folds"
        click.echo(f"{of_folds}: {mean:.4f} ± {spread:.4f} (standard deviation)")
