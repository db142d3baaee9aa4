"""One call that trains a recipe and leaves a run folder; `quietframe train` is a thin layer over it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from quietframe.errors import OutputError, UsageError
from quietframe_train import run_folder
from quietframe_train.batches import (
    ImageBatches,
    PhotoBatches,
    SeededBatches,
    image_validation,
)
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.checkpoint import SECONDS
from quietframe_train.composition import compose, find_parts
from quietframe_train.corruption import ImageCorruption
from quietframe_train.evaluate import evaluate, image_figures
from quietframe_train.figures import loss_figure, samples_figure, save_figure
from quietframe_train.fit import build_model, fit, fit_quantized, fit_settled, in_float32
from quietframe_train.image_set import ImageSplits
from quietframe_train.losses import LOGARITHMIC
from quietframe_train.macs import macs_per_pixel
from quietframe_train.photo_batches import Batch, PhotoDraws, photo_validation
from quietframe_train.photos import PhotoSet
from quietframe_train.recipe import PhotoData, PictureData, Recipe
from quietframe_train.recipes import find_recipe
from quietframe_train.run_folder import Run, load_run
from quietframe_train.splits import Splits, describe_data, fingerprint, load_splits
from quietframe_train.weights import Start, find_start, set_start

_LOG = logging.getLogger("quietframe_train")
_FIRST = "training"
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
    compute: str | None = None,
    start_from: str | Path | None = None,
    learning_rate: float | None = None,
    workers: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Train a recipe, measure the result, and leave everything in a run folder.

    A killed training keeps its whole epochs: call again with `resume=True`, and what is left out here is as it was
    then. What a resumed training sees is what an uninterrupted one would have seen.

    Args:
        recipe: the name of one of `RECIPES`, or a recipe.
        data: an `.npz` file or folder for digits (None: Keras downloads MNIST), a folder of pictures for the others.
        out: the run folder, new or empty; None: `runs/NAME`.
        epochs: in place of the recipe's; further phases change in proportion.
        limit: use only so many training images (of pictures: those that test included), for a fast trial.
        seed: of the weights, the split, the order and the noise; None: 0.
        resume: go on with the training in `out`.
        data_name, data_terms: what the model card is to say of the data, where the content does not tell.
        compute: Keras' policy while training, in place of the recipe's: `float32`, `mixed_bfloat16`, `mixed_float16`.
        start_from: begin with the weights of another training of the same model, not with random ones: a finished run
            folder, a `.keras` file, or what `python -m quietframe_train.pack_weights` wrote.
        learning_rate: the highest, in place of the recipe's; that of a settling phase changes in proportion.
        workers: processes that make the batches of a camera recipe: on an accelerator a step takes less time than one
            core needs for a batch. They change nothing of the result.
        callbacks: further Keras callbacks, such as a progress bar.

    Raises:
        SourceError: the data, the weights to start from or the state to resume cannot be read.
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
    policy = compute or (earlier.recipe if earlier else recipe).dtype_policy
    recipe = replace(recipe, dtype_policy=policy)
    if learning_rate is not None and not 0 < learning_rate < 1:
        raise UsageError(f"Expected a learning rate above 0 and below 1. Received: {learning_rate}")
    rate = learning_rate or (earlier.recipe.optimizer.learning_rate if earlier else None)
    recipe = recipe.with_learning_rate(rate) if rate else recipe
    if workers < 1 or (workers > 1 and recipe.kind != "photos"):
        raise UsageError(f"{recipe.name}: expected 1 worker, or more for a camera recipe. Received: {workers}")
    if recipe.parts and epochs:
        raise UsageError(f"{recipe.name} is composed of {' and '.join(recipe.parts)}: pass --epochs to those")
    epochs, seed = _first(epochs, recipe.epochs), _first(seed, 0)
    if (epochs < 1 and not recipe.parts) or seed < 0 or (limit is not None and limit < 2):
        raise UsageError(f"Expected epochs ≥ 1, seed ≥ 0, limit ≥ 2. Received: {epochs=}, {seed=}, {limit=}")
    if recipe.parts and start_from:
        raise UsageError(f"{recipe.name} is composed of {' and '.join(recipe.parts)}: pass --start-from to those")
    start = find_start(start_from) if start_from is not None else None
    splits = load_splits(recipe, data, seed=seed, limit=limit)
    _log_skipped(splits)
    recipe = _of_classes(recipe, splits)
    if start:
        set_start(build_model(recipe), start)  # or an error, before anything is written
    described = describe_data(splits, data, data_name, data_terms)
    run = Run(
        folder=folder,
        recipe=recipe,
        seed=seed,
        epochs=epochs,
        limit=limit,
        data_path=None if data is None else Path(data).resolve(),
        data=start.with_its_data(described) if start and not earlier else described,
        data_sha256=fingerprint(splits),
        versions=run_folder.current_versions(),
        created=earlier.created if earlier else run_folder.now(),
        started_from=start.identity if start else earlier.started_from if earlier else "",
        classes=splits.classes if isinstance(splits, ImageSplits) and "classify" in recipe.task else (),
    )
    parts = [
        part
        or train(
            name,
            data=data,
            out=folder.parent / name,
            limit=limit,
            seed=seed,
            data_name=data_name,
            data_terms=data_terms,
            callbacks=callbacks,
        )
        for name, part in zip(recipe.parts, find_parts(recipe, folder), strict=True)
    ]
    run_folder.begin(run, earlier)
    keras.utils.set_random_seed(seed)
    try:
        if parts:
            extra: dict[str, Any] = {"parts": {part.recipe.name: part.metrics["training_seconds"] for part in parts}}
            return finish(run, splits, compose(recipe, parts), {}, extra)
        trained, phases = _fit(run, splits, folder, start, resume=resume, workers=workers, callbacks=callbacks)
        extra = {"cross_validation": _cross_validate(run, trained, splits, start, resume=resume, callbacks=callbacks)}
        return finish(run, splits, trained, phases, extra)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be written ({exc.strerror or exc})") from exc


def _first(value: Any, fallback: Any) -> Any:
    return fallback if value is None else value


def _of_classes(recipe: Recipe, splits: Splits) -> Recipe:
    """A classifier of pictures has a score for each of their classes."""
    if not isinstance(recipe.data, PictureData) or not isinstance(splits, ImageSplits) or not splits.classes:
        return recipe
    options = {**recipe.model.options, "classes": len(splits.classes)}
    return replace(recipe, model=replace(recipe.model, options=options))


def _fit(
    run: Run,
    splits: Splits,
    folder: Path,
    start: Start | None,
    *,
    resume: bool,
    workers: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[keras.Model, dict[str, list[dict[str, float]]]]:
    """The trained model, and the history of each phase by its name; with checkpoints in `folder`."""
    recipe = run.recipe
    share = run.epochs / max(1, recipe.epochs)
    training, validation = batches(recipe, splits, seed=run.seed)
    model, rows = fit(
        recipe,
        training,
        validation,
        folder,
        epochs=run.epochs,
        resume_run=resume,
        start=start,
        workers=workers,
        callbacks=list(callbacks),
    )
    phases = {_FIRST: rows}
    for name, config, train_on in (
        (run_folder.SETTLING, recipe.settling, fit_settled),
        (run_folder.QUANTIZATION, recipe.quantization, fit_quantized),
    ):
        if not config:
            continue
        phase, phase_recipe = folder / name, recipe
        phase.mkdir(exist_ok=True)
        epochs = max(1, round(config.epochs * share))
        _LOG.info("%s phase: %d epochs", name, epochs)
        if recipe.settling:  # what follows goes on with its loss and patches
            phase_recipe = recipe.settled
        if name == run_folder.SETTLING:
            training, _ = batches(phase_recipe, splits, seed=run.seed + 1)
        else:
            model = in_float32(recipe, model)
        phases[name] = train_on(
            phase_recipe,
            model,
            training,
            validation,
            phase,
            epochs=epochs,
            resume_run=resume,
            workers=workers,
            callbacks=list(callbacks),
        )
    return model, phases


def _cross_validate(
    run: Run,
    trained: keras.Model,
    splits: Splits,
    start: Start | None,
    *,
    resume: bool,
    callbacks: Sequence[keras.callbacks.Callback],
) -> dict[str, list[float]]:
    """The test figures of every fold, the first one's included, in models of their own; empty where not asked for."""
    recipe = run.recipe
    if not (isinstance(recipe.data, PictureData) and recipe.data.cross_validate and isinstance(splits, ImageSplits)):
        return {}
    every = [image_figures(trained, recipe, splits.test)]
    for fold in range(1, recipe.data.folds):
        _LOG.info("cross-validation: fold %d of %d", fold + 1, recipe.data.folds)
        folder = run.folder / f"fold-{fold + 1}"
        folder.mkdir(exist_ok=True)
        others = load_splits(recipe, run.data_path, seed=run.seed, limit=run.limit, fold=fold)
        assert isinstance(others, ImageSplits)
        keras.utils.set_random_seed(run.seed)  # else its first weights would depend on what a resume left out
        model, _ = _fit(run, others, folder, start, resume=resume, workers=1, callbacks=callbacks)
        every.append(image_figures(model, recipe, others.test))
    return {name: [figures[name] for figures in every] for name in every[0]}


