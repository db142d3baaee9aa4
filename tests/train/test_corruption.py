import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietframe_train.corruption import (
    ImageCorruption,
    MixedNoise,
    NoNoise,
    NormalNoise,
    UniformNoise,
)
from quietframe_train.recipes import RECIPES


def rng(seed=0):
    return np.random.default_rng(seed)


def test_normal_noise_has_the_mean_and_sigma_it_says():
    clean = np.full((200, 28, 28, 1), 0.3, np.float32)
    noisy = NormalNoise(mean=0.2, sigma=0.05).apply(clean, rng())  # far from 0 and 1: nothing is clipped
    assert noisy.dtype == np.float32
    assert float(np.mean(noisy)) == pytest.approx(0.5, abs=1e-3)
    assert float(np.std(noisy)) == pytest.approx(0.05, rel=0.01)


@given(st.integers(0, 4), st.floats(0, 2), st.floats(0, 3))
def test_normal_noise_stays_in_range_and_shape(count, mean, sigma):
    noisy = NormalNoise(mean, sigma).apply(np.full((count, 6, 5, 1), 0.5, np.float32), rng())
    assert noisy.shape == (count, 6, 5, 1)
    assert np.all((noisy >= 0) & (noisy <= 1))


def all_noises():
    """Every noise of the published recipes, parts of mixtures included."""
    found = [noise for recipe in RECIPES.values() for noise in (recipe.noise, *recipe.test_noises)]
    found += [part for noise in found if isinstance(noise, MixedNoise) for part in noise.parts]
    return sorted({noise for noise in found if isinstance(noise, ImageCorruption)}, key=lambda noise: noise.key)


def shades(count=40, side=28, channels=1):
    """Pictures of one shade each, in the middle of the range."""
    return np.broadcast_to(
        np.linspace(0.2, 0.8, count, dtype=np.float32)[:, None, None, None], (count, side, side, channels)
    )


@pytest.mark.parametrize("noise", all_noises(), ids=lambda noise: noise.key)
def test_every_noise_is_drawn_anew_for_each_image_and_at_each_call(noise):
    clean = np.full((12, 16, 16, 3), 0.5, np.float32)
    before = clean.copy()
    generator = rng(5)
    first, second = noise.apply(clean, generator), noise.apply(clean, generator)
    assert noise.apply(clean[:0], rng()).shape == (0, 16, 16, 3)
    assert "not clipped" in noise.describe() or (first.min() >= 0 and first.max() <= 1)
    assert first.shape == clean.shape
    assert first.dtype == np.float32
    assert np.array_equal(clean, before), "in a new array"
    assert np.array_equal(noise.apply(clean, rng(5)), first)
    if noise == NoNoise():
        return
    assert len({image.tobytes() for image in (*first, *second)}) == 24


def test_keys_tell_the_noises_of_all_recipes_apart():
    keys = [noise.key for noise in all_noises()]
    assert len(set(keys)) == len(keys) > 10
    assert all(re.fullmatch(r"[a-z0-9.-]+", key) for key in keys), keys


@pytest.mark.parametrize(
    ("noise", "key", "text"),
    [
        (NoNoise(), "clean", "clean"),
        (UniformNoise(0.9), "uniform0.9", "uniform in [0, 0.9)"),
        (NormalNoise(0.5, 1.0), "normal1mean0.5", "mean 0.5, sigma 1"),
        (NormalNoise(0, 0.55, clip=False), "normal0.55unclipped", "not clipped (8-bit images hold only [0, 1])"),
        (NormalNoise(0, 0.4, shared=True), "gray0.4", "gray N(mean 0, sigma 0.4)"),
        (NormalNoise(0, 0.5, shared=True, lowest_sigma=0.05), "gray0.05to0.5", "gray N(mean 0, sigma 0.05 to 0.5)"),
        (NormalNoise(0, 1.2, lowest_sigma=0.0), "normal0to1.2", "sigma 0 to 1.2"),
        (MixedNoise((NoNoise(), UniformNoise(1)), name="two"), "two", "one of: none (clean images); additive, uniform"),
    ],
)
def test_key_and_description(noise, key, text):
    assert noise.key == key
    assert text in noise.describe()
    assert "\n" not in noise.describe()


def test_uniform_noise_is_even_from_0_to_its_height():
    clean = np.full((200, 28, 28, 1), 0.05, np.float32)
    added = UniformNoise(0.9).apply(clean, rng()) - clean
    assert added.min() >= 0
    assert added.max() < 0.9 + 1e-6
    counts, _ = np.histogram(added, bins=9, range=(0, 0.9))
    assert np.allclose(counts / counts.sum(), 1 / 9, rtol=0.03)
    bright = UniformNoise(0.9).apply(np.ones((1, 28, 28, 1), np.float32), rng())
    assert np.all(bright == 1)


def test_unclipped_noise_keeps_its_tails():
    clean = np.full((100, 28, 28, 1), 0.9, np.float32)
    noisy = NormalNoise(0, 0.55, clip=False).apply(clean, rng())
    assert float(np.mean(noisy)) == pytest.approx(0.9, abs=0.01)
    assert float(np.std(noisy)) == pytest.approx(0.55, rel=0.01)
    clipped = NormalNoise(0, 0.55).apply(clean, rng())
    assert np.array_equal(clipped, np.clip(noisy, 0, 1)), "the same noise, cut off"


def test_shared_noise_is_gray_and_other_noise_is_not():
    clean = rng().random((4, 32, 32, 3), dtype=np.float32)
    for shared in (True, False):
        added = NormalNoise(0, 0.2, clip=False, shared=shared).apply(clean, rng(1)) - clean
        assert float(np.std(added)) == pytest.approx(0.2, rel=0.05)
        between = np.corrcoef(added[..., 0].ravel(), added[..., 2].ravel())[0, 1]
        assert between > 0.999 if shared else abs(between) < 0.1
        rows = np.corrcoef(added[:, :-1].ravel(), added[:, 1:].ravel())[0, 1]
        assert abs(rows) < 0.1, "pixels beside each other know nothing of each other"


def test_each_image_has_a_sigma_of_its_own_from_the_stated_range():
    noise = NormalNoise(0, 0.5, clip=False, lowest_sigma=0.1)
    sigmas = np.std(noise.apply(shades(600), rng()), axis=(1, 2, 3))
    assert 0.09 < sigmas.min() < 0.12
    assert 0.48 < sigmas.max() < 0.55
    counts, _ = np.histogram(sigmas, bins=4, range=(0.1, 0.5))
    assert np.allclose(counts / 600, 0.25, atol=0.06), "drawn evenly"


def test_a_mixture_uses_each_part_alike():
    parts = (NoNoise(), UniformNoise(0.1), NormalNoise(0.5, 0.05, clip=False))
    clean = np.full((900, 8, 8, 1), 0.3, np.float32)
    noisy = MixedNoise(parts).apply(clean, rng())
    means = noisy.mean(axis=(1, 2, 3)) - 0.3
    shares = [np.mean(np.abs(means - mean) < 0.02) for mean in (0, 0.05, 0.5)]
    assert sum(shares) == pytest.approx(1)
    assert np.allclose(shares, 1 / 3, atol=0.06)
    order = np.argsort(np.abs(means[:, None] - [0, 0.05, 0.5]), axis=1)[:, 0]
    assert np.mean(order[1:] == order[:-1]) < 0.5, "in no order"
