import itertools
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe_train import train
from quietframe_train.checkpoint import (
    Checkpoint,
    epochs_since_best,
    read_history,
    resume,
    should_stop,
    write_history,
)
from quietframe_train.recipe import EarlyStopping, ModelConfig
from quietframe_train.recipes import RECIPES
from quietframe_train.run_folder import HISTORY, state_path
from quietframe_train.trainer import build_model, compile_model, train_phases
from support.training import Interrupt

CLASSIFIER = RECIPES["digit-classifier"].with_phases(batch=64)
MAIN = CLASSIFIER.phases[0]
STEPS = 9  # of 64 in 576 digits


def test_history_is_read_as_it_was_written(tmp_path):
    rows = [{"phase": "main", "epoch": 1, "loss": 0.25}, {"phase": "main", "epoch": 2, "loss": 0.125, "seconds": 3.5}]
    write_history(tmp_path, rows)
    assert read_history(tmp_path) == rows
    assert isinstance(read_history(tmp_path)[0]["epoch"], int)


@pytest.mark.parametrize(
    ("losses", "since"), [([3], 0), ([3, 2, 1], 0), ([1, 2, 3], 2), ([2, 1, 1], 1), ([3, 1, 2, 1.5], 2)]
)
def test_epochs_since_best(losses, since):
    rows = [{"phase": "before", "val_loss": 0.0}]
    rows += [{"phase": "main", "epoch": index + 1, "val_loss": loss} for index, loss in enumerate(losses)]
    assert epochs_since_best(rows, "main", "val_loss") == since
    stopping = replace(MAIN, early_stopping=EarlyStopping(patience=2))
    assert should_stop(rows, stopping) == (since >= 2)
    assert not should_stop(rows, MAIN)
    assert not should_stop(rows[:1], stopping)


def compiled(recipe=CLASSIFIER):
    model = build_model(recipe)
    compile_model(model, recipe, recipe.phases[0], 2 * STEPS)
    return model


class KeepStates(keras.callbacks.Callback):
    """Copy the state of every epoch: a phase that is done removes its own."""

    def __init__(self, folder, into):
        super().__init__()
        self.folder, self.into = folder, into

    def on_epoch_end(self, epoch, logs=None):
        shutil.copy(state_path(self.folder, "main"), state_path(self.into, "main"))
        self.weights = self.model.get_weights()
        self.optimizer = [keras.ops.convert_to_numpy(variable) for variable in self.model.optimizer.variables]
        self.others = [keras.ops.convert_to_numpy(variable) for variable in self.model.non_trainable_variables]


@pytest.fixture
def states(tmp_path, mnist_npz):
    """Train for two epochs and leave state and history in `tmp_path`; returns what the model was then, and the rows."""

    def two_epochs(recipe=CLASSIFIER, limit=None):
        (tmp_path / "run").mkdir()
        keeping = KeepStates(tmp_path / "run", tmp_path)
        splits = recipe.data.load(mnist_npz, recipe, seed=1, limit=limit)
        keras.utils.set_random_seed(1)
        _, rows = train_phases(recipe.with_epochs(2), splits, tmp_path / "run", seed=1, callbacks=[keeping])
        write_history(tmp_path, rows)
        return keeping, rows

    return two_epochs


def test_resume_loads_weights_optimizer_and_history(tmp_path, states):
    kept, rows = states()
    fresh, before = compiled(), list(rows)
    assert resume(fresh, tmp_path, "main", rows, STEPS) == 2
    assert rows == before
    assert int(fresh.optimizer.iterations) == 2 * STEPS
    for one, other in zip(kept.weights, fresh.get_weights(), strict=True):
        assert np.array_equal(one, other)
    for one, other in zip(kept.optimizer, fresh.optimizer.variables, strict=True):
        assert np.array_equal(one, keras.ops.convert_to_numpy(other)), other.path


def test_resume_brings_back_what_dropout_draws_from(tmp_path, states):
    recipe = replace(RECIPES["digit-cnn"], model=ModelConfig("small_cnn", {"widths": (4,)})).with_phases(batch=64)
    kept, rows = states(recipe, limit=200)
    keras.utils.set_random_seed(1)
    fresh = compiled(recipe)
    resume(fresh, tmp_path, "main", rows, 3)
    assert any("seed_generator" in variable.path for variable in fresh.variables)
    for one, other in zip(kept.others, fresh.non_trainable_variables, strict=True):
        assert np.array_equal(one, keras.ops.convert_to_numpy(other)), other.path


