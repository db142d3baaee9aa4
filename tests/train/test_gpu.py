"""What a GPU draws and trains, here on the processor: JAX computes the same on both."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from quietframe_train import RECIPES, load_run
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.checkpoint import read_history
from quietframe_train.photo_batches import PhotoDraws, loss_weights
from quietframe_train.splits import load_splits

jax = pytest.importorskip("jax", reason="JAX is not installed")

from quietframe_train import gpu_noise, gpu_training  # noqa: E402

NOISE = CameraNoise(gray_share=0.2, flat_share=0.2, understated_share=0.1)
WHITE = replace(NOISE, sensor_share=0, quiet_share=0)


@pytest.fixture(scope="module")
def photos(photo_folder):
    return load_splits(RECIPES["camera-nano"], photo_folder, seed=1).training


@pytest.fixture(scope="module")
def stock():
    rng = np.random.default_rng(0)
    clean = rng.integers(0, 200, (6, gpu_noise.STOCK_SIDE, gpu_noise.STOCK_SIDE, 3), dtype=np.uint8)
    return gpu_noise.Stock(
        clean, clean + np.arange(6, dtype=np.uint8)[:, None, None, None], np.arange(6, dtype=np.float32)
    )


def summary(clean, noisy, told_255):
    """What tells one distribution of frames from another: shares of kinds, and quantiles of levels."""
    noise = noisy - clean
    deviation = noise.std(axis=(1, 2, 3))
    lively = deviation > 5
    near_middle = lively & (abs(clean.mean(axis=(1, 2, 3)) - 128) < 60) & (deviation < 40)
    ratios = (told_255 / np.maximum(deviation, 1e-6))[near_middle]
    return {
        "gray": np.mean(
            (clean[..., 0] == clean[..., 1]).all(axis=(1, 2)) & (noise[..., 0] == noise[..., 1]).all(axis=(1, 2))
        ),
        "flat": np.mean(clean.std(axis=(1, 2)).max(axis=-1) < 8),
        "understated": np.mean(ratios < 0.6),
        "deviations": np.quantile(deviation, [0.1, 0.5, 0.9]) / 60,
        "ratios": np.quantile(ratios, [0.2, 0.5, 0.8]),
        "levels": np.quantile(clean, [0.1, 0.5, 0.9]) / 255,
    }


@pytest.mark.parametrize("told_white", [(), ((0, 0, 0), (20, 5, 15), (60, 40, 70))])
def test_white_frames_are_distributed_as_the_processor_draws_them(photos, told_white):
    side, count = 48, 3000
    on_device, on_processor = (replace(noise, told_white=told_white) for noise in (NOISE, WHITE))
    drawn = gpu_noise.white_frames(jax.random.key(0), gpu_noise.photo_bank(photos), on_device, count, side)
    clean, noisy, told_255 = (np.asarray(values) for values in drawn)
    assert noisy.min() == 0 and noisy.max() == 255
    assert np.array_equal(noisy, np.rint(noisy))
    assert np.array_equal(clean, np.rint(clean))
    inputs, targets, _ = PhotoDraws(photos, on_processor, side, count)(np.random.default_rng(0))
    expected = summary(255 * targets, 255 * inputs["image"], 255 * inputs["sigma"].ravel())
    for name, value in summary(clean, noisy, told_255).items():
        assert np.allclose(value, expected[name], atol=0.035), (name, value, expected[name])


def test_patches_are_cut_from_within_photographs_of_any_size():
    """Smaller photographs stand in a larger frame of zeros, and those upright lie."""
    rng = np.random.default_rng(0)
    sizes = (40, 90), (70, 33), (64, 64)
    bank = gpu_noise.photo_bank([rng.integers(50, 256, (*size, 3), dtype=np.uint8) for size in sizes])
    assert bank.images.shape == (3, 64, 90, 3)
    assert bank.sizes.tolist() == [[40, 90], [33, 70], [64, 64]]
    plain = replace(WHITE, flat_share=0, gray_share=0)
    clean = np.asarray(gpu_noise.white_frames(jax.random.key(1), bank, plain, 500, 32).clean)
    assert clean.min() >= 50
    assert len(np.unique(clean.reshape(500, -1), axis=0)) > 450


def test_frames_of_the_stock_stay_pairs_with_their_level(stock):
    clean, noisy, told_255 = (np.asarray(x) for x in gpu_noise.stocked_frames(jax.random.key(2), stock, 200, 96))
    assert np.array_equal(noisy - clean, np.broadcast_to(told_255[:, None, None, None], clean.shape))
    assert set(told_255) == set(range(6))
    assert len(np.unique(clean.reshape(200, -1), axis=0)) > 190, "cut and turned anew"


def test_a_batch_is_part_white_part_stock(photos, stock):
    noise = CameraNoise(sensor_share=0.2, quiet_share=0.05)
    inputs, clean, weights = gpu_noise.draw_batch(
        jax.random.key(3), gpu_noise.photo_bank(photos), stock, noise, 16, 64, weighed=True
    )
    assert inputs["image"].shape == clean.shape == (16, 64, 64, 3)
    assert inputs["sigma"].shape == (16, 1, 1, 1)
    difference = 255 * (np.asarray(inputs["image"]) - np.asarray(clean))
    assert np.allclose(difference.std(axis=(1, 2, 3))[-4:], 0, atol=1e-4), "the stock's noise here is an offset"
    assert (difference.std(axis=(1, 2, 3))[:-4] > 0.1).all()
    assert np.allclose(weights, loss_weights(difference), rtol=1e-4)


def test_the_stock_is_made_of_all_that_is_not_white():
    assert gpu_noise.stock_share(NOISE) == pytest.approx(0.35)
    made = gpu_noise.stock_noise(NOISE)
    assert made.sensor_share == pytest.approx(0.3 / 0.35)
    assert made.sensor_share + made.quiet_share > 1, "not one white frame"


SCRIPT = """
import sys
from quietframe_train import RECIPES
from quietframe_train.gpu_training import GpuSettings, train_on_gpu

