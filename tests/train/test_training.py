"""Whole trainings, short ones, and the run folders that they leave."""

import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from quietframe.errors import OutputError, UsageError
from quietframe.noise.formats import FORMATS
from quietframe_train import RECIPES, load_run, train
from quietframe_train.checkpoint import read_history, resume
from quietframe_train.data.photos import PhotoData
from quietframe_train.evaluate import open_trained, predict
from quietframe_train.macs import macs_per_pixel
from quietframe_train.recipe import ModelConfig
from quietframe_train.run_folder import state_path
from quietframe_train.trainer import build_model, compile_model
from support.training import Interrupt

SHORT_CAMERA = replace(
    RECIPES["camera-nano"].with_phases(steps_per_epoch=6, batch=4),
    model=ModelConfig("camera_unet", {"widths": (16, 32), "encoder_convs": (1, 1), "decoder_convs": (0,)}),
)
# Compiled in a fifth of the time, where nothing depends on Muon: with `without_xla` for the tests that use it.
ADAM = replace(SHORT_CAMERA.phases[0].optimizer, name="adam", adam_layers=())
QUICK_CAMERA = SHORT_CAMERA.with_phases(optimizer=ADAM)
MAIN_ONLY = replace(QUICK_CAMERA, phases=QUICK_CAMERA.phases[:1])


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, mnist_npz):
    return train("digit-classifier", data=mnist_npz, out=tmp_path_factory.mktemp("runs") / "c", epochs=12, seed=1)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory, mnist_npz):
    return train("latent-autoencoder", data=mnist_npz, out=tmp_path_factory.mktemp("runs") / "a", epochs=3, seed=1)


@pytest.fixture(scope="module")
def camera(tmp_path_factory, photo_folder):
    return train(SHORT_CAMERA, data=photo_folder, out=tmp_path_factory.mktemp("runs") / "n", epochs=2, seed=1)


@pytest.fixture
def without_xla(monkeypatch):
    """XLA compiles a program for each phase of each training, for many seconds."""
    monkeypatch.setattr(PhotoData, "one_shape", False)


@pytest.fixture(scope="module")
def quick_camera(tmp_path_factory, photo_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PhotoData, "one_shape", False)
        return train(QUICK_CAMERA, data=photo_folder, out=tmp_path_factory.mktemp("runs") / "q", epochs=2, seed=1)


@pytest.fixture(params=["classifier", "autoencoder", "camera"])
def run(request):
    return request.getfixturevalue(request.param)


def test_a_run_folder_holds_the_artefacts_and_no_half_ones(run, artefacts):
    assert {path.name for path in run.folder.iterdir()} == artefacts | {
        f"{phase.name}.weights.h5" for phase in run.recipe.phases
    }
    for name in ("loss.png", "samples.png"):
        picture = cv2.imread(str(run.folder / name))
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 10, "not blank"


def test_the_run_is_loaded_as_it_was_returned(run):
    loaded = load_run(run.folder)
    assert loaded == run
    assert json.loads((run.folder / "metrics.json").read_text()) == run.metrics
    assert {"python", "keras", "numpy", "quietframe", "backend", keras.backend.backend()} <= loaded.versions.keys()
    assert loaded.data.terms.startswith("unknown")


def test_history_has_a_row_for_each_epoch(run):
    rows = read_history(run.folder)
    expected = [(phase.name, epoch + 1) for phase in run.recipe.phases for epoch in range(phase.epochs)]
    assert [(row["phase"], row["epoch"]) for row in rows] == expected
    assert {"loss", "val_loss", "seconds"} <= rows[0].keys()
    assert run.metrics["epochs_run"] == run.epochs
    levels = [value for key, value in rows[-1].items() if key.startswith("val_psnr_db/")]
    assert len(levels) == (4 if run.recipe.data.kind == "photos" else 0)
    assert not levels or rows[-1]["val_psnr_db"] == pytest.approx(np.mean(levels))
    assert run.metrics["phases"] == {phase.name: phase.epochs for phase in run.recipe.phases}
    assert run.metrics["training_seconds"] == pytest.approx(sum(row["seconds"] for row in rows), abs=0.1)


def test_the_saved_model_is_the_one_that_was_measured(run, mnist_npz, photo_folder):
    path = mnist_npz if run.recipe.data.kind == "digits" else photo_folder
    splits = run.recipe.data.load(path, run.recipe, seed=run.seed)
    model = keras.models.load_model(run.model_path)
    assert model.count_params() == run.metrics["parameters"]
    assert getattr(model, "optimizer", None) is None, "the optimizer's state stays out of the file"
    assert run.recipe.data.evaluate(model, run.recipe, splits, run.data) == list(run.measured)


