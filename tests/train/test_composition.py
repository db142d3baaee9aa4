"""A model composed of two that were trained apart."""

import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe_train import RECIPES, load_run, train
from quietframe_train.checkpoint import read_history
from quietframe_train.recipe import ModelConfig
from quietframe_train.runner import compose
from quietframe_train.training import find_parts

WHOLE = RECIPES["denoise-and-classify"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, mnist_npz):
    """A folder with trainings of both parts and of the whole; the classifier was not there and came along."""
    folder = tmp_path_factory.mktemp("runs")
    train("dense-autoencoder", data=mnist_npz, out=folder / "dense-autoencoder", epochs=3, seed=4)
    options = {"data_terms": "CC0", "compute": "mixed_bfloat16"}
    train("denoise-and-classify", data=mnist_npz, out=folder / "whole", seed=1, limit=200, **options)
    return folder


@pytest.fixture
def copied(runs, tmp_path):
    """The parts alone, to be damaged."""
    for name in WHOLE.parts:
        shutil.copytree(runs / name, tmp_path / name)
    return tmp_path


def test_its_outputs_are_those_of_the_two_in_turn(runs):
    images = np.random.default_rng(0).random((20, 28, 28, 1), dtype=np.float32)
    whole, denoiser, classifier = (
        keras.models.load_model(load_run(runs / name).model_path) for name in ("whole", *WHOLE.parts)
    )
    image, scores = whole.predict(images, verbose=0)
    denoised = denoiser.predict(images, verbose=0)
    assert np.allclose(image, denoised, atol=1e-6)
    assert np.allclose(scores, classifier.predict(denoised, verbose=0), atol=1e-5)
    assert not np.allclose(scores, classifier.predict(images, verbose=0), atol=1e-2)
    for one, other in zip(whole.get_weights(), denoiser.get_weights() + classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_parts_that_are_there_are_used_and_missing_ones_trained_beside_it(runs):
    assert (load_run(runs / "dense-autoencoder").seed, load_run(runs / "dense-autoencoder").epochs) == (4, 3)
    came_along = load_run(runs / "digit-classifier")
    assert (came_along.seed, came_along.limit, came_along.epochs) == (1, 200, 5)
    assert (came_along.data.terms, came_along.recipe.dtype_policy) == ("CC0", "mixed_bfloat16")
    assert len(read_history(came_along.folder)) == 5


def test_its_run_folder_has_no_history_and_what_both_reach(runs):
    run = load_run(runs / "whole")
    assert {path.name for path in run.folder.iterdir()} == {"model.keras", "recipe.json", "metrics.json", "samples.png"}
    assert run.metrics["parameters"] == 370_522
    assert run.metrics["epochs_run"] == 0
    assert run.classes == tuple("0123456789")
    assert run.metrics["parts"] == {n: load_run(runs / n).metrics["training_seconds"] for n in WHOLE.parts}
    *images, scores = run.measured
    assert (scores.measure, scores.noise) == ("accuracy", "uniform0.9")
    alone = load_run(runs / "dense-autoencoder").measured
    assert [replace(one, value=0) for one in images] == [replace(one, value=0) for one in alone]
    assert [one.value for one in images] == pytest.approx([one.value for one in alone], rel=1e-5)


def test_composing_again_gives_the_same(runs, tmp_path):
    for name in ("whole", *WHOLE.parts):
        shutil.copytree(runs / name, tmp_path / name)
    again = train("denoise-and-classify", out=tmp_path / "whole", resume=True)
    assert again.metrics == load_run(runs / "whole").metrics


def test_missing_parts_are_none(copied):
    shutil.rmtree(copied / "digit-classifier")
    for _ in range(2):
        found = find_parts(WHOLE, copied / "whole")
        assert [run and run.recipe.name for run in found] == ["dense-autoencoder", None]
        (copied / "digit-classifier").mkdir(exist_ok=True)  # an empty folder is as good as none


def unfinished(folder):
    (folder / "metrics.json").unlink()


def another(folder):
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "dense-autoencoder", folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unfinished, "its training is not done: go on with quietframe train digit-classifier --out .* --resume first"),
        (another, "holds a training of dense-autoencoder, expected one of digit-classifier"),
        (lambda folder: (folder / "recipe.json").unlink(), "digit-classifier: not a run folder"),
    ],
)
def test_a_folder_that_holds_no_finished_part_is_refused(copied, mnist_npz, damage, message):
    damage(copied / "digit-classifier")
    with pytest.raises(SourceError, match=message):
        train("denoise-and-classify", data=mnist_npz, out=copied / "whole")
    assert not (copied / "whole").exists()


def test_a_part_of_another_architecture_is_refused(copied, mnist_npz):
    shutil.rmtree(copied / "dense-autoencoder")
    wide = replace(RECIPES["dense-autoencoder"], model=ModelConfig("dense_autoencoder", {"units": 32}))
    wide = wide.with_phases(epochs=1)
    train(wide, data=mnist_npz, out=copied / "dense-autoencoder", limit=60)
    with pytest.raises(SourceError, match="not a dense-autoencoder that denoise-and-classify can be composed of"):
        train("denoise-and-classify", data=mnist_npz, out=copied / "whole")


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_part_whose_model_cannot_be_read_is_refused(copied, damage):
    path = copied / "digit-classifier" / "model.keras"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:1000])
    parts = find_parts(WHOLE, copied / "whole")
    with pytest.raises(SourceError, match="not a digit-classifier that denoise-and-classify can be composed of"):
        compose(WHOLE, [part for part in parts if part])
