"""Losses of our own."""

from __future__ import annotations

import numpy as np
import pytest

from quietframe_train.losses import balanced_error


def noise(deviation: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, deviation, (1, 64, 64, 3)).astype(np.float32)


def loss(error: np.ndarray) -> float:
    return float(np.asarray(balanced_error(np.full_like(error, 0.5), error + 0.5))[0])


def test_a_tenth_less_counts_nearly_the_same_at_every_level() -> None:
    gains = [loss(noise(level / 255)) - loss(0.9 * noise(level / 255)) for level in (10, 20, 40)]
    assert min(gains) > 0.85 * max(gains) > 0


def test_an_error_that_is_the_same_over_an_area_weighs_more_than_noise() -> None:
    even = np.full((1, 64, 64, 3), 4 / 255, np.float32)
    fine = noise(5 / 255)
    fine *= np.abs(even).mean() / np.abs(fine).mean()
    assert loss(even) > loss(fine) + 0.3 * 0.025


def test_no_error_costs_nothing_and_each_image_has_its_own() -> None:
    truth = np.full((2, 32, 32, 3), 0.5, np.float32)
    found = np.asarray(balanced_error(truth, truth + np.array([0, 0.1], np.float32)[:, None, None, None]))
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[1] > 0.05
