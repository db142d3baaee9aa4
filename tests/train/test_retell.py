"""A model that takes each told level as another one."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from quietframe.errors import UsageError
from quietframe_train import RECIPES, load_run, train
from quietframe_train.models.camera import camera_nano, camera_unet
from quietframe_train.models.digits import latent_autoencoder
from quietframe_train.pack_weights import trained_model
from quietframe_train.retell import main, retell

MODELS = {
    "nano": lambda: camera_nano(16, (32, 48)),
    "unet": lambda: camera_unet((16, 32), (1, 1), (1,)),
}


def with_something_to_take_away(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and not layer.get_weights()[0].any():
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.1, kernel.shape), bias])
    return model


def removed(model, level_255):
    image = np.random.default_rng(1).random((1, 32, 32, 3), dtype=np.float32)
    return np.asarray(model([image, np.full((1, 1, 1, 1), level_255 / 255, np.float32)])) - image


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_a_told_level_does_what_another_did(build):
    keras.utils.set_random_seed(0)
    model = with_something_to_take_away(build())
    before = {level: removed(model, level) for level in (3, 10, 16, 30, 60)}
    missed = retell(model, [(0, 0), (2, 3), (5, 10), (14, 16), (30, 30), (75, 75)])
    assert missed < 0.02
    for told, taken in ((2, 3), (5, 10), (14, 16), (30, 30), (60, 60)):
        now = removed(model, told)
        assert np.abs(now - before[taken]).mean() < 0.1 * np.abs(before[taken]).mean(), (told, taken)
    assert np.abs(now - removed(model, 5)).mean() > 0.3 * np.abs(now).mean()


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_the_level_survives_8_bits(build):
    keras.utils.set_random_seed(0)
    model = with_something_to_take_away(build())
    retell(model, [(0, 0), (5, 10), (14, 16), (75, 75)])
    kernel, bias = model.get_layer("level_hidden").get_weights()
    levels = np.arange(0, 75.1, 0.25)
    hidden = np.clip(levels[:, None] / 255 * kernel.ravel() + bias, 0, 6)
    step = hidden.max() / 255
    for name in ("level_gate", "level_scale"):
        kernel, bias = model.get_layer(name).get_weights()
        exact = hidden @ kernel.ravel() + bias
        rounded = np.rint(hidden / step) * step @ kernel.ravel() + bias
        assert np.abs(rounded / exact - 1).max() < 0.005, name


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(1, 1), (75, 75)], "must grow from 0 to 75"),
        ([(0, 0), (50, 50)], "must grow from 0 to 75"),
        ([(0, 0), (9, 9), (9, 10), (75, 75)], "must grow from 0 to 75"),
        ([(0, 0), (np.nan, 9), (75, 75)], "must grow from 0 to 75"),
        ([(0, 0), (75, 80)], "must be 0 to 75"),
        ([(0, 0), (9, np.nan), (75, 75)], "must be 0 to 75"),
        ([(0, -1), (75, 75)], "must be 0 to 75"),
    ],
)
def test_rows_that_say_nothing_are_refused(rows, says):
    model = camera_nano(16, (32, 48))
    before = model.get_weights()
    with pytest.raises(UsageError, match=says):
        retell(model, rows)
    assert all(map(np.array_equal, model.get_weights(), before))


def test_a_model_without_a_level_is_refused():
    with pytest.raises(UsageError, match="takes in no noise level"):
        retell(latent_autoencoder(), [(0, 0), (75, 75)])


def test_the_command_writes_a_run_of_its_own(tmp_path, photo_folder):
    recipe = replace(RECIPES["camera-nano"], steps_per_epoch=2, batch=2, settling=None)
    known = {"data_name": "Drawn", "data_terms": "CC0"}
    train(recipe, data=photo_folder, out=tmp_path / "run", epochs=1, seed=3, **known)
    done = CliRunner().invoke(main, [str(tmp_path / "run"), str(tmp_path / "retold"), "0:0,4:9,75:75"])
    assert done.exit_code == 0, done.output
    retold = load_run(tmp_path / "retold")
    assert retold.started_from == "run, retold 0:0,4:9,75:75"
    was, now = trained_model(tmp_path / "run"), trained_model(tmp_path / "retold")
    same = {
        name: np.array_equal(was.get_layer(name).get_weights()[0], now.get_layer(name).get_weights()[0])
        for name in ("down0_0", "level_gate")
    }
    assert same == {"down0_0": True, "level_gate": False}
    again = CliRunner().invoke(main, [str(tmp_path / "run"), str(tmp_path / "retold"), "0:0,75:75"])
    assert again.exit_code == 1
    assert "exists: name a new folder" in again.output
    wrong = CliRunner().invoke(main, [str(tmp_path / "run"), str(tmp_path / "other"), "0,75"])
    assert wrong.exit_code == 2
    assert "is not of the form" in wrong.output
    assert not (tmp_path / "other").exists()
