"""Trainings that begin with the weights of another one."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from quietframe.errors import SourceError, UsageError
from quietframe_train import RECIPES, load_run, train
from quietframe_train.pack_weights import trained_model
from quietframe_train.recipe import Constant, OptimizerConfig
from quietframe_train.weights import pack

DIGITS = RECIPES["digit-cnn"]
STILL = replace(DIGITS, schedule=Constant(), optimizer=OptimizerConfig(learning_rate=1e-12))
CAMERA = replace(RECIPES["camera-nano"], steps_per_epoch=3, batch=2, settling=None)
KNOWN = {"data_name": "Drawn", "data_terms": "CC0"}


class KilledError(Exception):
    """Ends a training behind its second epoch."""


class Kill(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KilledError


@pytest.fixture(scope="module")
def first(tmp_path_factory, mnist_npz):
    out = tmp_path_factory.mktemp("runs") / "first"
    return train(DIGITS, data=mnist_npz, out=out, epochs=1, seed=3, limit=300, **KNOWN)


@pytest.fixture(scope="module")
def packed(tmp_path_factory, first):
    out = tmp_path_factory.mktemp("packed") / "first.npz"
    command = [sys.executable, "-m", "quietframe_train.pack_weights", str(first.folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{out}: {first.metrics['parameters']:,} weights, {out.stat().st_size:,} bytes\n"
    return out


@pytest.fixture
def go_on(mnist_npz, tmp_path):
    """Train for one epoch, with no change to the weights, from a start."""

    def train_from(start, **options):
        return train(STILL, data=mnist_npz, out=tmp_path / "run", epochs=1, limit=64, start_from=start, **options)

    return train_from


def kernels(path):
    model = keras.saving.load_model(path, compile=False)
    return [np.asarray(variable) for variable in model.trainable_variables]


@pytest.mark.parametrize("kind", ["run", "keras", "npz"])
def test_a_training_begins_with_the_weights_it_is_given(first, packed, go_on, kind):
    run = go_on({"run": first.folder, "keras": first.model_path, "npz": packed}[kind], seed=9)
    for now, then in zip(kernels(run.model_path), kernels(first.model_path), strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-3 if kind == "npz" else 0, atol=1e-6)
    assert run.started_from.startswith({"npz": "first.npz, sha256 "}.get(kind, "first/model.keras, sha256 "))
    assert load_run(run.folder) == run


def test_packed_weights_take_half_the_room_and_say_what_they_were_trained_on(first, packed, go_on):
    assert packed.stat().st_size < 2.1 * first.metrics["parameters"] + 20_000
    run = go_on(packed, data_name="More")
    assert run.data.name == "More; before: Drawn"
    assert run.data.terms.startswith("unknown") and run.data.terms.endswith("; CC0")


@pytest.mark.parametrize(("name", "weight", "message"), [("w.bin", 1.0, "suffix"), ("w.npz", 1e6, "half precision")])
def test_what_cannot_be_packed_is_refused(tmp_path, name, weight, message):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.set_weights([np.full((2, 1), weight), np.zeros(1)])
    with pytest.raises(UsageError, match=message):
        pack(model, None, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_data_is_named_once_where_it_is_the_same(first, packed, go_on):
    assert go_on(packed, **KNOWN).data == first.data


def test_data_of_a_lone_file_is_said_to_be_unknown(first, go_on, tmp_path):
    run = go_on(shutil.copy(first.model_path, tmp_path / "lone.keras"), **KNOWN)
    assert run.data.name == "Drawn; before: what lone.keras was trained on"
    assert run.data.terms.startswith("CC0; unknown")


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(packed, mnist_npz, tmp_path):
    begin = {"data": mnist_npz, "epochs": 3, "limit": 300, "start_from": packed}
    whole = train(DIGITS, out=tmp_path / "whole", **begin)
    with pytest.raises(KilledError):
        train(DIGITS, out=tmp_path / "killed", callbacks=[Kill()], **begin)
    resumed = train(DIGITS, data=mnist_npz, out=tmp_path / "killed", resume=True)
    assert (resumed.started_from, resumed.data) == (whole.started_from, whole.data)
    for now, then in zip(kernels(resumed.model_path), kernels(whole.model_path), strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_training_that_is_not_done_is_packed_by_its_moving_average(photo_folder, tmp_path):
    with pytest.raises(KilledError):
        train(CAMERA, data=photo_folder, out=tmp_path / "run", epochs=3, callbacks=[Kill()])
    halfway = trained_model(tmp_path / "run").get_weights()
    done = train(CAMERA, data=photo_folder, out=tmp_path / "run", resume=True)
    last = keras.saving.load_model(done.model_path, compile=False).get_weights()
    moved = [np.abs(now - then).max() for now, then in zip(last, halfway, strict=True)]
    assert 0 < max(moved) < 0.5, "an epoch on"


def test_weights_of_another_model_are_refused_before_anything_is_written(packed, mnist_npz, tmp_path, run_cli):
    out = tmp_path / "run"
    code, stdout, stderr = run_cli(
        "train", "digit-classifier", "--data", mnist_npz, "--out", out, "--start-from", packed
    )
    assert code != 0 and not stdout and not out.exists()
    assert stderr.startswith(f"quietframe: error: {packed}: not weights of this recipe's model (")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.keras", None, "no such file or folder; start from"),
        ("torn.npz", b"PK\x03\x04torn", "not packed weights, cannot be read"),
        ("torn.keras", b"torn", "not a Keras model that can be read"),
        ("empty.npz", b"", "not packed weights, cannot be read"),
    ],
)
def test_a_file_that_is_no_start_is_refused(mnist_npz, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as raised:
        train("digit-classifier", data=mnist_npz, out=tmp_path / "run", epochs=1, start_from=tmp_path / name)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_done_is_no_start(first, mnist_npz, tmp_path):
    folder = shutil.copytree(first.folder, tmp_path / "undone")
    (folder / "model.keras").unlink()
    with pytest.raises(SourceError, match=r"no model\.keras in it"):
        train("digit-classifier", data=mnist_npz, out=tmp_path / "run", epochs=1, start_from=folder)


def test_a_rate_of_ones_own_is_kept_and_scales_the_settling_phase(mnist_npz, tmp_path):
    settled = RECIPES["camera-nano"].with_learning_rate(2e-3)
    assert settled.optimizer.learning_rate == 2e-3
    assert settled.settling.learning_rate == pytest.approx(1e-3)
    begin = {"data": mnist_npz, "epochs": 3, "limit": 64, "learning_rate": 4e-4}
    with pytest.raises(KilledError):
        train(DIGITS, out=tmp_path / "run", callbacks=[Kill()], **begin)
    resumed = train(DIGITS, out=tmp_path / "run", resume=True)
    assert resumed.recipe.optimizer.learning_rate == 4e-4


@pytest.mark.parametrize("rate", [0.0, -1e-3, 1.0, float("nan")])
def test_a_rate_out_of_range_is_refused(mnist_npz, tmp_path, rate):
    with pytest.raises(UsageError, match="learning rate above 0"):
        train(DIGITS, data=mnist_npz, out=tmp_path / "run", epochs=1, learning_rate=rate)
    assert not (tmp_path / "run").exists()


def test_a_composed_recipe_has_no_start(first, mnist_npz, tmp_path):
    with pytest.raises(UsageError, match="pass --start-from to those"):
        train("denoise-and-classify", data=mnist_npz, out=tmp_path / "run", start_from=first.folder)


def test_a_resume_from_another_start_is_refused(first, packed, go_on):
    run = go_on(packed)
    with pytest.raises(UsageError, match=r"started_from: first\.npz"):
        go_on(first.folder, resume=True)
    record = json.loads((run.folder / "recipe.json").read_text())
    assert record["started_from"] == run.started_from
