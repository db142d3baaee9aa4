import itertools
from dataclasses import replace

import keras
import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe_train import train
from quietframe_train.checkpoint import (
    BEST,
    Checkpoint,
    epochs_since_best,
    read_history,
    resume,
    should_stop,
    write_history,
)
from quietframe_train.fit import build, fit
from quietframe_train.recipe import EarlyStopping, ModelConfig
from quietframe_train.recipes import RECIPES
from quietframe_train.run_folder import HISTORY, STATE
from quietframe_train.splits import load_splits
from quietframe_train.training import batches

CLASSIFIER = replace(RECIPES["digit-classifier"], batch=64)


def test_history_is_read_as_it_was_written(tmp_path):
    rows = [{"epoch": 1, "loss": 0.25}, {"epoch": 2, "loss": 0.125, "seconds": 3.5}]
    write_history(tmp_path / HISTORY, rows)
    assert read_history(tmp_path / HISTORY) == rows
    assert isinstance(read_history(tmp_path / HISTORY)[0]["epoch"], int)


@pytest.mark.parametrize(
    ("losses", "since"), [([3], 0), ([3, 2, 1], 0), ([1, 2, 3], 2), ([2, 1, 1], 1), ([3, 1, 2, 1.5], 2)]
)
def test_epochs_since_best(losses, since):
    rows = [{"epoch": index + 1, "val_loss": loss} for index, loss in enumerate(losses)]
    assert epochs_since_best(rows, "val_loss") == since
    assert should_stop(rows, EarlyStopping(patience=2)) == (since >= 2)
    assert not should_stop(rows, None)
    assert not should_stop([], EarlyStopping(patience=2))


def states(folder, mnist_npz, epochs):
    """Train and return the weights and history."""
    splits = load_splits(CLASSIFIER, mnist_npz, seed=1)
    training, validation = batches(CLASSIFIER, splits, seed=1)
    return fit(CLASSIFIER, training, validation, folder, epochs=epochs)


def test_resume_loads_weights_optimizer_and_history(tmp_path, mnist_npz):
    model, rows = states(tmp_path, mnist_npz, 2)
    steps = 9  # of 64 in 576 digits
    fresh = build(CLASSIFIER, 2 * steps)
    found = resume(fresh, tmp_path, steps)
    assert found == rows
    assert int(fresh.optimizer.iterations) == 2 * steps
    for one, other in zip(model.get_weights(), fresh.get_weights(), strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(model.optimizer.variables, fresh.optimizer.variables, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)), one.path


def test_resume_brings_back_what_dropout_draws_from(tmp_path, mnist_npz):
    recipe = replace(RECIPES["digit-cnn"], model=ModelConfig("small_cnn", {"widths": (4,)}), batch=64)
    training, validation = batches(recipe, load_splits(recipe, mnist_npz, seed=1, limit=200), seed=1)
    keras.utils.set_random_seed(1)
    model, _ = fit(recipe, training, validation, tmp_path, epochs=2)
    keras.utils.set_random_seed(1)
    fresh = build(recipe, 2 * len(training))
    resume(fresh, tmp_path, len(training))
    assert any("seed_generator" in variable.path for variable in fresh.variables)
    for one, other in zip(model.non_trainable_variables, fresh.non_trainable_variables, strict=True):
        assert np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)), one.path


def test_a_kill_between_history_and_state_loses_the_epoch_not_the_training(tmp_path, mnist_npz):
    _, rows = states(tmp_path, mnist_npz, 2)
    write_history(tmp_path / HISTORY, [*rows, rows[-1] | {"epoch": 3}])
    assert len(resume(build(CLASSIFIER, 18), tmp_path, 9)) == 2


def test_without_a_state_there_is_nothing_to_resume(tmp_path):
    assert resume(build(CLASSIFIER, 18), tmp_path, 9) == []


