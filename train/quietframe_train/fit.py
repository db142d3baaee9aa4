"""Training itself: a recipe, its data and a run folder in, a trained Keras model out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from quietframe_train.batches import PhotoBatches, SeededBatches
from quietframe_train.checkpoint import BEST, Checkpoint, resume, should_stop
from quietframe_train.feeding import FixedBatches, feed
from quietframe_train.losses import LOSSES
from quietframe_train.makers import Order, made_by_processes
from quietframe_train.models import BUILDERS
from quietframe_train.optimizers import build_optimizer
from quietframe_train.photo_batches import Batch, WeightedBatch
from quietframe_train.quantization import choose_ranges, fake_quantized, norms_still, read_ranges, write_ranges
from quietframe_train.recipe import Recipe, WarmupCosine
from quietframe_train.run_folder import RANGES
from quietframe_train.weights import Start, set_start

_VALIDATION_BATCH = 32
_EMA_SPANS = 5  # a training is at least so many times as long as its moving average looks back
_RANGE_BATCHES = 16
_DEVIATIONS = 6.0  # 256 steps then are at least 21 to a standard deviation


@keras.saving.register_keras_serializable("quietframe")
def psnr_db(y_true: Any, y_pred: Any) -> Any:
    """Mean PSNR of images in [0, 1], in dB; for the training log (reports use `quietframe.quality`)."""
    error = ops.mean(ops.square(ops.clip(ops.cast(y_pred, y_true.dtype), 0.0, 1.0) - y_true), axis=(1, 2, 3))
    return -10.0 * ops.log10(ops.maximum(error, 1e-10))


def build_model(recipe: Recipe) -> keras.Model:
    """The recipe's model with random weights, not compiled."""
    model: keras.Model = BUILDERS[recipe.model.builder](**recipe.model.options)
    return model