if __name__ == "__main__":
    settings = GpuSettings(minutes=float(sys.argv[3]), batch=4, patch=32, steps=2, workers=2, stock=64)
    train_on_gpu(RECIPES["camera-nano"], settings, data=sys.argv[1], out=sys.argv[2], data_name="drawn", seed=3)
"""


@pytest.mark.long
def test_a_training_takes_its_time_and_leaves_a_run(photo_folder, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(photo_folder), str(tmp_path / "run"), "0.5"],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = load_run(tmp_path / "run")
    assert run.versions["backend"] == "jax"
    assert (run.data.name, run.recipe.batch, run.recipe.data.patch, run.seed) == ("drawn", 4, 32, 3)
    first, settling = read_history(run.folder / "history.csv"), read_history(run.folder / "settling" / "history.csv")
    assert run.metrics["steps"] == {"training": first[-1]["steps"], "settling": settling[-1]["steps"]}
    assert np.isfinite([row["loss"] for row in first + settling]).all()
    assert run.metrics["training_seconds"] < 30
    model = keras.models.load_model(run.model_path)
    moved = model.get_layer("residual_fine").get_weights()[0]
    assert np.abs(moved).max() > 0, "it began at zero"
    assert json.loads((run.folder / "recipe.json").read_text())["recipe"]["name"] == "camera-nano"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("digit-unet", "digit-unet: no camera recipe; quietframe train digit-unet trains it"),
        ("camera-nano", "set KERAS_BACKEND=jax: this training is JAX's"),
    ],
)
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="refused under other backends")
def test_what_cannot_be_trained_so_is_refused(recipe, message, photo_folder, tmp_path):
    arguments = [recipe, "--data", str(photo_folder), "--out", str(tmp_path / "run"), "--minutes", "1"]
    done = CliRunner().invoke(gpu_training.main, arguments)
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "run").exists()
