"""Carry out a training that was checked: train, measure, draw, and leave everything in the run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import keras

from quietframe.errors import OutputError, SourceError
from quietframe_train import run_folder
from quietframe_train.checkpoint import SECONDS, Row
from quietframe_train.data.base import Splits
from quietframe_train.evaluate import measure_images
from quietframe_train.figures import loss_figure, save_figure
from quietframe_train.macs import macs_per_pixel
from quietframe_train.recipe import Recipe
from quietframe_train.run_folder import Run
from quietframe_train.trainer import build_model, in_float32, train_phases
from quietframe_train.weights import Start, load_weights

_LOG = logging.getLogger("quietframe_train")


def carry_out(
    run: Run,
    splits: Splits,
    *,
    start: Start | None,
    parts: Sequence[Run],
    workers: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> Run:
    """Train, or compose from its parts, what `run` says, but for its versions. Errors as of `train`."""
    run = replace(run, versions=run_folder.current_versions())
    recipe, folder, seed = run.recipe, run.folder, run.seed
    if start:
        load_weights(build_model(recipe), start.file)  # or an error, before anything is written
    run_folder.begin(run)
    keras.utils.set_random_seed(seed)
    try:
        if parts:
            seconds = {part.recipe.name: part.metrics["training_seconds"] for part in parts}
            return _finish(run, splits, compose(recipe, parts), [], {"parts": seconds})
        model, rows = train_phases(recipe, splits, folder, seed=seed, start=start, workers=workers, callbacks=callbacks)
        folds = _cross_validate(run, model, splits, start, callbacks)
        return _finish(run, splits, model, rows, {"cross_validation": folds})
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written ({exc.strerror or exc})") from exc


def compose(recipe: Recipe, parts: Sequence[Run]) -> keras.Model:
    """Build the whole with the weights of its parts. Raises SourceError for a part that is not of it, or damaged."""
    model = build_model(recipe)
    for name, part in zip(recipe.parts, parts, strict=True):
        try:
            trained = keras.models.load_model(part.model_path, compile=False)
            model.get_layer(part.recipe.model.builder).set_weights(trained.get_weights())
        except (OSError, ValueError) as exc:
            raise SourceError(f"{part.folder}: not a {name} that {recipe.name} can be composed of ({exc})") from exc
    return model


def _cross_validate(
    run: Run,
    trained: keras.Model,
    splits: Splits,
    start: Start | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> list[dict[str, Any]]:
    """Measure every fold, the first one included, in models of their own; empty where not asked for."""
    recipe = run.recipe
    folds = recipe.data.other_folds()
    if not folds:
        return []
    every = [measure_images(trained, recipe, splits.test, "test")]
    for fold in folds:
        _LOG.info("cross-validation: fold %d of %d", fold + 1, len(folds) + 1)
        folder = run_folder.fold_path(run.folder, fold)
        folder.mkdir(exist_ok=True)
        others = recipe.data.load(run.data_path, recipe, seed=run.seed, limit=run.limit, fold=fold)
        keras.utils.set_random_seed(run.seed)  # else its first weights would depend on what a resume left out
        model, _ = train_phases(recipe, others, folder, seed=run.seed, start=start, callbacks=callbacks)
        every.append(measure_images(model, recipe, others.test, "test"))
    return [
        {"measure": of_folds[0].measure, "noise": of_folds[0].noise, "values": [one.value for one in of_folds]}
        for of_folds in zip(*every, strict=True)
    ]


def _finish(run: Run, splits: Splits, trained: keras.Model, rows: Sequence[Row], extra: dict[str, Any]) -> Run:
    """Save the model without its optimizer, measure it, draw it. extra: further entries of metrics.json."""
    recipe, folder = run.recipe, run.folder
    model = in_float32(recipe, trained)
    part = folder / f"part-{run_folder.MODEL}"
    model.save(part)
    part.replace(run.model_path)
    metrics: dict[str, Any] = {
        "parameters": model.count_params(),
        "macs_per_pixel": macs_per_pixel(model),
        "epochs_run": len(rows),
        "phases": {phase.name: sum(row["phase"] == phase.name for row in rows) for phase in recipe.phases},
        "training_seconds": round(sum(row[SECONDS] for row in rows), 1),
        "training_images": len(splits.training),
        "validation_images": len(splits.validation),
        "test_images": len(splits.test),
        "skipped_files": list(splits.unreadable),
        "measured": [asdict(metric) for metric in recipe.data.evaluate(model, recipe, splits, run.data)],
        **extra,
    }
    run_folder.write_json(folder / run_folder.METRICS, metrics)
    if rows:
        save_figure(loss_figure(rows, recipe.name), folder / run_folder.LOSS)
    save_figure(recipe.data.samples(model, recipe, splits), folder / run_folder.SAMPLES)
    return replace(run, metrics=metrics)