def build(recipe: Recipe, steps: int) -> keras.Model:
    """The recipe's model, compiled for a training of so many steps."""
    keras.config.set_dtype_policy(recipe.dtype_policy)
    try:
        model = build_model(recipe)
    finally:
        keras.config.set_dtype_policy("float32")
    _compile(model, recipe, _optimizer(recipe, steps))
    return model


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    config = recipe.optimizer
    rate: Any = config.learning_rate
    if isinstance(recipe.schedule, WarmupCosine):
        warmup = min(recipe.schedule.warmup_steps, steps // 10)
        rate = keras.optimizers.schedules.CosineDecay(
            config.learning_rate / 20,
            decay_steps=max(1, steps - warmup),
            alpha=recipe.schedule.final_rate / config.learning_rate,
            warmup_target=config.learning_rate,
            warmup_steps=warmup,
        )
    momentum = min(config.ema_momentum, 1 - _EMA_SPANS / steps)  # a short trial would keep its first weights
    return build_optimizer(config, rate, ema_momentum=max(0.0, momentum))


def in_float32(recipe: Recipe, trained: keras.Model) -> keras.Model:
    """The recipe's model with the weights of a trained one, without its optimizer and in float32 throughout."""
    model = build_model(recipe)
    model.set_weights(trained.get_weights())
    return model


def fit(
    recipe: Recipe,
    training: SeededBatches,
    validation: Batch,
    folder: Path,
    *,
    epochs: int,
    resume_run: bool = False,
    start: Start | None = None,
    workers: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Train, with a checkpoint in `folder` after every epoch.

    Args:
        recipe: what to train.
        training: batches; its `epoch` is set at the start of each.
        validation: inputs and targets that are never trained on.
        folder: an existing folder for the checkpoint and history.
        epochs: total, those before a resume included.
        resume_run: go on from the state in `folder`.
        start: weights to begin with; None: random ones.
        workers: processes that make the batches of photographs; 1: they are made beside the training, in this one.
        callbacks: further Keras callbacks, such as a progress bar.

    Returns the model (the moving average or the best weights where the recipe says so) and its history rows.
    """
    steps = len(training)
    model = build(recipe, steps * epochs)
    if start:
        set_start(model, start)
    rows = resume(model, folder, steps) if resume_run else []
    if len(rows) < epochs and not should_stop(rows, recipe.early_stopping):
        checkpoint = Checkpoint(folder, rows, recipe.early_stopping)
        _run_epochs(model, training, validation, range(len(rows), epochs), workers, [checkpoint, *callbacks])
    else:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    if recipe.early_stopping and recipe.early_stopping.restore_best:
        model.load_weights(folder / BEST)
    return model, rows


def fit_settled(
    recipe: Recipe,
    model: keras.Model,
    training: SeededBatches,
    validation: Batch,
    folder: Path,
    *,
    epochs: int,
    resume_run: bool = False,
    workers: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> list[dict[str, float]]:
    """Train a trained model on while its batch normalization stands still, as the recipe's settling phase says.

    Args:
        recipe: that phase, `Recipe.settled`.
        model: changed in place; left compiled for the phase.
        training, validation, folder, epochs, resume_run, workers, callbacks: as of `fit_quantized`.

    Returns the phase's history rows.
    """
    steps = len(training)
    _compile(model, recipe, _optimizer(recipe, steps * epochs))
    rows = resume(model, folder, steps) if resume_run else []
    if len(rows) < epochs:
        with norms_still(model):
            checkpoint = Checkpoint(folder, rows, None)
            _run_epochs(model, training, validation, range(len(rows), epochs), workers, [checkpoint, *callbacks])
    else:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return rows


def fit_quantized(
    recipe: Recipe,
    model: keras.Model,
    training: SeededBatches,
    validation: Batch,
    folder: Path,
    *,
    epochs: int,
    resume_run: bool = False,
    workers: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> list[dict[str, float]]:
    """Train a trained model on with the rounding of its int8 file, as the recipe's quantization phase says.

    The ranges are chosen on batches of the first epoch and written to `folder` (`RANGES`) before the first step,
    so that a resume has the same. Checkpoints as of `fit`, in the same folder.

    Args:
        recipe: with a quantization phase.
        model: changed in place; left compiled for the phase.
        training, validation: as of `fit`; the phase's epochs count from 0 again.
        folder: an existing folder of the phase's own.
        epochs: total, those before a resume included.
        resume_run: go on from the state in `folder`.
        workers: as of `fit`.
        callbacks: further Keras callbacks.

    Returns the phase's history rows.
    """
    phase = recipe.quantization
    assert phase is not None
    path = folder / RANGES
    if resume_run and path.is_file():
        ranges = read_ranges(path)
    else:
        examples = [training[index][0] for index in range(min(_RANGE_BATCHES, len(training)))]
        names = [tensor.name for tensor in model.inputs]
        ranges = choose_ranges(
            model, [[x[n] for n in names] if isinstance(x, dict) else [x] for x in examples], deviations=_DEVIATIONS
        )
        write_ranges(path, ranges)
    steps = len(training) * epochs
    rate = keras.optimizers.schedules.CosineDecay(phase.learning_rate, steps, alpha=0.01)
    _compile(model, recipe, keras.optimizers.Adam(rate, clipnorm=recipe.optimizer.clipnorm))
    rows = resume(model, folder, len(training)) if resume_run else []
    with fake_quantized(model, ranges):
        if len(rows) < epochs:
            checkpoint = Checkpoint(folder, rows, None)
            _run_epochs(model, training, validation, range(len(rows), epochs), workers, [checkpoint, *callbacks])
    return rows


def _run_epochs(
    model: keras.Model,
    training: SeededBatches,
    validation: Batch,
    epochs: range,
    workers: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: setattr(training, "epoch", epoch))
    with _made(training, epochs, workers) as made:
        source = feed(training, made)
        model.fit(
            source,
            validation_data=feed(FixedBatches(validation, _VALIDATION_BATCH)),
            steps_per_epoch=len(training) if source is made else None,
            initial_epoch=epochs.start,
            epochs=epochs.stop,
            shuffle=False,  # the batches are shuffled, and Keras' order of them would not outlive a resume
            callbacks=[count, *callbacks],
            verbose=0,
        )


def _made(
    training: SeededBatches, epochs: range, workers: int
) -> contextlib.AbstractContextManager[Iterator[WeightedBatch] | None]:
    """The batches from processes of their own; None where the training makes them itself."""
    if workers == 1 or not isinstance(training, PhotoBatches):
        return contextlib.nullcontext()
    return made_by_processes(Order(training.draws, training.seed, epochs, len(training)), workers)


def _compile(model: keras.Model, recipe: Recipe, optimizer: keras.optimizers.Optimizer) -> None:
    metrics = ["accuracy"] if recipe.task == "classify" else [psnr_db]
    # XLA compiles a program for each shape, and the last batch of digits is a new one. Of photographs all batches have
    # one shape: 1.2 to 1.3 times faster for small models, but slower in bfloat16.
    xla = keras.backend.backend() == "jax" or (recipe.kind == "photos" and model.dtype_policy.name == "float32")
    model.compile(optimizer, loss=LOSSES.get(recipe.loss, recipe.loss), metrics=metrics, jit_compile=xla)
