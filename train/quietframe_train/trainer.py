"""The training loop: one phase of a recipe after the other, resumable after every epoch."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from quietframe_train import checkpoint
from quietframe_train.checkpoint import Row
from quietframe_train.data.base import Batch, Batches, Splits
from quietframe_train.losses import LOSSES
from quietframe_train.models import BUILDERS
from quietframe_train.optimizers import build_optimizer
from quietframe_train.prefetch import prefetched
from quietframe_train.recipe import Phase, Recipe, WarmupCosine
from quietframe_train.run_folder import best_path, state_path, weights_path
from quietframe_train.signals import check_interrupted
from quietframe_train.weights import Start, load_weights

_LOG = logging.getLogger("quietframe_train")
_VALIDATION_BATCH = 32
_EMA_SPANS = 5  # a phase is at least so many times as long as its moving average looks back


@keras.saving.register_keras_serializable("quietframe")
def psnr_db(y_true: Any, y_pred: Any) -> Any:
    """Measure the mean PSNR of images in [0, 1], in dB; for the log (reports use `quietframe.quality`)."""
    error = ops.mean(ops.square(ops.clip(ops.cast(y_pred, y_true.dtype), 0.0, 1.0) - y_true), axis=(1, 2, 3))
    return -10.0 * ops.log10(ops.maximum(error, 1e-10))


def build_model(recipe: Recipe, dtype_policy: str = "float32") -> keras.Model:
    """Build the recipe's model with random weights, not compiled."""
    keras.config.set_dtype_policy(dtype_policy)
    try:
        model: keras.Model = BUILDERS[recipe.model.builder](**recipe.model.options)
    finally:
        keras.config.set_dtype_policy("float32")
    return model


def in_float32(recipe: Recipe, trained: keras.Model) -> keras.Model:
    """Copy a model without its optimizer, in float32 throughout."""
    model = build_model(recipe)
    model.set_weights(trained.get_weights())
    return model


