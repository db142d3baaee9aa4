"""Whole trainings, short ones, and the run folders that they leave."""

import json
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
from quietframe_train import RECIPES, load_run, train
from quietframe_train.checkpoint import read_history, resume
from quietframe_train.evaluate import denoise_photo, evaluate, noisy_images, predict
from quietframe_train.fit import build
from quietframe_train.recipe import QuantizationPhase
from quietframe_train.splits import load_splits

SHORT_CAMERA = replace(RECIPES["camera-nano"], steps_per_epoch=6, batch=4, quantization=QuantizationPhase())
UNSETTLED = replace(SHORT_CAMERA, settling=None, quantization=None)


def phases(run):
    """Those behind the first one, by name."""
    return {name for name in ("settling", "quantization") if getattr(run.recipe, name)}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, mnist_npz):
    return train("digit-classifier", data=mnist_npz, out=tmp_path_factory.mktemp("runs") / "c", epochs=12, seed=1)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory, mnist_npz):
    return train("latent-autoencoder", data=mnist_npz, out=tmp_path_factory.mktemp("runs") / "a", epochs=3, seed=1)


@pytest.fixture(scope="module")
def camera(tmp_path_factory, photo_folder):
    return train(SHORT_CAMERA, data=photo_folder, out=tmp_path_factory.mktemp("runs") / "n", epochs=2, seed=1)


@pytest.fixture(params=["classifier", "autoencoder", "camera"])
def run(request):
    return request.getfixturevalue(request.param)


def test_a_run_folder_holds_the_artefacts_and_no_half_ones(run, artefacts):
    assert {path.name for path in run.folder.iterdir()} == artefacts | phases(run)
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
    rows = read_history(run.folder / "history.csv")
    assert [row["epoch"] for row in rows] == list(range(1, run.epochs + 1))
    assert {"loss", "val_loss", "seconds"} <= rows[0].keys()
    assert run.metrics["epochs_run"] == run.epochs
    added = []
    for phase in ("settling", "quantization"):
        history = read_history(run.folder / phase / "history.csv") if phase in phases(run) else []
        assert run.metrics[f"{phase}_epochs_run"] == len(history) == (1 if phase in phases(run) else 0)
        added += history
    assert run.metrics["training_seconds"] == pytest.approx(sum(row["seconds"] for row in [*rows, *added]), abs=0.1)


def test_the_saved_model_is_the_one_that_was_measured(run, mnist_npz, photo_folder):
    path = mnist_npz if run.recipe.kind == "digits" else photo_folder
    splits = load_splits(run.recipe, path, seed=run.seed)
    model = keras.models.load_model(run.model_path)
    assert model.count_params() == run.metrics["parameters"]
    assert getattr(model, "optimizer", None) is None, "the optimizer's state stays out of the file"
    assert evaluate(model, run.recipe, splits, run.data) == run.metrics["sets"]


def test_the_classifier_learns(classifier, mnist_npz):
    found = classifier.metrics["sets"]["mnist.npz test"]["accuracy"]
    assert found > 0.6
    test = load_splits(classifier.recipe, mnist_npz, seed=1).test
    (scores,) = predict(keras.models.load_model(classifier.model_path), test.scaled())
    assert found == np.mean(scores.argmax(axis=1) == test.labels)
    assert classifier.metrics["sets"]["mnist.npz test"]["accuracy_uniform0.9"] < found


def test_the_autoencoder_beats_its_noisy_input_at_every_level(autoencoder):
    figures = autoencoder.metrics["sets"]["mnist.npz test"]
    assert len(figures) == 3 * 10
    for noise in ("normal0.5mean0.5", "normal0.75mean0.5", "normal1mean0.5"):
        assert figures[f"psnr_db_{noise}"] > figures[f"noisy_psnr_db_{noise}"] + 3
        assert figures[f"ssim_{noise}"] > figures[f"noisy_ssim_{noise}"]
        for measure, share in (("mse", 0.5), ("rmse", 0.75), ("bce", 1)):
            assert figures[f"{measure}_{noise}"] < share * figures[f"noisy_{measure}_{noise}"]


def test_digit_figures_are_what_their_names_say(autoencoder, mnist_npz):
    test = load_splits(autoencoder.recipe, mnist_npz, seed=1).test
    model = keras.models.load_model(autoencoder.model_path)
    noisy = noisy_images(test, autoencoder.recipe.noise)
    clean, denoised = test.images / 255.0, model.predict(noisy, verbose=0).astype(float)
    in_8_bit = np.rint(255 * denoised) / 255
    psnr = np.mean(-10 * np.log10(np.mean((in_8_bit - clean) ** 2, axis=(1, 2, 3))))
    kept = np.clip(denoised, 1e-7, 1 - 1e-7)
    cross_entropy = -np.mean(clean * np.log(kept) + (1 - clean) * np.log(1 - kept))
    figures = autoencoder.metrics["sets"]["mnist.npz test"]
    assert figures["psnr_db_normal0.5mean0.5"] == pytest.approx(psnr, abs=2e-3)
    assert figures["mse_normal0.5mean0.5"] == pytest.approx(np.mean((denoised - clean) ** 2), rel=1e-4)
    assert figures["bce_normal0.5mean0.5"] == pytest.approx(cross_entropy, rel=1e-3)