def batches(recipe: Recipe, splits: Splits, *, seed: int) -> tuple[SeededBatches, Batch]:
    """The training batches and the validation data of a recipe.

    Raises UsageError if its noise or model does not fit its data.
    """
    noise, data = recipe.noise, recipe.data
    if isinstance(splits, ImageSplits) and not isinstance(data, PhotoData) and isinstance(noise, ImageCorruption):
        classify = recipe.task == "classify"
        return (
            ImageBatches(
                splits.training,
                noise,
                classify=classify,
                batch=recipe.batch,
                seed=seed,
                augmentation=data.augmentation,
            ),
            image_validation(splits.validation, noise, classify=classify, seed=seed),
        )
    if isinstance(splits, PhotoSet) and isinstance(noise, CameraNoise) and isinstance(data, PhotoData):
        steps = recipe.steps_per_epoch or math.ceil(len(splits.training) / recipe.batch)
        return (
            PhotoBatches(
                PhotoDraws(splits.training, noise, data.patch, recipe.batch, weighed=recipe.loss not in LOGARITHMIC),
                steps=steps,
                seed=seed,
            ),
            photo_validation(splits.validation, noise, seed=seed),
        )
    raise UsageError(f"{recipe.name}: noise {type(noise).__name__} does not fit data {type(recipe.data).__name__}")


