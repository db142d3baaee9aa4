"""Training runs under the JAX backend, too, and what it leaves can be read under TensorFlow."""

import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from quietframe_train import load_run
from quietframe_train.checkpoint import read_history
from quietframe_train.evaluate import measure_images

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed"),
    pytest.mark.skipif(keras.backend.backend() == "jax", reason="these compare JAX with another backend"),
]

SCRIPT = """
import sys
from dataclasses import replace
import keras
from quietframe_train import RECIPES, train
from quietframe_train.recipe import ModelConfig
assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules, "JAX alone is enough"
digits, photos, pictures, out = sys.argv[1:]

class Interrupt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

camera = RECIPES["camera-nano"].with_phases(steps_per_epoch=2, batch=2)
camera = replace(
    camera,
    phases=camera.phases[:1],
    model=ModelConfig("camera_unet", {"widths": (16, 32), "encoder_convs": (1, 1), "decoder_convs": (0,)}),
)
train(camera, data=photos, out=f"{out}/camera", epochs=1, seed=1)
colour = replace(
    RECIPES["color-unet"],
    model=ModelConfig("color_unet", {"side": 32, "widths": (8, 16), "encoder_convs": (1, 1), "decoder_convs": (1,)}),
    data=replace(RECIPES["color-unet"].data, side=32),
)
train(colour, data=pictures, out=f"{out}/colour", epochs=1, seed=1)
train("digit-classifier", data=digits, out=f"{out}/whole", epochs=2, seed=1, limit=200)
try:
    train("digit-classifier", data=digits, out=f"{out}/cut", epochs=2, seed=1, limit=200, callbacks=[Interrupt()])
except KeyboardInterrupt:
    train("digit-classifier", out=f"{out}/cut", resume=True)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, mnist_npz, photo_folder, picture_folder):
    """Runs that a process with the JAX backend made."""
    out = tmp_path_factory.mktemp("jax")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(mnist_npz), str(photo_folder), str(picture_folder), str(out)],
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", ["camera", "colour", "whole"])
def test_a_few_steps_under_jax(trained, name):
    run = load_run(trained / name)
    assert run.versions["backend"] == "jax"
    assert "jax" in run.versions
    rows = read_history(run.folder)
    assert len(rows) == run.epochs
    assert all(np.isfinite([value for key, value in row.items() if key != "phase"]).all() for row in rows)


def test_a_training_resumes_under_jax(trained):
    whole, cut = (read_history(trained / name) for name in ("whole", "cut"))
    assert len(cut) == 2
    assert [row["loss"] for row in cut] == pytest.approx([row["loss"] for row in whole], rel=1e-4)


def values(metrics):
    return {(one.set, one.noise, one.measure): one.value for one in metrics}


def test_its_model_gives_the_same_scores_here(trained, mnist_npz):
    run = load_run(trained / "whole")
    test = run.recipe.data.load(mnist_npz, run.recipe, seed=1).test
    metrics = measure_images(keras.models.load_model(run.model_path), run.recipe, test, "mnist.npz test")
    assert values(metrics) == pytest.approx(values(run.measured), abs=0.02)


def test_its_pictures_come_out_the_same_here(trained, picture_folder):
    run = load_run(trained / "colour")
    assert run.versions["backend"] == "jax"
    test = run.recipe.data.load(picture_folder, run.recipe, seed=1).test
    metrics = measure_images(keras.models.load_model(run.model_path), run.recipe, test, f"{picture_folder.name} test")
    assert values(metrics) == pytest.approx(values(run.measured), rel=2e-3)
