"""One call that trains a recipe and leaves a run folder; `quietframe train` is a thin layer over it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras

from quietframe.errors import OutputError, SourceError
from quietframe_train import run_folder
from quietframe_train.checkpoint import SECONDS, Row
from quietframe_train.data.base import Splits
from quietframe_train.evaluate import measure_images
from quietframe_train.figures import loss_figure, save_figure
from quietframe_train.macs import macs_per_pixel
from quietframe_train.plan import Options, Plan, make_plan
from quietframe_train.recipe import Recipe
from quietframe_train.run_folder import Run
from quietframe_train.trainer import build_model, in_float32, train_phases
from quietframe_train.weights import Start, load_weights

_LOG = logging.getLogger("quietframe_train")


def train(
    recipe: str | Recipe,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    epochs: int | None = None,
    limit: int | None = None,
    seed: int | None = None,
    resume: bool = False,
    data_name: str | None = None,
    data_terms: str | None = None,
    compute: str | None = None,
    start_from: str | Path | None = None,
    from_phase: str | None = None,
    workers: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Train a recipe, measure the result, and leave everything in a run folder.

    A killed training keeps its whole epochs: call again with `resume=True`, and what is left out here is as it was
    then. What a resumed training sees is what an uninterrupted one would have seen.

    Args:
        recipe: the name of one of `RECIPES`, or a recipe.
        data: an `.npz` file or folder for digits (None: Keras downloads MNIST), a folder of images for the others.
        out: the run folder, new or empty; None: `runs/NAME`.
        epochs: override those of the first phase; further phases change in proportion.
        limit: use only so many training images (of a folder: those that test included), for a fast trial.
        seed: of the weights, the split, the order and the noise; None: 0.
        resume: go on with the training in `out`.
        data_name: how the model card names the data, where the content does not say.
        data_terms: the terms of the data, likewise.
        compute: override the recipe's Keras policy while training: `float32`, `mixed_bfloat16`, `mixed_float16`.
        start_from: begin with the weights of another training of the same model, not with random ones: a finished run
            folder, a `.keras` or `.weights.h5` file, or a model that was exported: a `.tflite` file or a built-in
            model's name. None: of recipes that start from another one, its run folder beside `out`, or the built-in
            model.
        from_phase: leave out the recipe's phases before the one of this name.
        workers: processes that draw the batches: on an accelerator a step takes less time than one core needs for a
            batch. They change nothing of the result.
        callbacks: further Keras callbacks, such as a progress bar.

    Raises:
        SourceError: the data, the weights to start from or the state to resume cannot be read.
        UsageError: unknown recipe, values out of range, a folder with something else in it.
        OutputError: the folder or disk takes no file.
    """
    options = Options(
        data=data,
        out=out,
        epochs=epochs,
        limit=limit,
        seed=seed,
        resume=resume,
        data_name=data_name,
        data_terms=data_terms,
        compute=compute,
        start_from=start_from,
        from_phase=from_phase,
        workers=workers,
    )
    return execute(make_plan(recipe, options), callbacks)


def execute(plan: Plan, callbacks: Sequence[keras.callbacks.Callback] = ()) -> Run:
    """Train as planned. See `train`."""
    run = replace(plan.run, versions=run_folder.current_versions())
    recipe, folder, seed, splits, start = run.recipe, run.folder, run.seed, plan.splits, plan.start
    if start:
        load_weights(build_model(recipe), start.file)  # or an error, before anything is written
    parts = [
        part or execute(make_plan(name, replace(plan.options, out=folder.parent / name, resume=False)), callbacks)
        for name, part in zip(recipe.parts, plan.parts, strict=True)
    ]
    run_folder.begin(run)
    keras.utils.set_random_seed(seed)
    try:
        if parts:
            seconds = {part.recipe.name: part.metrics["training_seconds"] for part in parts}
            return _finish(run, splits, compose(recipe, parts), [], {"parts": seconds})
        workers = plan.options.workers
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
