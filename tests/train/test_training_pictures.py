"""Whole trainings on folders of pictures: folds, classes, half precision."""

import shutil
from dataclasses import replace

import cv2
import keras
import numpy as np
import pytest

from quietframe.errors import SourceError, UsageError
from quietframe_train import RECIPES, load_run, train
from quietframe_train.augmentation import Augmentation
from quietframe_train.checkpoint import read_history
from quietframe_train.data.pictures import PictureData
from quietframe_train.evaluate import measure_images
from quietframe_train.recipe import ModelConfig
from quietframe_train.trainer import build_model
from support.training import Interrupt

FOLDS = 3
SMALL_CLASSIFIER = replace(
    RECIPES["image-classifier"],
    model=ModelConfig("small_cnn", {"side": 32, "channels": 3, "widths": (8, 16)}),
    data=replace(RECIPES["image-classifier"].data, side=32, folds=FOLDS),
).with_phases(batch=8, optimizer=replace(RECIPES["image-classifier"].phases[0].optimizer, ema_momentum=0.5))


@pytest.fixture(scope="module")
def crossed(tmp_path_factory, picture_folder):
    return train(SMALL_CLASSIFIER, data=picture_folder, out=tmp_path_factory.mktemp("runs") / "i", epochs=4, seed=1)


def test_cross_validation_measures_every_fold_with_a_model_of_its_own(crossed, picture_folder, artefacts):
    assert {path.name for path in crossed.folder.iterdir()} == artefacts | {f"fold-{fold}" for fold in (2, 3)}
    (found,) = crossed.metrics["cross_validation"]
    assert (found["measure"], found["noise"], len(found["values"])) == ("accuracy", "clean", FOLDS)
    assert found["values"][0] == crossed.measured[0].value
    assert np.mean(found["values"]) > 0.6, "dark and light"
    for fold in range(1, FOLDS):
        model = build_model(crossed.recipe)
        model.load_weights(crossed.folder / f"fold-{fold + 1}" / "main.weights.h5")
        test = crossed.recipe.data.load(picture_folder, crossed.recipe, seed=1, fold=fold).test
        assert found["values"][fold] == measure_images(model, crossed.recipe, test, "fold")[0].value


def test_a_run_of_pictures_knows_its_classes(crossed):
    assert load_run(crossed.folder).classes == ("dark", "light")
    assert crossed.recipe.model.options["classes"] == 2
    assert keras.models.load_model(crossed.model_path).output_shape == (None, 2)


@pytest.mark.long
def test_a_killed_cross_validation_keeps_its_folds_and_ends_as_an_uninterrupted_one(crossed, tmp_path, picture_folder):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(
            SMALL_CLASSIFIER, data=picture_folder, out=out, epochs=4, seed=1, callbacks=[Interrupt(epoch=1, training=2)]
        )
    assert [len(read_history(out / name)) for name in (".", "fold-2")] == [4, 1]
    assert not (out / "model.keras").exists()
    first = (out / "history.csv").read_bytes()
    resumed = train(SMALL_CLASSIFIER, out=out, resume=True)
    assert (out / "history.csv").read_bytes() == first, "what was done is not done again"
    for name in (".", "fold-2", "fold-3"):
        ours, theirs = (read_history(folder / name) for folder in (out, crossed.folder))
        assert [row["loss"] for row in ours] == pytest.approx([row["loss"] for row in theirs], rel=1e-3), name
    assert resumed.metrics["cross_validation"] == crossed.metrics["cross_validation"]


def test_other_classes_are_another_training(crossed, tmp_path, picture_folder):
    folder = shutil.copytree(picture_folder, tmp_path / "pictures")
    (folder / "middling").mkdir()
    for path in (folder / "dark").iterdir():
        cv2.imwrite(str(folder / "middling" / path.name), cv2.imread(str(path)) + 60)
    out = shutil.copytree(crossed.folder, tmp_path / "run")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in out.rglob("*"))
    with pytest.raises(UsageError, match=r"holds another training \(recipe.model.options.classes: 2, now 3\)"):
        train(SMALL_CLASSIFIER, data=folder, out=out, resume=True)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in out.rglob("*")) == before


SMALL_COLOUR = replace(
    RECIPES["color-autoencoder"],
    model=ModelConfig("color_autoencoder", {"side": 32}),
    data=PictureData(side=32, augmentation=Augmentation(flip=True)),
).with_phases(batch=8)
SMALL_UNET = replace(
    RECIPES["color-unet"],
    model=ModelConfig("color_unet", {"side": 32, "widths": (8, 16), "encoder_convs": (1, 1), "decoder_convs": (1,)}),
    data=replace(RECIPES["color-unet"].data, side=32),
).with_phases(batch=8)


def test_a_mixed_policy_trains_resumes_and_leaves_a_float32_model(tmp_path, picture_folder):
    model = build_model(SMALL_COLOUR, "mixed_bfloat16")
    assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"bfloat16"}
    out = tmp_path / "run"
    train(SMALL_COLOUR, data=picture_folder, out=out, epochs=8, seed=1, compute="mixed_bfloat16")
    run = train(SMALL_COLOUR, out=out, resume=True)
    assert keras.config.dtype_policy().name == "float32"
    saved = keras.models.load_model(run.model_path)
    assert {layer.dtype_policy.name for layer in saved.layers} == {"float32"}
    assert {str(weight.dtype) for weight in saved.weights} == {"float32"}
    losses = [row["loss"] for row in read_history(out)]
    assert min(losses) < 0.95 * losses[0]
    splits = run.recipe.data.load(picture_folder, run.recipe, seed=1)
    assert run.recipe.data.evaluate(saved, run.recipe, splits, run.data) == list(run.measured)


def test_a_model_that_cannot_be_built_leaves_the_policy_as_it_was():
    with pytest.raises(TypeError):
        build_model(replace(SMALL_COLOUR, model=ModelConfig("color_autoencoder", {"sides": 3})), "mixed_bfloat16")
    assert keras.config.dtype_policy().name == "float32"


def test_the_color_unet_learns(tmp_path, picture_folder):
    run = train(SMALL_UNET, data=picture_folder, out=tmp_path / "run", epochs=6, seed=1)
    losses = [row["loss"] for row in read_history(run.folder)]
    assert losses[-1] < 0.9 * losses[0]


def test_pictures_that_cannot_be_read_are_named_before_anything_is_written(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_text("not a picture")
    with pytest.raises(SourceError, match=r"0 different images \(1 files skipped\)"):
        train(SMALL_UNET, data=tmp_path / "pictures", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