def test_camera_figures_are_of_the_validation_photographs(camera):
    figures = camera.metrics["sets"][f"{camera.data.name} validation"]
    assert set(figures) == {f"{who}psnr_db_sigma{s}" for who in ("", "noisy_") for s in (5, 15, 25, 50)}
    assert figures["noisy_psnr_db_sigma25"] == pytest.approx(20.4, abs=0.8)
    assert camera.metrics["macs_per_pixel"] == 1644
    assert (camera.metrics["training_images"], camera.metrics["validation_images"]) == (5, 1)


@pytest.mark.parametrize("size_hw", [(32, 48), (33, 47), (5, 6)])
def test_photographs_of_any_size_keep_it(camera, size_hw):
    model = keras.models.load_model(camera.model_path)
    photo = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    denoised = denoise_photo(model, camera.recipe, photo, 10.0)
    assert denoised.shape == photo.shape
    assert denoised.dtype == np.uint8


def test_the_moving_average_is_what_is_saved(tmp_path, photo_folder):
    """The camera recipe's weights are averaged; the last step's own are in the state, beside the average."""
    camera = train(UNSETTLED, data=photo_folder, out=tmp_path / "run", epochs=2, seed=1)
    model = build(UNSETTLED, 2 * 6)
    resume(model, camera.folder, 6)
    last = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    average = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    saved = keras.models.load_model(camera.model_path).trainable_variables
    assert all(
        np.array_equal(one, keras.ops.convert_to_numpy(other)) for one, other in zip(average, saved, strict=True)
    )
    assert not all(np.array_equal(one, other) for one, other in zip(last, average, strict=True))


