"""Times the making of a camera model's batches beside its training steps: `python -m quietframe_train.noise_speed`.

Batches are made on one core while the model computes, so that they cost nothing as long as one is made in less than a
step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import click

from quietframe.errors import QuietFrameError
from quietframe_train.fit import build
from quietframe_train.recipe import Recipe
from quietframe_train.recipes import find_recipe
from quietframe_train.splits import load_splits
from quietframe_train.training import batches

_WARMUP_STEPS = 3  # the first compiles


@dataclass(frozen=True)
class NoiseSpeed:
    """Medians in milliseconds: of one batch, and of one training step."""

    batch_ms: float
    step_ms: float


def measure(recipe: Recipe, photos: Path, *, count: int = 30, limit: int | None = None) -> NoiseSpeed:
    """Make some batches, then take as many training steps, one after the other.

    Args:
        recipe: of a camera model.
        photos: a folder of pictures.
        count: of batches and of steps.
        limit: use only so many pictures.

    Raises SourceError or UsageError if the pictures cannot be used.
    """
    training, _ = batches(recipe, load_splits(recipe, photos, seed=0, limit=limit), seed=0)
    made, batch_ms = zip(*(_timed(training.__getitem__, index) for index in range(count)), strict=True)
    model = build(recipe, count)
    for _ in range(_WARMUP_STEPS):
        model.train_on_batch(*made[0])
    _, step_ms = zip(*(_timed(model.train_on_batch, *batch) for batch in made), strict=True)
    return NoiseSpeed(median(batch_ms), median(step_ms))


def _timed(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    """What a call gives, and its milliseconds."""
    start = perf_counter()
    result = function(*args)
    return result, 1000 * (perf_counter() - start)


@click.command()
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A folder of pictures.")
def main(recipes: tuple[str, ...], data: Path) -> None:
    """Print for each RECIPE how long a batch takes, and how long a training step."""
    for name in recipes:
        try:
            found = measure(find_recipe(name), data)
        except QuietFrameError as exc:
            raise click.ClickException(str(exc)) from None
        share = found.batch_ms / found.step_ms
        click.echo(f"{name}: a batch {found.batch_ms:.1f} ms, a training step {found.step_ms:.1f} ms ({share:.0%})")


if __name__ == "__main__":
    main()