def test_a_kill_between_history_and_state_loses_the_epoch_not_the_training(tmp_path, states):
    _, rows = states()
    longer = [*rows, rows[-1] | {"epoch": 3}]
    assert resume(compiled(), tmp_path, "main", longer, STEPS) == 2
    assert longer == rows


def test_without_a_state_there_is_nothing_to_resume(tmp_path):
    assert resume(compiled(), tmp_path, "main", [], STEPS) == 0


def test_damaged_states_are_refused(tmp_path, states):
    _, rows = states()
    with pytest.raises(SourceError, match=r"history.csv has 1 epochs, main-state.weights.h5 is after 2"):
        resume(compiled(), tmp_path, "main", rows[:1], STEPS)
    with pytest.raises(SourceError, match="cannot be resumed"):
        resume(compiled(RECIPES["latent-autoencoder"]), tmp_path, "main", rows, STEPS)
    state = state_path(tmp_path, "main")
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(SourceError, match="cannot be resumed"):
        resume(compiled(), tmp_path, "main", rows, STEPS)
    (tmp_path / HISTORY).write_text("phase,epoch\nmain,two\n")
    with pytest.raises(SourceError, match="not the history of a training"):
        read_history(tmp_path)


PATIENCE = 2
# Learns by heart from few images, so that its validation loss soon rises.
OVERFITTING = CLASSIFIER.with_phases(
    optimizer=replace(MAIN.optimizer, learning_rate=0.02), epochs=30, early_stopping=EarlyStopping(patience=PATIENCE)
)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, mnist_npz):
    """A training that stopped early."""
    return train(OVERFITTING, data=mnist_npz, out=tmp_path_factory.mktemp("stopped") / "run", limit=80, seed=3)


def test_early_stopping_stops_and_gives_the_best_weights(stopped, mnist_npz):
    losses = [row["val_loss"] for row in read_history(stopped.folder)]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + PATIENCE < OVERFITTING.epochs
    assert stopped.metrics["epochs_run"] == len(losses)

    validation = OVERFITTING.data.load(mnist_npz, OVERFITTING, seed=3, limit=80).validation
    scores = keras.models.load_model(stopped.model_path).predict(validation.scaled(), verbose=0)
    loss = -np.mean(np.log(scores[np.arange(len(scores)), validation.labels]))
    assert loss == pytest.approx(losses[best], rel=1e-4)


def test_early_stopping_after_a_resume_is_the_same(stopped, tmp_path, mnist_npz):
    epochs = stopped.metrics["epochs_run"]
    with pytest.raises(KeyboardInterrupt):
        train(OVERFITTING, data=mnist_npz, out=tmp_path, limit=80, seed=3, callbacks=[Interrupt(epoch=epochs - 1)])
    for _ in range(2):  # the second time there is nothing left to do: a stopped training stays stopped
        resumed = train(OVERFITTING, out=tmp_path, resume=True)
        assert resumed.metrics["epochs_run"] == epochs
        assert resumed.measured == stopped.measured
    models = [keras.models.load_model(run.model_path).get_weights() for run in (stopped, resumed)]
    for one, other in zip(*models, strict=True):
        assert np.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("restore", "kept"), [(True, 1), (False, 3)])
def test_restore_best_decides_whose_weights_are_left(tmp_path, mnist_npz, restore, kept):
    """The losses that decide are replaced by others, before the checkpoint looks at them."""
    losses, weights = [2.0, 1.0, 1.5, 1.2, *itertools.repeat(0.0, 6)], []
    recipe = CLASSIFIER.with_phases(epochs=10, early_stopping=EarlyStopping(patience=2, restore_best=restore))
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(keep.model.get_weights()))
    original = Checkpoint.on_epoch_end

    def replaced(self, epoch, logs=None):
        original(self, epoch, logs | {"val_loss": losses[epoch]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "on_epoch_end", replaced)
        splits = recipe.data.load(mnist_npz, recipe, seed=1)
        finished, rows = train_phases(recipe, splits, tmp_path, seed=1, callbacks=[keep])
    assert len(weights) == len(rows) == 4, "stopped two epochs after the best"
    for one, other in zip(finished.get_weights(), weights[kept], strict=True):
        assert np.array_equal(one, other)
