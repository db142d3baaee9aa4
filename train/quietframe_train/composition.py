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
    """The finished trainings of a recipe's parts, beside the run folder of the whole; None for those missing.

    Raises SourceError for a part that has begun and is not done.
    """
    found: list[Run | None] = []
    for name in recipe.parts:
        beside = folder.parent / name
        run = load_run(beside) if beside.is_dir() else None
        if run and not run.metrics:
            raise SourceError(f"{beside}: its training is not done: go on with quietframe train {name} --resume first")
        found.append(run)
    return found


def compose(recipe: Recipe, parts: Sequence[Run]) -> keras.Model:
    """The whole with the weights of its parts.

    Raises SourceError if a part is of another architecture.
    """
    model = BUILDERS[recipe.model.builder](**recipe.model.options)
    for name, part in zip(recipe.parts, parts, strict=True):
        layer = model.get_layer(part.recipe.model.builder)
        trained = keras.models.load_model(part.model_path, compile=False)
        try:
            layer.set_weights(trained.get_weights())
        except ValueError as exc:
            raise SourceError(f"{part.folder}: not a {name} that {recipe.name} can be composed of ({exc})") from exc
    return model