def test_damaged_states_are_refused(tmp_path, mnist_npz):
    states(tmp_path, mnist_npz, 2)
    rows = read_history(tmp_path / HISTORY)
    write_history(tmp_path / HISTORY, rows[:1])
    with pytest.raises(SourceError, match=r"history.csv has 1 epochs, state.weights.h5 is after 2"):
        resume(build(CLASSIFIER, 18), tmp_path, 9)
    (tmp_path / HISTORY).unlink()
    with pytest.raises(SourceError, match="cannot be resumed"):
        resume(build(CLASSIFIER, 18), tmp_path, 9)
    with pytest.raises(SourceError, match="cannot be resumed"):
        resume(build(RECIPES["latent-autoencoder"], 18), tmp_path, 9)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with pytest.raises(SourceError, match="cannot be resumed"):
        resume(build(CLASSIFIER, 18), tmp_path, 9)


class Losses(keras.callbacks.Callback):
    """Put these in the place of the validation losses, from the first epoch on."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.losses[epoch]


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C at the start of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


PATIENCE = 2
# Learns by heart from few images, so that its validation loss soon rises.
OVERFITTING = replace(
    CLASSIFIER,
    optimizer=replace(CLASSIFIER.optimizer, learning_rate=0.02),
    epochs=30,
    early_stopping=EarlyStopping(patience=PATIENCE),
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, mnist_npz):
    """A training that stopped early."""
    return train(OVERFITTING, data=mnist_npz, out=tmp_path_factory.mktemp("stopped") / "run", limit=80, seed=3)


def test_early_stopping_stops_and_gives_the_best_weights(stopped, mnist_npz):
    losses = [row["val_loss"] for row in read_history(stopped.folder / HISTORY)]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + PATIENCE < OVERFITTING.epochs
    assert stopped.metrics["epochs_run"] == len(losses)

    validation = load_splits(OVERFITTING, mnist_npz, seed=3, limit=80).validation
    scores = keras.models.load_model(stopped.model_path).predict(validation.scaled(), verbose=0)
    loss = -np.mean(np.log(scores[np.arange(len(scores)), validation.labels]))
    assert loss == pytest.approx(losses[best], rel=1e-4)
    assert (stopped.folder / BEST).is_file()


def test_early_stopping_after_a_resume_is_the_same(stopped, tmp_path, mnist_npz):
    epochs = stopped.metrics["epochs_run"]
    with pytest.raises(KeyboardInterrupt):
        train(OVERFITTING, data=mnist_npz, out=tmp_path, limit=80, seed=3, callbacks=[Interrupt(epochs - 1)])
    for _ in range(2):  # the second time there is nothing left to do: a stopped training stays stopped
        resumed = train(OVERFITTING, out=tmp_path, resume=True)
        assert resumed.metrics["epochs_run"] == epochs
        assert resumed.metrics["sets"] == stopped.metrics["sets"]
    models = [keras.models.load_model(run.model_path).get_weights() for run in (stopped, resumed)]
    for one, other in zip(*models, strict=True):
        assert np.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("restore", "kept"), [(True, 1), (False, 3)])
def test_restore_best_decides_whose_weights_are_left(tmp_path, mnist_npz, restore, kept):
    recipe = replace(CLASSIFIER, early_stopping=EarlyStopping(patience=2, restore_best=restore))
    splits = load_splits(recipe, mnist_npz, seed=1)
    training, validation = batches(recipe, splits, seed=1)
    weights = []
    model = build(recipe, 90)
    checkpoint = Checkpoint(tmp_path, [], recipe.early_stopping)
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: weights.append(model.get_weights()))
    model.fit(
        training,
        validation_data=validation,
        epochs=10,
        verbose=0,
        callbacks=[Losses([2.0, 1.0, 1.5, 1.2, *itertools.repeat(0.0, 6)]), checkpoint, keep],
    )
    assert len(weights) == 4, "stopped two epochs after the best"
    finished, _ = fit(recipe, training, validation, tmp_path, epochs=10, resume_run=True)
    for one, other in zip(finished.get_weights(), weights[kept], strict=True):
        assert np.array_equal(one, other)