def train_phases(
    recipe: Recipe,
    splits: Splits,
    folder: Path,
    *,
    seed: int,
    start: Start | None = None,
    workers: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[keras.Model, list[Row]]:
    """Train all phases, or go on where a training in `folder` was.

    A finished phase leaves its weights in `PHASE.weights.h5`; an unfinished one the state after its last whole epoch.
    The weights of the last finished phase are enough: those of the phases before it may be gone.

    seed: of the batches; the weights' is set before. start: weights to begin with; None: random ones.
    Returns the model (the moving average or the best weights where the last phase says so) and the history.
    """
    model = build_model(recipe, recipe.dtype_policy)
    if start:
        load_weights(model, start.file)
    rows = checkpoint.read_history(folder)
    validation = recipe.data.validation(recipe, splits, seed=seed)
    finished = [n for n, phase in enumerate(recipe.phases, 1) if weights_path(folder, phase.name).is_file()]
    first = max(finished, default=0)
    if first:
        load_weights(model, weights_path(folder, recipe.phases[first - 1].name))
    for number, phase in enumerate(recipe.phases[first:], first):
        check_interrupted()
        batches = (phase.data or recipe.data).batches(recipe, phase, splits, seed=seed)
        if len(recipe.phases) > 1:
            _LOG.info("phase %s: %d epochs of %d steps", phase.name, phase.epochs, len(batches))
        names = [each.name for each in recipe.phases[: number + 1]]
        rows = [row for row in rows if row["phase"] in names]
        trained = (phase.data or recipe.data).training_model(model)
        _train_phase(trained, recipe, phase, batches, validation, folder, rows, workers, callbacks)
        checkpoint.save_weights(in_float32(recipe, model), weights_path(folder, phase.name))
        for path in (state_path(folder, phase.name), best_path(folder, phase.name)):
            path.unlink(missing_ok=True)
    return model, rows


def _train_phase(
    model: keras.Model,
    recipe: Recipe,
    phase: Phase,
    batches: Batches,
    validation: Mapping[str, Batch],
    folder: Path,
    rows: list[Row],
    workers: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train one phase; `rows` are all rows so far, and grow."""
    steps = len(batches)
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.trainable = not phase.frozen_norms
    compile_model(model, recipe, phase, steps * phase.epochs)
    first = checkpoint.resume(model, folder, phase.name, rows, steps)
    saving = checkpoint.Checkpoint(folder, phase, rows)
    called = keras.callbacks.CallbackList([saving, *callbacks], model=model, epochs=phase.epochs, steps=steps)
    model.stop_training = checkpoint.should_stop(rows, phase)
    called.on_train_begin()
    with prefetched(batches, range(first, phase.epochs), workers) as drawn:
        for epoch in range(first, phase.epochs):
            if model.stop_training:
                break
            _train_epoch(model, drawn, steps, epoch, called, validation)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    if phase.early_stopping and phase.early_stopping.restore_best:
        model.load_weights(best_path(folder, phase.name))
    called.on_train_end()
    for norm in norms:
        norm.trainable = True


def _train_epoch(
    model: keras.Model,
    drawn: Iterator[Batch],
    steps: int,
    epoch: int,
    called: keras.callbacks.CallbackList,
    validation: Mapping[str, Batch],
) -> None:
    called.on_epoch_begin(epoch)
    means = _Means()
    for step in range(steps):
        batch = next(drawn)
        called.on_train_batch_begin(step)
        logs = model.train_on_batch(*batch, return_dict=True)
        means.add(logs, len(batch[1]))
        called.on_train_batch_end(step, logs)
        check_interrupted()
    called.on_epoch_end(epoch, means.result() | _validate(model, validation))
    check_interrupted()


def _validate(model: keras.Model, validation: Mapping[str, Batch]) -> dict[str, float]:
    """Figures over all validation sets and, where there are several, those of each, as in `val_psnr_db/rgb-25`."""
    whole = _Means()
    by_name: dict[str, float] = {}
    for name, data in validation.items():
        means = _Means()
        for batch in _cut(data, _VALIDATION_BATCH):
            logs = model.test_on_batch(*batch, return_dict=True)
            for each in (whole, means):
                each.add(logs, len(batch[1]))
        by_name |= {f"val_{key}/{name}": value for key, value in means.result().items() if key != "loss"}
    figures = {f"val_{key}": value for key, value in whole.result().items()}
    return figures | (by_name if len(validation) > 1 else {})


class _Means:
    """Means of figures over batches, each counted by its samples."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._count = 0

    def add(self, logs: Mapping[str, Any], samples: int) -> None:
        for name, value in logs.items():
            self._sums[name] += float(value) * samples
        self._count += samples

    def result(self) -> dict[str, float]:
        return {name: total / self._count for name, total in self._sums.items()}


def compile_model(model: keras.Model, recipe: Recipe, phase: Phase, steps: int) -> None:
    """Compile a model for a phase of so many steps."""
    config = phase.optimizer
    rate: Any = config.learning_rate
    if isinstance(phase.schedule, WarmupCosine):
        warmup = min(phase.schedule.warmup_steps, steps // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate / 20,
            decay_steps=max(1, steps - warmup),
            alpha=phase.schedule.final_rate / config.learning_rate,
            warmup_target=config.learning_rate,
            warmup_steps=warmup,
        )
    momentum = min(config.ema_momentum, 1 - _EMA_SPANS / steps)  # a short trial would keep its first weights
    # XLA compiles a program for each shape, and the last batch of digits is a new one. Of photographs all batches have
    # one shape: 1.2 to 1.3 times faster for small models, but slower in bfloat16.
    one_program = recipe.data.one_shape and model.dtype_policy.name == "float32"
    model.compile(
        build_optimizer(config, rate, ema_momentum=max(0.0, momentum)),
        loss=LOSSES.get(phase.loss, phase.loss),
        metrics=["accuracy"] if recipe.task == "classify" else [psnr_db],
        jit_compile=keras.backend.backend() == "jax" or one_program,
    )


def _cut(data: Batch, largest: int) -> Iterator[Batch]:
    """Cut data into batches of about one size, in their order: XLA compiles a program for each."""
    inputs, targets, _ = data
    size = math.ceil(len(targets) / math.ceil(len(targets) / largest))
    for first in range(0, len(targets), size):
        part = slice(first, first + size)
        yield keras.tree.map_structure(lambda values, part=part: values[part], inputs), targets[part], None
