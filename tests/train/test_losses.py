"""Losses of our own, and what each patch counts in them."""

from __future__ import annotations

import numpy as np
import pytest

from quietframe_train.data.photos import loss_weights
from quietframe_train.losses import log_mse_and_means, mae_and_means


def noise(deviation: float, count: int = 1) -> np.ndarray:
    return np.random.default_rng(0).normal(0, deviation, (count, 64, 64, 3)).astype(np.float32)


def loss(error: np.ndarray) -> float:
    return float(np.asarray(mae_and_means(np.full_like(error, 0.5), error + 0.5))[0])


def test_an_error_that_is_the_same_over_an_area_counts_twice_and_noise_once() -> None:
    assert loss(np.full((1, 64, 64, 3), 4 / 255, np.float32)) == pytest.approx(8 / 255, rel=1e-4)
    fine = noise(5 / 255)
    assert loss(fine) == pytest.approx(np.abs(fine).mean(), rel=0.1)


def test_no_error_costs_nothing_and_each_image_has_its_own() -> None:
    truth = np.full((2, 32, 48, 3), 0.5, np.float32)
    found = np.asarray(mae_and_means(truth, truth + np.array([0, 0.1], np.float32)[:, None, None, None]))
    assert found == pytest.approx([0, 0.2], abs=1e-6)


def test_a_logarithmic_loss_takes_a_tenth_less_error_alike_at_every_level() -> None:
    truth = np.full((2, 64, 64, 3), 0.5, np.float32)
    noisy = np.concatenate([noise(5 / 255), noise(20 / 255)])
    before, after = (np.asarray(log_mse_and_means(truth, truth + share * noisy)) for share in (1, 0.9))
    assert before[0] < before[1]
    assert before - after == pytest.approx([-0.02 * np.log(0.9)] * 2, rel=0.05)


def test_a_logarithmic_loss_counts_an_even_error_nine_times_and_ends_at_no_error() -> None:
    truth = np.full((1, 64, 64, 3), 0.5, np.float32)
    even = float(np.asarray(log_mse_and_means(truth, truth + 0.1))[0])
    assert even == pytest.approx(0.01 * np.log(9 * 0.1**2), rel=1e-3)
    assert np.isfinite(np.asarray(log_mse_and_means(truth, truth))).all()


def test_patches_with_little_noise_count_more() -> None:
    levels = np.arange(0, 61, dtype=np.float32)
    weights = loss_weights(levels[:, None, None, None] * noise(1, len(levels)))
    assert weights.dtype == np.float32 and weights.shape == levels.shape
    assert np.all(np.diff(weights) < 0)
    assert weights.mean() == pytest.approx(1, abs=0.05)
    assert weights[5] / weights[50] == pytest.approx((52 / 7) ** 0.55, rel=0.03)