def test_the_classifier_learns(classifier, mnist_npz):
    clean, noisy = classifier.measured
    assert [(one.set, one.measure) for one in classifier.measured] == [("mnist.npz test", "accuracy")] * 2
    assert (clean.noise, noisy.noise) == ("clean", "uniform0.9")
    assert clean.value > 0.6
    test = classifier.recipe.data.load(mnist_npz, classifier.recipe, seed=1).test
    (scores,) = predict(keras.models.load_model(classifier.model_path), test.scaled())
    assert clean.value == np.mean(scores.argmax(axis=1) == test.labels)
    assert noisy.value < clean.value


def test_the_autoencoder_beats_its_noisy_input_at_every_level(autoencoder):
    found = {(one.noise, one.measure): one for one in autoencoder.measured}
    assert len(found) == len(autoencoder.measured) == 3 * 5
    for noise in ("normal0.5mean0.5", "normal0.75mean0.5", "normal1mean0.5"):
        assert found[noise, "psnr_db"].value > found[noise, "psnr_db"].noisy + 3
        assert found[noise, "ssim"].value > found[noise, "ssim"].noisy
        for measure, share in (("mse", 0.5), ("rmse", 0.75), ("bce", 1)):
            assert found[noise, measure].value < share * found[noise, measure].noisy


def test_camera_metrics_are_of_the_validation_photographs(camera):
    assert {(one.set, one.measure) for one in camera.measured} == {(f"{camera.data.name} validation", "psnr_db")}
    found = {one.noise: one for one in camera.measured}
    assert list(found) == [f"{form}, sigma {sigma}" for form in FORMATS for sigma in (0, 10, 25, 50)]
    assert found["rgb, sigma 25"].noisy == pytest.approx(20.4, abs=0.8)
    assert camera.metrics["macs_per_pixel"] == pytest.approx(macs_per_pixel(build_model(camera.recipe)))
    assert (camera.metrics["training_images"], camera.metrics["validation_images"]) == (5, 1)


@pytest.mark.parametrize("size_hw", [(32, 48), (33, 47), (5, 6)])
def test_photographs_of_any_size_keep_it(camera, size_hw):
    model = keras.models.load_model(camera.model_path)
    photo = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    denoised = open_trained(model, camera.recipe)(photo, sigma_255=10.0)
    assert denoised.shape == photo.shape
    assert denoised.dtype == np.uint8


@pytest.mark.usefixtures("without_xla")
def test_the_moving_average_is_what_is_saved(tmp_path, photo_folder):
    """The camera recipe's weights are averaged; the last step's own are in the state, beside the average."""

    def keep(epoch, logs=None):
        state_path(out, "main").rename(tmp_path / "kept") if epoch == 1 else None

    out = tmp_path / "run"
    keeping = keras.callbacks.LambdaCallback(on_epoch_end=keep)
    camera = train(MAIN_ONLY, data=photo_folder, out=out, epochs=2, seed=1, callbacks=[keeping])
    (tmp_path / "kept").rename(state_path(tmp_path, "main"))
    model = build_model(MAIN_ONLY)
    compile_model(model, MAIN_ONLY, MAIN_ONLY.phases[0], 2 * 6)
    assert resume(model, tmp_path, "main", read_history(out), 6) == 2
    last = trainable_values(model)
    model.optimizer.finalize_variable_values(model.trainable_variables)
    average, saved = trainable_values(model), trainable_values(keras.models.load_model(camera.model_path))
    assert all(np.array_equal(one, other) for one, other in zip(average, saved, strict=True))
    assert not all(np.array_equal(one, other) for one, other in zip(last, average, strict=True))


def trainable_values(model):
    return [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]


def test_norms_are_frozen_where_the_phase_says_so(camera):
    """What batch normalization has seen in the first phase stays in the second; the kernels train on."""
    models = [build_model(camera.recipe) for _ in range(2)]
    for model, phase in zip(models, ("main", "finetune"), strict=True):
        model.load_weights(camera.folder / f"{phase}.weights.h5")
    for one, other in zip(*(model.layers for model in models), strict=True):
        pairs = zip(one.get_weights(), other.get_weights(), strict=True)
        same = all(np.array_equal(before, after) for before, after in pairs)
        if isinstance(one, keras.layers.BatchNormalization):
            assert same, one.name
            assert one.trainable
        elif one.name == "down0_0":
            assert not same


