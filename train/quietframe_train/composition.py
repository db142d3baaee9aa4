"""Models composed of others that are trained already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras

from quietframe.errors import SourceError
from quietframe_train.models import BUILDERS
from quietframe_train.recipe import Recipe
from quietframe_train.run_folder import Run, load_run


def find_parts(recipe: Recipe, folder: Path) -> list[Run | None]:
    """Find the finished trainings of a recipe's parts, beside the run folder of the whole; None for those missing.

    Raises SourceError for a part that has begun and is not done, and for a folder of its name that holds another
    training or none.
    """
    found: list[Run | None] = []
    for name in recipe.parts:
        beside = folder.parent / name
        run = load_run(beside) if beside.is_dir() and any(beside.iterdir()) else None
        if run and run.recipe.name != name:
            raise SourceError(f"{beside}: holds a training of {run.recipe.name}, expected one of {name}")
        if run and not run.metrics:
            command = f"quietframe train {name} --out {beside} --resume"
            raise SourceError(f"{beside}: its training is not done: go on with {command} first")
        found.append(run)
    return found


def compose(recipe: Recipe, parts: Sequence[Run]) -> keras.Model:
    """Build the whole with the weights of its parts. Raises SourceError for a part that is not of it, or damaged."""
    model = BUILDERS[recipe.model.builder](**recipe.model.options)
    for name, part in zip(recipe.parts, parts, strict=True):
        try:
            trained = keras.models.load_model(part.model_path, compile=False)
            model.get_layer(part.recipe.model.builder).set_weights(trained.get_weights())
        except (OSError, ValueError) as exc:
            raise SourceError(f"{part.folder}: not a {name} that {recipe.name} can be composed of ({exc})") from exc
    return model
