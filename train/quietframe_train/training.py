"""One call that trains a recipe and leaves a run folder; `quietframe train` is a thin layer over it.

Whatever can be wrong with what is asked is found before Keras is loaded, which takes seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from quietframe.camera import CameraProfile
from quietframe.errors import SourceError, UsageError
from quietframe_train import run_folder
from quietframe_train.backend import load_backend
from quietframe_train.own_camera import OwnCameraNoise, fine_tuned
from quietframe_train.recipe import Recipe
from quietframe_train.recipes import find_recipe
from quietframe_train.run_folder import Run, load_run, state_path, weights_path
from quietframe_train.weights import Start, find_start

if TYPE_CHECKING:
    import keras

Callbacks: TypeAlias = "Sequence[keras.callbacks.Callback]"

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
    compute: str | None = None,
    start_from: str | Path | None = None,
    from_phase: str | None = None,
    camera: CameraProfile | str | Path | None = None,
    workers: int = 1,
    folds: bool = True,
    callbacks: Callbacks | Callable[[], Callbacks] = (),
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
        camera: what `quietframe calibrate` measured: fine-tune the camera model of that recipe on its noise, as
            `NAME-own`. None: train on the noise of all kinds of cameras.
        workers: processes that draw the batches: on an accelerator a step takes less time than one core needs for a
            batch. They change nothing of the result.
        folds: of recipes that cross-validate, also train on the other folds; without, the test figure says nothing of
            how far it depends on the split, and a training takes a fraction of the time.
        callbacks: further Keras callbacks, such as a progress bar, or a function that makes them once Keras is loaded.

    Raises:
        SourceError: the data, the weights to start from or the state to resume cannot be read.
        UsageError: unknown recipe, values out of range, a folder with something else in it.
        OutputError: the folder or disk takes no file.
    """
    if any(value is not None and value < low for value, low in ((epochs, 1), (seed, 0), (limit, 2), (workers, 1))):
        raise UsageError(
            f"Expected epochs ≥ 1, seed ≥ 0, limit ≥ 2, workers ≥ 1. Received: {epochs=}, {seed=}, {limit=}, {workers=}"
        )
    recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
    original, recipe = recipe, fine_tuned(recipe, camera) if camera else recipe
    folder = Path(out) if out is not None else Path("runs", recipe.name)
    run_folder.check_folder(folder, resume=resume)
    earlier = load_run(folder) if resume else None
    if earlier and isinstance(noise := earlier.recipe.noise, OwnCameraNoise) and noise.profile and not camera:
        recipe = fine_tuned(original, noise.profile)
    if earlier:
        data, limit, compute = data or earlier.data_path, limit or earlier.limit, compute or earlier.recipe.dtype_policy
        seed = earlier.seed if seed is None else seed
        data_name, data_terms = data_name or earlier.data.name, data_terms or earlier.data.terms
        for first in earlier.recipe.phases[:1]:
            epochs, from_phase = epochs or first.epochs, from_phase or first.name
    seed = seed or 0
    recipe = replace(recipe, dtype_policy=compute or recipe.dtype_policy)
    if not folds and not recipe.data.other_folds():
        raise UsageError(f"{recipe.name} trains on no other folds: leave --no-folds out")
    if not folds or (earlier and not earlier.recipe.data.other_folds()):
        recipe = replace(recipe, data=recipe.data.without_folds())
    if recipe.parts and (epochs or start_from or from_phase):
        composed = f"{recipe.name} is composed of {' and '.join(recipe.parts)}"
        raise UsageError(f"{composed}: pass --epochs, --start-from and --from-phase to those")
    if from_phase:
        first_phase = recipe.phases[:1]
        recipe = recipe.from_phase(from_phase)
        if recipe.phases[:1] != first_phase and not (start_from or earlier):
            raise UsageError(f"phase {from_phase} goes on with the weights of those before: pass --start-from, too")
    recipe = recipe.with_epochs(epochs) if epochs else recipe
    start = _start(recipe, folder, start_from, earlier)
    found = find_parts(recipe, folder)
    splits = recipe.data.load(data, recipe, seed=seed, limit=limit)
    _log_skipped(splits.unreadable)
    recipe = recipe.data.fit_to(recipe, splits)
    terms = recipe.data.describe(splits, data, data_name, data_terms)
    run = Run(
        folder=folder,
        recipe=recipe,
        seed=seed,
        limit=limit,
        data_path=None if data is None else Path(data).resolve(),
        data=start.with_its_data(terms) if start and not earlier else terms,
        data_sha256=splits.sha256,
        versions={},
        created=earlier.created if earlier else datetime.now(UTC).isoformat(timespec="seconds"),
        started_from=start.identity if start else earlier.started_from if earlier else "",
        classes=splits.classes if "classify" in recipe.task else (),
    )
    if earlier:
        run_folder.check_same(earlier, run)

    load_backend()
    from quietframe_train.runner import carry_out

    made = callbacks() if callable(callbacks) else callbacks
    options: dict[str, Any] = {"data_name": data_name, "data_terms": data_terms, "limit": limit, "seed": seed}
    options |= {"compute": compute, "workers": workers, "callbacks": made}
    parts = [
        part or train(name, data=data, out=folder.parent / name, **options)
        for name, part in zip(recipe.parts, found, strict=True)
    ]
    return carry_out(run, splits, start=start, parts=parts, workers=workers, callbacks=made)


def _start(recipe: Recipe, folder: Path, path: str | Path | None, earlier: Run | None) -> Start | None:
    """Find the weights that a training begins with; None: random ones, or those of the state that it resumes."""
    if recipe.starts_from and path is None and not earlier:
        beside = folder.parent / recipe.starts_from
        path = beside if (beside / run_folder.MODEL).is_file() else recipe.starts_from
    if path is None and earlier and earlier.started_from and not _is_begun(recipe, folder):
        raise UsageError(f"{folder}: kept nothing of its start yet: pass --start-from again ({earlier.started_from})")
    return None if path is None else find_start(path)


def _is_begun(recipe: Recipe, folder: Path) -> bool:
    """Return whether the folder and those of all folds keep an epoch at least: a resume then needs no start."""
    folders = [folder, *(run_folder.fold_path(folder, fold) for fold in recipe.data.other_folds())]
    first = recipe.phases[0].name
    return all(weights_path(each, first).is_file() or state_path(each, first).is_file() for each in folders)


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


def _log_skipped(lines: Sequence[str]) -> None:
    for line in lines[:_NAMED]:
        _LOG.warning("skipped %s", line)
    if lines:
        more = f" ({len(lines) - _NAMED} of them not named here)" if len(lines) > _NAMED else ""
        _LOG.warning("%d files skipped%s", len(lines), more)
