"""Trainings that begin with the weights of another one."""

import hashlib
import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.assets import photo_bgr
from quietframe.errors import SourceError, UsageError
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_train import RECIPES, load_run, train
from quietframe_train.evaluate import open_trained
from quietframe_train.recipe import Constant, OptimizerConfig
from quietframe_train.trainer import build_model
from quietframe_train.weights import find_start, load_weights
from support.training import Interrupt

DIGITS = RECIPES["digit-cnn"]
STILL = DIGITS.with_phases(schedule=Constant(), optimizer=OptimizerConfig(learning_rate=1e-12))
KNOWN = {"data_name": "Drawn", "data_terms": "CC0"}


@pytest.fixture(scope="module")
def first(tmp_path_factory, mnist_npz):
    out = tmp_path_factory.mktemp("runs") / "first"
    return train(DIGITS, data=mnist_npz, out=out, epochs=1, seed=3, limit=300, **KNOWN)


@pytest.fixture(scope="module")
def lone(tmp_path_factory, first):
    """Its weights alone, outside the run folder."""
    return shutil.copy(first.folder / "main.weights.h5", tmp_path_factory.mktemp("lone") / "first.weights.h5")


@pytest.fixture
def go_on(mnist_npz, tmp_path):
    """Train for one epoch, with no change to the weights, from a start."""

    def train_from(start, **options):
        return train(STILL, data=mnist_npz, out=tmp_path / "run", epochs=1, limit=64, start_from=start, **options)

    return train_from


def kernels(path):
    model = keras.saving.load_model(path, compile=False)
    return [np.asarray(variable) for variable in model.trainable_variables]


def kernels_of(weights):
    model = build_model(DIGITS)
    load_weights(model, weights)
    return [np.asarray(variable) for variable in model.trainable_variables]


