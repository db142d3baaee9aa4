from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.noise import add_gaussian, add_shot_read, to_uint8
from support.images import rng


def test_to_uint8_rounds_and_clips():
    values = np.array([-300.0, -0.6, 0.4, 0.6, 127.5, 128.5, 254.6, 255.4, 300.0])
    assert to_uint8(values).tolist() == [0, 0, 0, 1, 128, 128, 255, 255, 255]


@pytest.mark.parametrize("sigma_255", [1, 5, 25, 50])
def test_gaussian_noise_has_its_deviation(sigma_255):
    gray = np.full((512, 512), 128, np.uint8)
    error = add_gaussian(gray, sigma_255, rng()).astype(float) - 128
    rounded = np.hypot(sigma_255, np.sqrt(1 / 12))  # rounding to whole levels adds a twelfth of variance
    clipped = 0.98 if sigma_255 == 50 else 1  # 1 % of the pixels lie beyond 0 or 255
    assert error.mean() == pytest.approx(0, abs=0.02 * sigma_255)
    assert error.std() == pytest.approx(rounded * clipped, rel=0.02)


def test_gaussian_noise_is_white():
    error = add_gaussian(np.full((256, 256, 3), 128, np.uint8), 20, rng()).astype(float) - 128
    for a, b in [(error[1:], error[:-1]), (error[:, 1:], error[:, :-1]), (error[..., 1:], error[..., :-1])]:
        assert abs(np.mean(a * b)) / np.mean(error**2) < 0.02


@pytest.mark.parametrize("level", [0, 64, 255])
def test_shot_noise_grows_with_the_level(level):
    error = add_shot_read(np.full((400, 400), level, np.uint8), 20, 4, rng()).astype(float) - level
    if level == 255:
        error = error[error < 0]  # what would be above is clipped: half of a normal distribution is left
    elif level == 0:
        error = error[error > 0]
    deviation = np.sqrt(np.mean(error**2))
    assert deviation == pytest.approx(np.sqrt(20**2 * level / 255 + 4**2), rel=0.08)


NOISES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "gaussian": lambda image, generator: add_gaussian(image, 20, generator),
    "shot and read": lambda image, generator: add_shot_read(image, 20, 5, generator),
}


@pytest.mark.parametrize("add", NOISES.values(), ids=NOISES.keys())
def test_noise_is_seeded_and_leaves_the_image_alone(add):
    image = photo_bgr()[:64, :64]
    kept = image.copy()
    noisy = add(image, rng(1))
    assert noisy.dtype == np.uint8
    assert np.array_equal(noisy, add(image, rng(1)))
    assert not np.array_equal(noisy, add(image, rng(2)))
    same_generator = rng(1)
    assert not np.array_equal(add(image, same_generator), add(image, same_generator))
    assert np.array_equal(image, kept)


def test_no_noise_changes_nothing():
    image = photo_bgr()
    assert np.array_equal(add_gaussian(image, 0, rng()), image)
    assert np.array_equal(add_shot_read(image, 0, 0, rng()), image)
