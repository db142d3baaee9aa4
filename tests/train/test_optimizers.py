"""Muon on convolution kernels, and what a recipe's optimizer is."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest

from quietframe_train.optimizers import ConvMuon, build_optimizer
from quietframe_train.recipe import OptimizerConfig

MUON = OptimizerConfig(name="muon", learning_rate=0.01, adam_layers=("last",))


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((16, 16, 8)),
            keras.layers.Conv2D(24, 3, padding="same", name="first"),
            keras.layers.Conv2D(8, 3, padding="same", name="last"),
        ]
    )


def first_steps(config: OptimizerConfig) -> dict[str, np.ndarray]:
    """How far one batch moves each variable."""
    model = network()
    before = {v.path: v.numpy() for v in model.trainable_variables}
    model.compile(build_optimizer(config, config.learning_rate, ema_momentum=0.0), loss="mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(4, 16, 16, 8)).astype(np.float32)
    model.train_on_batch(x, x)
    return {"/".join(v.path.split("/")[-2:]): v.numpy() - before[v.path] for v in model.trainable_variables}


def test_a_kernels_step_goes_equally_far_in_all_directions() -> None:
    step = first_steps(MUON)["first/kernel"].reshape(-1, 24)
    lengths = np.linalg.svd(step, compute_uv=False) / (MUON.learning_rate * 0.2 * np.sqrt(step.shape[0]))
    assert lengths.min() > 0.5 and lengths.max() < 1.5
    of_adam = np.linalg.svd(first_steps(replace(MUON, name="adam"))["first/kernel"].reshape(-1, 24), compute_uv=False)
    assert of_adam.max() > 3 * of_adam.min()


@pytest.mark.parametrize("shape", [(72, 24), (24, 72), (24, 24)])
def test_the_short_way_to_an_orthogonal_step_ends_where_keras_way_does(shape) -> None:
    rng = np.random.default_rng(0)
    lengths = np.diag(10.0 ** rng.uniform(-4, 0, 24))  # as unlike each other as those of a real gradient
    x = (rng.normal(size=(shape[0], 24)) @ lengths @ rng.normal(size=(24, shape[1]))).astype(np.float32)
    expected = keras.optimizers.Muon().zeropower_via_newtonschulz5(keras.ops.array(x), 5)
    found = ConvMuon().zeropower_via_newtonschulz5(keras.ops.array(x), 5)
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_vectors_and_named_layers_take_adams_step() -> None:
    muon, adam = (first_steps(replace(MUON, name=name)) for name in ("muon", "adam"))
    for path in ("first/bias", "last/kernel", "last/bias"):
        np.testing.assert_allclose(muon[path], adam[path], rtol=1e-3, atol=1e-7)


def test_without_a_moving_average_there_is_none() -> None:
    assert not build_optimizer(MUON, 0.01, ema_momentum=0.0).use_ema
    assert build_optimizer(MUON, 0.01, ema_momentum=0.9).use_ema


def test_a_saved_model_brings_its_optimizer_back(tmp_path) -> None:
    model = network()
    model.compile(build_optimizer(MUON, 0.01, ema_momentum=0.9), loss="mse", jit_compile=False)
    x = np.zeros((1, 16, 16, 8), np.float32)
    model.train_on_batch(x, x)
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert isinstance(found, ConvMuon)
    assert found.get_config() == model.optimizer.get_config()
