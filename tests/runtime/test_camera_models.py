"""What every built-in camera model holds to, as it ships: on the bundled photograph, and on test images if any."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import quietframe as qf
from quietframe.assets import photo_bgr
from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe.zoo import camera_models

MODELS = sorted(camera_models())


def noisy(clean: np.ndarray, sigma_255: float, seed: int = 0) -> np.ndarray:
    return add_gaussian(clean, sigma_255, np.random.default_rng(seed))


@pytest.fixture(scope="module", params=MODELS)
def denoise(request) -> qf.Denoiser:
    return qf.Denoiser(request.param)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return photo_bgr()[:320, :320].copy()


def rms(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one.astype(float) - other) ** 2)))


@pytest.fixture(scope="module")
def some_images(real_data: Path) -> list[np.ndarray]:
    return [read_image(path).pixels for path in sorted((real_data / "cbsd68").iterdir())[::6]]


def test_clean_frames_stay_as_they_are(denoise, photo):
    assert psnr_db(photo, denoise(photo)) >= 42


@pytest.mark.parametrize("sigma_255", [5, 15, 25, 50, 75])
def test_noise_of_every_level_is_removed(denoise, photo, sigma_255):
    frame = noisy(photo, sigma_255)
    gain_db = psnr_db(photo, denoise(frame)) - psnr_db(photo, frame)
    assert gain_db > {5: 1.5, 15: 5, 25: 7, 50: 9, 75: 9}[sigma_255]


def test_a_bit_more_noise_is_a_bit_less_quality(denoise, photo):
    """The same noise, scaled: no level at which something is switched on or off."""
    sigmas_255 = np.arange(3, 76, 1.5)
    reached_db = [psnr_db(photo, denoise(noisy(photo, sigma_255))) for sigma_255 in sigmas_255]
    falls_db, growth_db = -np.diff(reached_db), 20 * np.log10(sigmas_255[1:] / sigmas_255[:-1])
    assert np.all(falls_db > -0.15)
    margin_db = np.where(sigmas_255[1:] <= 60, 0.1, 0.15)  # beyond, no model was trained
    assert np.all(falls_db < growth_db + margin_db)


def test_a_bit_more_strength_changes_the_picture_a_bit(denoise, photo):
    frame = noisy(photo, 20)
    model = qf.Denoiser(denoise.engine, card=denoise.card)
    results = []
    for strength in np.arange(0, 2.01, 0.1):
        model.strength = float(strength)
        results.append(model(frame, sigma_255=20))
    assert np.array_equal(results[0], frame)
    changes = [rms(one, other) for one, other in itertools.pairwise(results)]
    assert max(changes) < 20 * 0.1 + 0.5
    assert rms(results[10], frame) > 15


def test_a_slightly_higher_level_changes_the_picture_a_bit(denoise, photo):
    frame = noisy(photo, 20)
    levels = np.arange(0, 75.1, 0.5)
    results = [denoise(frame, sigma_255=float(level)) for level in levels]
    changes = np.array([rms(one, other) for one, other in itertools.pairwise(results)])
    assert np.all(changes[levels[:-1] >= 4] < 2)
    assert np.all(changes < 2)


def test_gray_frames_go_through_the_same_model(denoise, photo):
    clean = photo[:, :, 1].copy()
    frame = noisy(clean, 25)
    result = denoise(frame)
    assert result.shape == clean.shape
    assert psnr_db(clean, result) - psnr_db(clean, frame) > 6


@pytest.mark.parametrize("sigma_255", [15, 25, 50])
def test_an_estimate_that_is_a_bit_off_does_no_harm(denoise, some_images, sigma_255, request):
    if (denoise.card.name, sigma_255) == ("camera-base", 50):
        request.applymarker(pytest.mark.xfail(strict=True, reason="0.35 dB lost with 0.7 times the level"))
    frames = [noisy(image, sigma_255, index) for index, image in enumerate(some_images)]
    reached_db = {}
    for share in (0.7, 1.0, 1.3):
        results = [denoise(frame, sigma_255=min(75.0, share * sigma_255)) for frame in frames]
        reached_db[share] = float(np.mean([psnr_db(*pair) for pair in zip(some_images, results, strict=True)]))
    figures = ", ".join(f"given {share:g} times σ: {value:.2f}" for share, value in reached_db.items())
    print(f"{denoise.card.name}, σ {sigma_255}, {len(frames)} images: {figures} dB")
    assert reached_db[1.0] - min(reached_db.values()) < 0.3