def finish(
    run: Run,
    splits: Splits,
    trained: keras.Model,
    phases: Mapping[str, Sequence[dict[str, float]]],
    extra: Mapping[str, Any],
) -> Run:
    """Save the model without its optimizer, measure it, draw it.

    `phases` are the history of each, by its name, `extra` further entries of metrics.json.
    """
    recipe, folder = run.recipe, run.folder
    model = in_float32(recipe, trained)
    part = folder / f"part-{run_folder.MODEL}"
    model.save(part)
    part.replace(run.model_path)
    seconds = [row.get(SECONDS) for rows in phases.values() for row in rows]
    metrics: dict[str, Any] = {
        "parameters": model.count_params(),
        "macs_per_pixel": macs_per_pixel(model),
        "epochs_run": len(phases.get(_FIRST, ())),
        "settling_epochs_run": len(phases.get(run_folder.SETTLING, ())),
        "quantization_epochs_run": len(phases.get(run_folder.QUANTIZATION, ())),
        "training_seconds": None if None in seconds else round(sum(s for s in seconds if s is not None), 1),
        "training_images": len(splits.training),
        "validation_images": len(splits.validation),
        "test_images": len(splits.test) if isinstance(splits, ImageSplits) else 0,
        "skipped_files": list(splits.unreadable),
        "sets": evaluate(model, recipe, splits, run.data),
        **extra,
    }
    run_folder.write_json(folder / run_folder.METRICS, metrics)
    whole = _one_history(phases)
    if whole:
        save_figure(loss_figure(whole, recipe.name), folder / run_folder.LOSS)
    save_figure(samples_figure(model, recipe, splits), folder / run_folder.SAMPLES)
    return replace(run, metrics=metrics)


def _one_history(phases: Mapping[str, Sequence[dict[str, float]]]) -> list[dict[str, float]]:
    """The phases' rows one behind the other; the losses of settling are of another kind and left out."""
    whole: list[dict[str, float]] = []
    for name, rows in phases.items():
        before = len(whole)
        left_out = {"loss", "val_loss"} if name == run_folder.SETTLING else set()
        for row in rows:
            kept = {key: value for key, value in row.items() if key not in left_out}
            whole.append(kept | {"epoch": before + row["epoch"]})
    return whole


def _log_skipped(splits: Splits) -> None:
    skipped = splits.unreadable
    for line in skipped[:_NAMED]:
        _LOG.warning("skipped %s", line)
    if skipped:
        more = f" ({len(skipped) - _NAMED} of them not named here)" if len(skipped) > _NAMED else ""
        _LOG.warning("%d files skipped%s", len(skipped), more)
