"""One call that trains a recipe and leaves a run folder; `quietframe train` is a thin layer over it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from quietframe.errors import OutputError, UsageError
from quietframe_train import run_folder
from quietframe_train.batches import (
    Batch,
    DigitBatches,
    PhotoBatches,
    SeededBatches,
    digit_validation,
    photo_validation,
)
from quietframe_train.checkpoint import SECONDS
from quietframe_train.corruption import CameraNoise, NoNoise, NormalNoise
from quietframe_train.evaluate import evaluate
from quietframe_train.figures import loss_figure, samples_figure, save_figure
from quietframe_train.fit import fit, fit_quantized
from quietframe_train.macs import macs_per_pixel
from quietframe_train.models import BUILDERS
from quietframe_train.recipes import PhotoData, Recipe, find_recipe
from quietframe_train.run_folder import Run, load_run
from quietframe_train.splits import DigitSplits, PhotoSet, Splits, describe_data, fingerprint, load_splits

_LOG = logging.getLogger("quietframe_train")
_NAMED = 20  # unreadable files named in the log; metrics.json has all


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
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Train a recipe, measure the result, and leave everything in a run folder.

    A killed training keeps its whole epochs: call again with `resume=True`, and what is left out here is as it was
    then. What a resumed training sees is what an uninterrupted one would have seen.

    Args:
        recipe: the name of one of `RECIPES`, or a recipe.
        data: an `.npz` file or folder for digits (None: Keras downloads MNIST), a folder for photographs.
        out: the run folder, new or empty; None: `runs/NAME`.
        epochs: in place of the recipe's; a quantization phase changes in proportion.
        limit: use only so many training images, for a fast trial.
        seed: of the weights, the split, the order and the noise; None: 0.
        resume: go on with the training in `out`.
        data_name, data_terms: what the model card is to say of the data, where the content does not tell.
        callbacks: further Keras callbacks, such as a progress bar.

    Raises:
        SourceError: the data or the state to resume cannot be read.
        UsageError: unknown recipe, values out of range, a folder with something else in it.
        OutputError: the folder or disk takes no file.
    """
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    folder = Path(out) if out is not None else Path("runs", recipe.name)
    run_folder.check_folder(folder, resume=resume)
    earlier = load_run(folder) if resume and (folder / run_folder.RECIPE).is_file() else None
    if earlier:
        data, limit = _first(data, earlier.data_path), _first(limit, earlier.limit)
        epochs, seed = _first(epochs, earlier.epochs), _first(seed, earlier.seed)
        data_name, data_terms = data_name or earlier.data.name, data_terms or earlier.data.terms
    epochs, seed = _first(epochs, recipe.epochs), _first(seed, 0)
    if epochs < 1 or seed < 0 or (limit is not None and limit < 2):
        raise UsageError(f"Expected epochs ≥ 1, seed ≥ 0, limit ≥ 2. Received: {epochs=}, {seed=}, {limit=}")
    splits = load_splits(recipe, data, seed=seed, limit=limit)
    _log_skipped(splits)
    run = Run(
        folder=folder,
        recipe=recipe,
        seed=seed,
        epochs=epochs,
        limit=limit,
        data_path=None if data is None else Path(data).resolve(),
        data=describe_data(splits, data, data_name, data_terms),
        data_sha256=fingerprint(splits),
        versions=run_folder.current_versions(),
        created=earlier.created if earlier else run_folder.now(),
    )
    run_folder.begin(run, earlier)
    keras.utils.set_random_seed(seed)
    training, validation = batches(recipe, splits, seed=seed)
    try:
        model, rows = fit(
            recipe, training, validation, folder, epochs=epochs, resume_run=resume, callbacks=list(callbacks)
        )
        if recipe.quantization:
            phase = folder / run_folder.QUANTIZATION
            phase.mkdir(exist_ok=True)
            more = max(1, round(recipe.quantization.epochs * epochs / recipe.epochs))
            _LOG.info("quantization phase: %d epochs", more)
            added = fit_quantized(
                recipe, model, training, validation, phase, epochs=more, resume_run=resume, callbacks=list(callbacks)
            )
        else:
            added = []
        return _finish(run, splits, model, rows, added)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written ({exc.strerror or exc})") from exc


def _first(value: Any, fallback: Any) -> Any:
    return fallback if value is None else value


def batches(recipe: Recipe, splits: Splits, *, seed: int) -> tuple[SeededBatches, Batch]:
    """The training batches and the validation data of a recipe.

    Raises UsageError if its noise or model does not fit its data.
    """
    noise = recipe.noise
    if isinstance(splits, DigitSplits) and isinstance(noise, (NormalNoise, NoNoise)):
        classify = recipe.task == "classify"
        return (
            DigitBatches(splits.training, noise, classify=classify, batch=recipe.batch, seed=seed),
            digit_validation(splits.validation, noise, classify=classify, seed=seed),
        )
    if isinstance(splits, PhotoSet) and isinstance(noise, CameraNoise) and isinstance(recipe.data, PhotoData):
        steps = recipe.steps_per_epoch or math.ceil(len(splits.training) / recipe.batch)
        return (
            PhotoBatches(splits.training, recipe.data, noise, batch=recipe.batch, steps=steps, seed=seed),
            photo_validation(splits.validation, noise, seed=seed),
        )
    raise UsageError(f"{recipe.name}: noise {type(noise).__name__} does not fit data {type(recipe.data).__name__}")


def _finish(
    run: Run,
    splits: Splits,
    trained: keras.Model,
    rows: list[dict[str, float]],
    added: list[dict[str, float]],
) -> Run:
    """Save the model without its optimizer, measure it, draw it. `added` are the quantization phase's rows."""
    recipe, folder = run.recipe, run.folder
    model: keras.Model = BUILDERS[recipe.model.builder](**recipe.model.options)
    model.set_weights(trained.get_weights())
    part = folder / f"part-{run_folder.MODEL}"
    model.save(part)
    part.replace(run.model_path)
    seconds = [row.get(SECONDS) for row in (*rows, *added)]
    metrics: dict[str, Any] = {
        "parameters": model.count_params(),
        "macs_per_pixel": macs_per_pixel(model),
        "epochs_run": len(rows),
        "quantization_epochs_run": len(added),
        "training_seconds": None if None in seconds else round(sum(s for s in seconds if s is not None), 1),
        "training_images": len(splits.training),
        "validation_images": len(splits.validation),
        "skipped_files": list(splits.unreadable) if isinstance(splits, PhotoSet) else [],
        "sets": evaluate(model, recipe, splits, run.data),
    }
    run_folder.write_json(folder / run_folder.METRICS, metrics)
    whole = [*rows, *({**row, "epoch": len(rows) + row["epoch"]} for row in added)]
    save_figure(loss_figure(whole, recipe.name), folder / run_folder.LOSS)
    save_figure(samples_figure(model, recipe, splits), folder / run_folder.SAMPLES)
    return replace(run, metrics=metrics)


def _log_skipped(splits: Splits) -> None:
    skipped = splits.unreadable if isinstance(splits, PhotoSet) else ()
    for line in skipped[:_NAMED]:
        _LOG.warning("skipped %s", line)
    if skipped:
        more = f" ({len(skipped) - _NAMED} of them not named here)" if len(skipped) > _NAMED else ""
        _LOG.warning("%d files skipped%s", len(skipped), more)
