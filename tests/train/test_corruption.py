import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quietframe.noise import MAX_SIGMA_255
from quietframe_train.corruption import CameraNoise, NoNoise, NormalNoise


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


def test_no_noise_changes_nothing():
    clean = rng().random((2, 28, 28, 1), dtype=np.float32)
    assert np.array_equal(NoNoise().apply(clean, rng()), clean)


def test_noise_differs_between_images_and_calls_and_repeats_with_the_seed():
    clean = np.full((2, 32, 32, 3), 128, np.uint8)
    generator = rng(5)
    first, told = CameraNoise().apply(clean, generator)
    second, _ = CameraNoise().apply(clean, generator)
    again, told_again = CameraNoise().apply(clean, rng(5))
    assert np.array_equal(first, again)
    assert np.array_equal(told, told_again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, second)


def test_camera_noise_is_told_its_level_within_the_error():
    noise = CameraNoise(max_sigma_255=30, level_error=0.2, shot_share=0.0)
    noisy, told = noise.apply(np.full((300, 48, 48, 3), 128, np.uint8), rng())
    measured = np.std(noisy.astype(float), axis=(1, 2, 3))
    strong = measured > 3  # below, rounding to 8 bits adds to what is measured
    ratio = told[strong] / measured[strong]
    assert np.all((ratio > 0.78) & (ratio < 1.22))
    assert np.min(ratio) < 0.85 < 1.15 < np.max(ratio)
    assert 0 <= measured.min() < 2
    assert 28 < measured.max() < 31


def test_shot_noise_is_told_its_level_at_the_frames_brightness():
    noise = CameraNoise(max_sigma_255=20, level_error=0.0, shot_share=1.0)
    for level in (60, 128, 190):
        noisy, told = noise.apply(np.full((200, 48, 48, 3), level, np.uint8), rng(level))
        measured = np.std(noisy.astype(float), axis=(1, 2, 3))
        strong = measured > 3
        assert np.allclose(told[strong], measured[strong], rtol=0.05)


def test_told_levels_stay_in_what_models_know():
    _, told = CameraNoise(max_sigma_255=200).apply(np.full((100, 8, 8, 3), 200, np.uint8), rng())
    assert told.dtype == np.float32
    assert told.min() >= 0
    assert told.max() == MAX_SIGMA_255


@pytest.mark.parametrize(
    ("noise", "text"),
    [(NormalNoise(0.5, 0.5), "mean 0.5, sigma 0.5"), (NoNoise(), "clean"), (CameraNoise(), "sigma 0 to 60 of 255")],
)
def test_each_noise_describes_itself_in_one_line(noise, text):
    assert text in noise.describe()
    assert "\n" not in noise.describe()