@pytest.mark.parametrize("kind", ["run", "keras", "weights", "lone"])
def test_weights_are_found_wherever_they_are(first, lone, kind):
    weights = first.folder / "main.weights.h5"
    start = find_start({"run": first.folder, "keras": first.model_path, "weights": weights, "lone": lone}[kind])
    name = {"weights": "first/main.weights.h5", "lone": "first.weights.h5"}.get(kind, "first/model.keras")
    assert start.identity == f"{name}, sha256 {hashlib.sha256(start.file.read_bytes()).hexdigest()}"
    assert start.data == (None if kind == "lone" else first.data)
    for now, then in zip(kernels_of(start.file), kernels(first.model_path), strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("recipe", ["camera-nano", "video-nano"])
def test_a_built_in_model_comes_back_to_floats(recipe):
    """It gives what its file gives, but for the rounding of 8-bit activations."""
    model, start = build_model(RECIPES[recipe]), find_start("camera-nano")
    load_weights(model, start.file)
    assert start.identity.startswith("camera-nano.int8.tflite, sha256 ") and start.data.name == "photos"
    noisy = add_gaussian(photo_bgr()[:256, :256], 25, np.random.default_rng(0))
    clean = open_trained(model, RECIPES[recipe])(noisy)
    assert psnr_db(clean, Denoiser("camera-nano")(noisy)) > 44


def test_a_file_that_lacks_a_layer_is_no_start():
    """Its weights would stay random without a word."""
    recipe = RECIPES["camera-nano"]
    options = {**recipe.model.options, "decoder_convs": (1, 1)}
    larger = build_model(replace(recipe, model=replace(recipe.model, options=options)))
    with pytest.raises(SourceError, match="it has no layer 'out0_0'"):
        load_weights(larger, find_start("camera-nano").file)


def test_a_training_begins_with_the_weights_it_is_given(first, go_on):
    run = go_on(first.folder, seed=9, data_name="More")
    for now, then in zip(kernels(run.model_path), kernels(first.model_path), strict=True):
        np.testing.assert_allclose(now, then, rtol=0, atol=1e-6)
    assert run.started_from.startswith("first/model.keras, sha256 ")
    assert load_run(run.folder) == run
    assert run.data.name == "More; before: Drawn"
    assert run.data.terms.startswith("unknown") and run.data.terms.endswith("; CC0")


def test_the_data_of_both_trainings_is_named(first, lone):
    assert find_start(first.folder).with_its_data(first.data) == first.data, "once where it is the same"
    data = find_start(lone).with_its_data(first.data)
    assert data.name == "Drawn; before: what first.weights.h5 was trained on"
    assert data.terms.startswith("CC0; unknown")


def test_a_resume_that_has_kept_no_epoch_needs_its_start_again(lone, go_on, mnist_npz, tmp_path):
    """Else it would begin with random weights, and say otherwise."""
    with pytest.raises(KeyboardInterrupt):
        go_on(lone, callbacks=[Interrupt(epoch=0)])
    with pytest.raises(UsageError, match=r"pass --start-from again \(first\.weights\.h5, sha256 "):
        train(STILL, out=tmp_path / "run", resume=True)
    run = go_on(lone, resume=True)
    for now, then in zip(kernels(run.model_path), kernels_of(lone), strict=True):
        np.testing.assert_allclose(now, then, rtol=0, atol=1e-6)


@pytest.mark.long
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(lone, mnist_npz, tmp_path):
    begin = {"data": mnist_npz, "epochs": 3, "limit": 300, "start_from": lone}
    whole = train(DIGITS, out=tmp_path / "whole", **begin)
    with pytest.raises(KeyboardInterrupt):
        train(DIGITS, out=tmp_path / "killed", callbacks=[Interrupt(epoch=2)], **begin)
    resumed = train(DIGITS, data=mnist_npz, out=tmp_path / "killed", resume=True)
    assert (resumed.started_from, resumed.data) == (whole.started_from, whole.data)
    for now, then in zip(kernels(resumed.model_path), kernels(whole.model_path), strict=True):
        np.testing.assert_array_equal(now, then)


def test_weights_of_another_model_are_refused_before_anything_is_written(lone, mnist_npz, tmp_path, cli):
    out = tmp_path / "run"
    code, stdout, stderr = cli("train", "digit-classifier", "--data", mnist_npz, "--out", out, "--start-from", lone)
    assert code != 0 and not stdout and not out.exists()
    assert stderr.startswith(f"quietframe: error: {lone}: not weights of this recipe's model (")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.keras", None, "no such file, folder or built-in model; start from"),
        ("none.tflite", None, "no such file, folder or built-in model; start from"),
        ("digit-cnn", None, "only convolutions are read, and it holds the dense layer scores_1"),
        ("torn.weights.h5", b"\x89HDF\r\n\x1a\ntorn", "not weights of this recipe's model"),
        ("torn.keras", b"torn", "not weights of this recipe's model"),
        ("empty.weights.h5", b"", "not weights of this recipe's model"),
    ],
)
def test_a_file_that_is_no_start_is_refused(mnist_npz, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as raised:
        start = tmp_path / name if "." in name else name
        train("digit-classifier", data=mnist_npz, out=tmp_path / "run", epochs=1, start_from=start)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_done_is_no_start(tmp_path):
    with pytest.raises(SourceError, match=r"no model\.keras in it"):
        find_start(tmp_path)


def test_a_composed_recipe_has_no_start(first, mnist_npz, tmp_path):
    with pytest.raises(UsageError, match="pass --epochs, --start-from and --from-phase to those"):
        train("denoise-and-classify", data=mnist_npz, out=tmp_path / "run", start_from=first.folder)


def test_a_resume_from_another_start_is_refused(first, lone, go_on):
    run = go_on(lone)
    with pytest.raises(UsageError, match=r"started_from: first\.weights\.h5"):
        go_on(first.folder, resume=True)
    record = json.loads((run.folder / "recipe.json").read_text())
    assert record["started_from"] == run.started_from
