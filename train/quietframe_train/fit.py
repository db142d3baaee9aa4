"""Training itself: a recipe, its data and a run folder in, a trained Keras model out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import ops

from quietframe_train.batches import Batch, SeededBatches
from quietframe_train.checkpoint import BEST, Checkpoint, resume, should_stop
from quietframe_train.models import BUILDERS
from quietframe_train.recipes import Recipe, WarmupCosine


@keras.saving.register_keras_serializable("quietframe")
def psnr_db(y_true: Any, y_pred: Any) -> Any:
    """Mean PSNR of images in [0, 1], in dB; for the training log (reports use `quietframe.quality`)."""
    error = ops.mean(ops.square(ops.clip(y_pred, 0.0, 1.0) - y_true), axis=(1, 2, 3))
    return -10.0 * ops.log10(ops.maximum(error, 1e-10))


def build(recipe: Recipe, steps: int) -> keras.Model:
    """The recipe's model, compiled for a training of so many steps."""
    model = BUILDERS[recipe.model.builder](**recipe.model.options)
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
    optimizer = keras.optimizers.Adam(
        rate,
        clipnorm=config.clipnorm,
        use_ema=config.ema_momentum > 0,
        ema_momentum=config.ema_momentum or 0.99,
    )
    metrics = ["accuracy"] if recipe.task == "classify" else [psnr_db]
    # XLA compiles a new program for each shape and is no faster here; the last batch of digits is a new shape.
    model.compile(optimizer, loss=recipe.loss, metrics=metrics, jit_compile=keras.backend.backend() == "jax")
    return model


def fit(
    recipe: Recipe,
    training: SeededBatches,
    validation: Batch,
    folder: Path,
    *,
    epochs: int,
    resume_run: bool = False,
    callbacks: list[keras.callbacks.Callback] | None = None,
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Train, with a checkpoint in `folder` after every epoch.

    Args:
        recipe: what to train.
        training: batches; its `epoch` is set at the start of each.
        validation: inputs and targets that are never trained on.
        folder: an existing folder for the checkpoint and history.
        epochs: total, those before a resume included.
        resume_run: go on from the state in `folder`.
        callbacks: further Keras callbacks, such as a progress bar.

    Returns the model (the moving average or the best weights where the recipe says so) and its history rows.
    """
    steps = len(training)
    model = build(recipe, steps * epochs)
    rows = resume(model, folder, steps) if resume_run else []
    count = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _logs: setattr(training, "epoch", epoch))
    if len(rows) < epochs and not should_stop(rows, recipe.early_stopping):
        model.fit(
            training,
            validation_data=validation,
            validation_batch_size=max(recipe.batch, 16),
            initial_epoch=len(rows),
            epochs=epochs,
            shuffle=False,  # the batches are shuffled, and Keras' order of them would not outlive a resume
            callbacks=[count, Checkpoint(folder, rows, recipe.early_stopping), *(callbacks or [])],
            verbose=0,
        )
    else:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    if recipe.early_stopping and recipe.early_stopping.restore_best:
        model.load_weights(folder / BEST)
    return model, rows