@pytest.mark.usefixtures("without_xla")
def test_a_training_may_begin_at_a_phase(quick_camera, tmp_path, photo_folder):
    """From the weights that the phase before left: the same as in one go."""
    start = quick_camera.folder / "main.weights.h5"
    begin = {"data": photo_folder, "epochs": 1, "seed": 1, "start_from": start, "from_phase": "finetune"}
    run = train(QUICK_CAMERA, out=tmp_path / "run", **begin)
    assert [phase.name for phase in run.recipe.phases] == ["finetune"]
    assert run.started_from.startswith(f"{quick_camera.folder.name}/main.weights.h5, sha256 ")
    assert_same_weights(run, quick_camera)
    (run.folder / "finetune.weights.h5").unlink()
    again = train(QUICK_CAMERA, out=run.folder, resume=True, start_from=start)
    assert again.recipe == run.recipe
    assert_same_weights(again, quick_camera)
    with pytest.raises(UsageError, match="pass --start-from, too"):
        train(QUICK_CAMERA, out=tmp_path / "other", data=photo_folder, from_phase="finetune")
    with pytest.raises(UsageError, match="no phase 'last': it has main, finetune"):
        train(QUICK_CAMERA, out=tmp_path / "other", data=photo_folder, from_phase="last")


def test_the_weights_of_the_last_phase_are_enough_to_resume(quick_camera, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("recipe.json", "history.csv", "finetune.weights.h5"):
        shutil.copy(quick_camera.folder / name, folder)
    again = train(QUICK_CAMERA, out=folder, resume=True)
    assert again.metrics["measured"] == quick_camera.metrics["measured"]
    assert_same_weights(again, quick_camera)


def assert_same_weights(*runs):
    for one, other in zip(*(keras.models.load_model(run.model_path).get_weights() for run in runs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_same_seed_gives_the_same_training(classifier, tmp_path, mnist_npz):
    again = train("digit-classifier", data=mnist_npz, out=tmp_path / "again", epochs=2, seed=1)
    other = train("digit-classifier", data=mnist_npz, out=tmp_path / "other", epochs=2, seed=2)
    losses = [[row["loss"] for row in read_history(r.folder)][:2] for r in (classifier, again, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


def test_limit_and_stated_terms_reach_the_folder(tmp_path, mnist_npz):
    out = tmp_path / "run"
    train("digit-classifier", data=mnist_npz, out=out, epochs=1, limit=40, data_name="drawn", data_terms="CC0")
    run = load_run(out)
    assert (run.limit, run.data.name, run.data.terms, run.data_path) == (40, "drawn", "CC0", mnist_npz)
    assert (run.metrics["training_images"], run.metrics["validation_images"]) == (36, 4)
    assert {one.set for one in run.measured} == {"drawn test"}
    renamed = train("digit-classifier", out=out, resume=True, data_terms="CC0 1.0")
    assert (renamed.data.name, renamed.data.terms) == ("drawn", "CC0 1.0"), "terms may be mended later"


@pytest.mark.usefixtures("without_xla")
def test_skipped_pictures_are_named_counted_and_remembered(photo_folder, tmp_path, caplog):
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 and no more")
    (folder / "empty.png").touch()
    run = train(MAIN_ONLY.with_phases(steps_per_epoch=1), data=folder, out=tmp_path / "run", epochs=1)
    assert (run.metrics["training_images"], run.metrics["validation_images"]) == (5, 1)
    skipped = run.metrics["skipped_files"]
    assert [("broken.jpg" in line, "empty.png" in line) for line in skipped] == [(True, False), (False, True)]
    assert caplog.messages == [*(f"skipped {line}" for line in skipped), "2 files skipped"]


@pytest.mark.parametrize("values", [{"epochs": 0}, {"seed": -1}, {"limit": 1}, {"workers": 0}])
def test_values_out_of_range_are_refused_before_anything_is_written(tmp_path, mnist_npz, values):
    with pytest.raises(UsageError, match=r"Expected epochs ≥ 1, seed ≥ 0, limit ≥ 2, workers ≥ 1\. Received: "):
        train("digit-classifier", data=mnist_npz, out=tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()


def test_noise_that_does_not_fit_the_data_is_refused():
    with pytest.raises(UsageError, match="noise CameraNoise does not fit data DigitData"):
        replace(RECIPES["digit-classifier"], noise=RECIPES["camera-nano"].noise)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_output_error(tmp_path, mnist_npz):
    class DiskFull(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            with open("/dev/full", "wb", buffering=0) as disk:  # noqa: PTH123
                disk.write(b"x")

    with pytest.raises(OutputError, match=r"cannot be written .*No space left"):
        train("digit-classifier", data=mnist_npz, out=tmp_path / "run", epochs=1, callbacks=[DiskFull()])


EPOCHS = 8


def test_a_killed_training_resumes_as_if_nothing_had_happened(tmp_path, mnist_npz):
    """SIGKILL in the middle of the epochs; the resumed history is that of an uninterrupted training."""
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "quietframe", "train", "latent-autoencoder", "--data", mnist_npz, "--out", out]
    options = ["--epochs", EPOCHS, "--seed", 3, "--limit", 320]
    process = subprocess.Popen([str(part) for part in command + options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            if line.startswith(f"epoch 3/{EPOCHS}"):
                time.sleep(0.02)
                process.kill()
    assert process.wait() == -signal.SIGKILL

    kept = read_history(out)
    assert 3 <= len(kept) < EPOCHS, "killed in the middle"
    assert load_run(out).epochs == EPOCHS
    assert not (out / "model.keras").exists()

    resumed = train("latent-autoencoder", out=out, resume=True)
    whole = train("latent-autoencoder", data=mnist_npz, out=tmp_path / "whole", epochs=EPOCHS, seed=3, limit=320)
    histories = [read_history(run.folder) for run in (resumed, whole)]
    assert histories[0][:3] == kept[:3]
    assert len(histories[0]) == len(histories[1]) == EPOCHS
    for one, other in zip(*histories, strict=True):
        for key in other.keys() - {"phase", "seconds"}:
            assert one[key] == pytest.approx(other[key], rel=1e-3), (one["epoch"], key)
    assert len(resumed.measured) == len(whole.measured)
    for ours, theirs in zip(resumed.measured, whole.measured, strict=True):
        assert replace(ours, value=0) == replace(theirs, value=0)
        assert ours.value == pytest.approx(theirs.value, rel=1e-3)


def test_real_mnist_is_learnt_in_one_epoch(real_data, tmp_path):
    run = train("digit-classifier", data=real_data / "mnist.npz", out=tmp_path / "run", epochs=1, seed=1)
    assert run.measured[0].set == "MNIST test"
    assert run.measured[0].value > 0.9
    assert run.data.terms == "Y. LeCun et al., CC BY-SA 3.0"


@pytest.mark.long
def test_real_photographs_are_denoised_after_some_steps(real_data, tmp_path):
    camera = RECIPES["camera-nano"]
    optimizer = replace(camera.phases[0].optimizer, ema_momentum=0.0)
    recipe = replace(camera, phases=camera.phases[:1]).with_phases(steps_per_epoch=250, optimizer=optimizer)
    run = train(recipe, data=real_data / "bsd432", out=tmp_path / "run", epochs=1, seed=1, limit=20)
    (found,) = (one for one in run.measured if one.noise == "rgb, sigma 50")
    assert found.value > found.noisy + 2


@pytest.mark.parametrize(
    ("kind", "step", "workers"),
    [
        ("quick_camera", 0, 1),  # the first of all
        ("quick_camera", 7, 2),  # in the second epoch
        pytest.param("camera", 13, 1, marks=pytest.mark.long),  # in the second phase
    ],
)
def test_a_training_goes_on_in_any_phase_with_any_number_of_workers(
    photo_folder, tmp_path, request, kind, step, workers
):
    """Killed behind a step: the result is that of an uninterrupted training."""
    whole = request.getfixturevalue(kind)
    if kind == "quick_camera":
        request.getfixturevalue("without_xla")
    options = {"data": photo_folder, "out": tmp_path / "run", "epochs": 2, "seed": 1, "workers": workers}
    with pytest.raises(KeyboardInterrupt):
        train(whole.recipe, callbacks=[Interrupt(step=step)], **options)
    assert not multiprocessing.active_children()
    run = train(whole.recipe, resume=True, **options)
    assert_same_weights(run, whole)
    # A loss is a sum that no weight depends on: once, one differed in its last bit.
    losses = [[row["loss"] for row in read_history(one.folder)] for one in (run, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_run_of_digits_knows_its_classes_and_is_not_cross_validated(classifier, autoencoder):
    assert (classifier.classes, autoencoder.classes) == (tuple("0123456789"), ())
    assert not classifier.metrics["cross_validation"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_compute_takes_the_place_of_the_recipes_policy(tmp_path, mnist_npz, policy):
    out = tmp_path / "run"
    train("conv-autoencoder", data=mnist_npz, out=out, epochs=1, limit=60, seed=1, compute=policy)
    assert load_run(out).recipe.dtype_policy == policy
    resumed = train("conv-autoencoder", out=out, resume=True)
    assert resumed.recipe.dtype_policy == policy, "a resume goes on with it"
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(UsageError, match="holds another training"):
        train("conv-autoencoder", out=out, resume=True, compute="float32")
