"""Trains a camera recipe on a GPU in minutes: `KERAS_BACKEND=jax python -m quietframe_train.gpu_training RECIPE`.

`quietframe train` makes each batch on the processor, and a GPU waits for them. Here all but the frames of a sensor is
drawn on it (`gpu_noise`), many steps to a call, and the learning rate falls with the time that is left, so that a
training takes the minutes that it is given.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import jax
import jax.numpy as jnp
import keras
import numpy as np

from quietframe.errors import QuietFrameError, UsageError
from quietframe_train import run_folder
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.checkpoint import SECONDS, write_history
from quietframe_train.fit import build_model, in_float32
from quietframe_train.gpu_noise import STOCK_SIDE, PhotoBank, draw_batch, photo_bank
from quietframe_train.gpu_stock import SensorStock, kept_stock
from quietframe_train.losses import LOGARITHMIC, LOSSES
from quietframe_train.optimizers import build_optimizer
from quietframe_train.photos import PhotoSet
from quietframe_train.quantization import norms_still
from quietframe_train.recipe import PhotoData, Recipe, WarmupCosine
from quietframe_train.recipes import find_recipe
from quietframe_train.splits import describe_data, fingerprint, load_splits
from quietframe_train.training import finish
from quietframe_train.weights import find_start, set_start

_LOG = logging.getLogger("quietframe_train")

_ROW = 1000  # steps, at least, of a row of the history


@dataclass(frozen=True)
class GpuSettings:
    """How to use the time.

    Attributes:
        minutes: of the whole training, the compilation included; what follows (measuring, saving) is not.
        settling_share: of these, for the settling phase.
        batch, patch: of the first phase, in place of the recipe's: patches in a step, and their side in pixels.
        steps: in a call; a row of the history is a thousand steps or more.
        workers: processes that make frames of a sensor.
        stock: frames of a sensor that are kept and drawn from.
    """

    minutes: float
    settling_share: float = 0.24
    batch: int = 32
    patch: int = 96
    steps: int = 50
    workers: int = 5
    stock: int = 4096


def train_on_gpu(
    recipe: Recipe,
    settings: GpuSettings,
    *,
    data: str | Path,
    out: str | Path,
    seed: int = 0,
    data_name: str | None = None,
    data_terms: str | None = None,
    start_from: str | Path | None = None,
    learning_rate: float | None = None,
) -> run_folder.Run:
    """Train a camera recipe and leave a run folder, as `quietframe_train.train` does. Nothing is kept of a training
    that does not come to its end.

    Args:
        recipe: one of the camera recipes.
        settings: see there.
        data, out, seed, data_name, data_terms, start_from, learning_rate: as of `train`.

    Raises:
        UsageError: not a camera recipe, or Keras' backend is not JAX.
        SourceError, OutputError: as of `train`.
    """
    begun, folder = time.monotonic(), Path(out)
    settling = recipe.settling
    if not isinstance(recipe.data, PhotoData) or settling is None:
        raise UsageError(f"{recipe.name}: no camera recipe; quietframe train {recipe.name} trains it")
    if keras.backend.backend() != "jax":
        raise UsageError("set KERAS_BACKEND=jax: this training is JAX's")
    recipe = replace(recipe, batch=settings.batch, data=replace(recipe.data, patch=settings.patch))
    recipe = recipe.with_learning_rate(learning_rate) if learning_rate else recipe
    if max(settings.patch, settling.patch) > STOCK_SIDE:
        raise UsageError(f"{recipe.name}: patches may have {STOCK_SIDE} pixels a side at most")
    run_folder.check_folder(folder, resume=False)
    start = find_start(start_from) if start_from is not None else None
    splits = load_splits(recipe, data, seed=seed)
    assert isinstance(splits, PhotoSet)
    described = describe_data(splits, data, data_name, data_terms)
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(recipe.dtype_policy)
    try:
        model = build_model(recipe)
    finally:
        keras.config.set_dtype_policy("float32")
    if start:
        set_start(model, start)
    phases = _train(model, recipe, settings, splits, seed, begun + 60 * settings.minutes)
    run = run_folder.Run(
        folder=folder,
        recipe=recipe,
        seed=seed,
        epochs=len(phases["training"]),
        limit=None,
        data_path=Path(data).resolve(),
        data=start.with_its_data(described) if start else described,
        data_sha256=fingerprint(splits),
        versions=run_folder.current_versions(),
        created=run_folder.now(),
        started_from=start.identity if start else "",
    )
    run_folder.begin(run, None)
    for phase, rows in ((folder, phases["training"]), (folder / run_folder.SETTLING, phases[run_folder.SETTLING])):
        phase.mkdir(exist_ok=True)
        write_history(phase / run_folder.HISTORY, rows)
    steps = {name: int(rows[-1]["steps"]) for name, rows in phases.items()}
    return finish(run, splits, in_float32(recipe, model), phases, {"steps": steps})


def _train(
    model: keras.Model, recipe: Recipe, settings: GpuSettings, splits: PhotoSet, seed: int, until: float
) -> dict[str, list[dict[str, float]]]:
    """Both phases; the model then has the moving average of the second. Returns the history of each."""
    assert isinstance(recipe.noise, CameraNoise)
    bank, key = photo_bank(splits.training), jax.random.key(seed, impl="rbg")
    first, second = (_Phase(model, each, settings.steps, bank) for each in (recipe, recipe.settled))
    with (
        kept_stock(splits.training, recipe.noise, settings.stock, seed=seed + 1, workers=settings.workers) as stock,
        ThreadPoolExecutor(1) as beside,
    ):
        call = first.lower(key, stock).compile()
        with norms_still(model):
            lowered = second.lower(key, stock)
        next_call: Future[Any] = beside.submit(lowered.compile)
        stock.fill()
        left = until - time.monotonic()
        training = first.run(call, key, stock, time.monotonic() + (1 - settings.settling_share) * left)
        settling = second.run(next_call.result(), jax.random.fold_in(key, 1), stock, until)
    return {"training": training, run_folder.SETTLING: settling}


class _Phase:
    """Steps of one recipe with its own optimizer, many to a call."""

    def __init__(self, model: keras.Model, recipe: Recipe, steps: int, bank: PhotoBank) -> None:
        self.model, self.recipe, self.steps, self.bank = model, recipe, steps, bank
        self.loss, self.weighed = LOSSES[recipe.loss], recipe.loss not in LOGARITHMIC
        self.optimizer = self._new_optimizer()
        self.optimizer.build(model.trainable_variables)
        variables = self.optimizer.variables
        self.rate_at = next(i for i, each in enumerate(variables) if each is self.optimizer._learning_rate)

    def lower(self, key: Any, stock: SensorStock) -> Any:
        """The traced call: (state, key, learning rate, photographs, stock) to (state, the losses of its steps)."""
        recipe = self.recipe
        assert isinstance(recipe.data, PhotoData) and isinstance(recipe.noise, CameraNoise)
        noise, patch = recipe.noise, recipe.data.patch

        def cost(trained: Any, others: Any, inputs: Any, clean: Any, weights: Any) -> Any:
            result, others, extra = self.model.stateless_call(
                trained, others, [inputs["image"], inputs["sigma"]], training=True, return_losses=True
            )
            error = jnp.mean(weights * self.loss(clean, result))
            return error + sum(extra), (others, error)

        def step(state: Any, key: Any, rate: Any, bank: Any, frames: Any) -> Any:
            trained, others, optimizer = state
            batch = draw_batch(key, bank, frames, noise, recipe.batch, patch, weighed=self.weighed)
            (_, (others, error)), gradients = jax.value_and_grad(cost, has_aux=True)(trained, others, *batch)
            optimizer = [*optimizer[: self.rate_at], rate, *optimizer[self.rate_at + 1 :]]
            trained, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trained)
            return (trained, others, optimizer), error

        def call(state: Any, key: Any, rate: Any, bank: Any, frames: Any) -> Any:
            return jax.lax.scan(lambda s, k: step(s, k, rate, bank, frames), state, jax.random.split(key, self.steps))

        return jax.jit(call, donate_argnums=(0,)).lower(self._state(), key, jnp.float32(0), self.bank, stock.frames)

    def run(self, call: Callable[..., Any], key: Any, stock: SensorStock, until: float) -> list[dict[str, float]]:
        """Train until that moment of the monotonic clock, at least one call. Returns the history."""
        for variable, value in zip(self.optimizer.variables, self._first_values(), strict=True):
            variable.assign(value)
        state, begun = self._state(), time.monotonic()
        rows: list[dict[str, float]] = []
        losses: list[Any] = []
        steps, row_begun, now = 0, begun, begun
        while now < until or not rows:
            stock.renew()
            key, of_call = jax.random.split(key)
            rate = self._rate(min(1.0, (now - begun) / max(until - begun, 1e-9)), steps)
            state, errors = call(state, of_call, jnp.float32(rate), self.bank, stock.frames)
            losses.append(errors)
            steps += self.steps
            if len(losses) > 1:
                losses[-2].block_until_ready()  # no more than one call ahead
            now = time.monotonic()
            if len(losses) * self.steps >= _ROW or now >= until:
                loss = float(np.mean([np.asarray(each) for each in losses]))
                if not math.isfinite(loss):
                    raise QuietFrameError(f"{self.recipe.name}: the loss is {loss} after {steps} steps")
                rows.append({"epoch": len(rows) + 1, "loss": loss, "steps": steps, SECONDS: round(now - row_begun, 3)})
                _LOG.info("%d steps  loss %.5f  rate %.5f  %.0f s", steps, loss, rate, now - begun)
                losses, row_begun = [], now
        for variables, values in zip(self._variables(), state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        self.optimizer.finalize_variable_values(self.model.trainable_variables)
        return rows

    def _rate(self, done: float, steps: int) -> float:
        """The learning rate when this share of the time is over, after so many steps."""
        schedule, highest = self.recipe.schedule, self.recipe.optimizer.learning_rate
        assert isinstance(schedule, WarmupCosine)
        falling = schedule.final_rate + (highest - schedule.final_rate) * 0.5 * (1 + math.cos(math.pi * done))
        return falling * min(1.0, (steps + self.steps / 2) / schedule.warmup_steps)

    def _variables(self) -> tuple[Any, Any, Any]:
        return self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables

    def _state(self) -> Any:
        """Copies of all variables' values: a call takes their memory for its own."""
        return tuple([jnp.array(variable.value, copy=True) for variable in each] for each in self._variables())

    def _first_values(self) -> list[Any]:
        """The optimizer's, with a moving average that begins with what the weights are now."""
        optimizer = self._new_optimizer()
        optimizer.build(self.model.trainable_variables)
        return [variable.value for variable in optimizer.variables]

    def _new_optimizer(self) -> keras.optimizers.Optimizer:
        config = self.recipe.optimizer
        return build_optimizer(config, config.learning_rate, ema_momentum=config.ema_momentum)


@click.command()
@click.argument("recipe")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A folder of pictures.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder, new or empty.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), required=True, help="How long it may take.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=5, show_default=True, help="Makers of a sensor's frames."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of weights, split and noise.  [default: 0]")
@click.option("--data-name", metavar="NAME", help="What the model card calls the data.")
@click.option("--data-terms", metavar="TERMS", help="The terms of the data, for the model card.")
@click.option("--start-from", type=click.Path(path_type=Path), help="Weights to begin with, as of quietframe train.")
@click.option("--learning-rate", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="The highest.")
def main(recipe: str, minutes: float, workers: int, **options: Any) -> None:
    """Train a camera RECIPE for so many minutes on the GPU that JAX finds, and leave a run folder."""
    _LOG.setLevel(logging.INFO)
    _LOG.addHandler(logging.StreamHandler())
    try:
        run = train_on_gpu(find_recipe(recipe), GpuSettings(minutes, workers=workers), **options)
    except QuietFrameError as exc:
        raise click.ClickException(str(exc)) from None
    click.echo(f"{run.model_path}: {run.metrics['training_seconds']:.0f} s of training")


if __name__ == "__main__":
    main()