def test_the_same_seed_gives_the_same_training(classifier, tmp_path, mnist_npz):
    again = train("digit-classifier", data=mnist_npz, out=tmp_path / "again", epochs=2, seed=1)
    other = train("digit-classifier", data=mnist_npz, out=tmp_path / "other", epochs=2, seed=2)
    losses = [[row["loss"] for row in read_history(r.folder / "history.csv")][:2] for r in (classifier, again, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


def test_limit_and_stated_terms_reach_the_folder(tmp_path, mnist_npz):
    out = tmp_path / "run"
    train("digit-classifier", data=mnist_npz, out=out, epochs=1, limit=40, data_name="drawn", data_terms="CC0")
    run = load_run(out)
    assert (run.limit, run.data.name, run.data.terms, run.data_path) == (40, "drawn", "CC0", mnist_npz)
    assert (run.metrics["training_images"], run.metrics["validation_images"]) == (36, 4)
    assert list(run.metrics["sets"]) == ["drawn test"]
    renamed = train("digit-classifier", out=out, resume=True, data_terms="CC0 1.0")
    assert (renamed.data.name, renamed.data.terms) == ("drawn", "CC0 1.0"), "terms may be mended later"


def test_a_state_and_history_alone_can_be_finished(tmp_path, camera, photo_folder, artefacts):
    """As a training that was begun by hand leaves them: without recipe.json, without times in the history."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "state.weights.h5").write_bytes((camera.folder / "state.weights.h5").read_bytes())
    lines = (camera.folder / "history.csv").read_text().splitlines()
    (out / "history.csv").write_text("".join(f"{line.rpartition(',')[0]}\n" for line in lines))
    run = train(SHORT_CAMERA, data=photo_folder, out=out, epochs=2, seed=1, resume=True)
    assert {path.name for path in out.iterdir()} == artefacts | {"settling", "quantization"}
    for name, figures in camera.metrics["sets"].items():
        assert run.metrics["sets"][name] == pytest.approx(figures, abs=0.01)
    assert run.metrics["training_seconds"] is None, "not known, so not said"


def test_skipped_pictures_are_named_counted_and_remembered(photo_folder, tmp_path, caplog):
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 and no more")
    (folder / "empty.png").touch()
    run = train(replace(UNSETTLED, steps_per_epoch=1), data=folder, out=tmp_path / "run", epochs=1)
    assert (run.metrics["training_images"], run.metrics["validation_images"]) == (5, 1)
    skipped = run.metrics["skipped_files"]
    assert [("broken.jpg" in line, "empty.png" in line) for line in skipped] == [(True, False), (False, True)]
    assert caplog.messages == [*(f"skipped {line}" for line in skipped), "2 files skipped"]


@pytest.mark.parametrize("values", [{"epochs": 0}, {"seed": -1}, {"limit": 1}])
def test_values_out_of_range_are_refused_before_anything_is_written(tmp_path, mnist_npz, values):
    with pytest.raises(UsageError, match=r"Expected epochs ≥ 1, seed ≥ 0, limit ≥ 2\. Received: "):
        train("digit-classifier", data=mnist_npz, out=tmp_path / "run", **values)
    assert not (tmp_path / "run").exists()


def test_noise_that_does_not_fit_the_data_is_refused(tmp_path, mnist_npz):
    odd = replace(RECIPES["digit-classifier"], noise=RECIPES["camera-nano"].noise)
    with pytest.raises(UsageError, match="noise CameraNoise does not fit data DigitData"):
        train(odd, data=mnist_npz, out=tmp_path / "run")


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

    kept = read_history(out / "history.csv")
    assert 3 <= len(kept) < EPOCHS, "killed in the middle"
    assert load_run(out).epochs == EPOCHS
    assert not (out / "model.keras").exists()

    resumed = train("latent-autoencoder", out=out, resume=True)
    whole = train("latent-autoencoder", data=mnist_npz, out=tmp_path / "whole", epochs=EPOCHS, seed=3, limit=320)
    histories = [read_history(run.folder / "history.csv") for run in (resumed, whole)]
    assert histories[0][:3] == kept[:3]
    assert len(histories[0]) == len(histories[1]) == EPOCHS
    for one, other in zip(*histories, strict=True):
        for key in other.keys() - {"seconds"}:
            assert one[key] == pytest.approx(other[key], rel=1e-3), (one["epoch"], key)
    ours, theirs = (run.metrics["sets"]["mnist.npz test"] for run in (resumed, whole))
    assert ours == pytest.approx(theirs, rel=1e-3)


def test_real_mnist_is_learnt_in_one_epoch(real_data, tmp_path):
    run = train("digit-classifier", data=real_data / "mnist.npz", out=tmp_path / "run", epochs=1, seed=1)
    assert run.metrics["sets"]["MNIST test"]["accuracy"] > 0.9
    assert run.data.terms == "Y. LeCun et al., CC BY-SA 3.0"


def test_real_photographs_are_denoised_after_some_steps(real_data, tmp_path):
    camera = RECIPES["camera-nano"]
    recipe = replace(camera, steps_per_epoch=250, settling=None, optimizer=replace(camera.optimizer, ema_momentum=0.0))
    run = train(recipe, data=real_data / "bsd432", out=tmp_path / "run", epochs=3, seed=1, limit=40)
    figures = run.metrics["sets"]["bsd432 validation"]
    assert figures["psnr_db_sigma50"] > figures["noisy_psnr_db_sigma50"] + 2


def test_further_phases_go_on_where_they_were_killed(camera, photo_folder, tmp_path):
    """Killed behind the main epochs, in a phase and behind it: the result is the same."""
    expected = keras.models.load_model(camera.model_path).get_weights()
    within = ["quantization/state.weights.h5", "quantization/history.csv"]
    for lost in (["settling", "quantization"], ["quantization"], within, ["model.keras"]):
        folder = tmp_path / lost[0].replace("/", "-")
        shutil.copytree(camera.folder, folder)
        for name in lost:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        train(SHORT_CAMERA, data=photo_folder, out=folder, epochs=2, seed=1, resume=True)
        found = keras.models.load_model(folder / "model.keras").get_weights()
        for old, new in zip(expected, found, strict=True):
            np.testing.assert_allclose(new, old, atol=1e-3)


def test_a_run_of_digits_knows_its_classes(classifier, autoencoder):
    assert classifier.classes == tuple("0123456789")
    assert autoencoder.classes == ()


def test_what_is_not_cross_validated_says_so(classifier):
    assert not classifier.metrics["cross_validation"]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float32"])
def test_compute_takes_the_place_of_the_recipes_policy(tmp_path, mnist_npz, policy):
    out = tmp_path / "run"
    train("conv-autoencoder", data=mnist_npz, out=out, epochs=1, limit=60, seed=1, compute=policy)
    assert load_run(out).recipe.dtype_policy == policy
    resumed = train("conv-autoencoder", out=out, resume=True)
    assert resumed.recipe.dtype_policy == policy, "a resume goes on with it"
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(UsageError, match="holds another training"):
        train("conv-autoencoder", out=out, resume=True, compute="float32" if policy != "float32" else "mixed_bfloat16")
