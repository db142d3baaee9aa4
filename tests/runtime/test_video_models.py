"""What every built-in video model holds to, as it ships: on clips of the bundled photograph."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

import quietframe as qf
from quietframe.assets import photo_bgr
from quietframe.noise import add_gaussian
from quietframe.quality import flicker_255, psnr_db
from quietframe.zoo import camera_models

MODELS = sorted(set(camera_models(video=True)) - set(camera_models()))
SIGMA_255 = 20.0
FIRST_DB = 0.4
"""How much worse than a model for single frames these are without a past, at most, up to a level of 40."""


def noisy(clean: np.ndarray, seed: int, sigma_255: float = SIGMA_255) -> np.ndarray:
    return add_gaussian(clean, sigma_255, np.random.default_rng(seed))


def clip(scenes: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [noisy(scene, seed) for seed, scene in enumerate(scenes)]


@pytest.fixture(params=MODELS)
def denoise(request) -> qf.VideoDenoiser:
    return qf.VideoDenoiser(request.param)


@pytest.fixture
def alone(denoise) -> qf.Denoiser:
    """The model of its size for single frames."""
    return qf.Denoiser(denoise.card.name.replace("video", "camera"))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return photo_bgr()[80:400, 80:400].copy()


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    return photo_bgr()[-320:, :320].copy()


def mean_psnr_db(scenes, results) -> float:
    return float(np.mean([psnr_db(*pair) for pair in zip(scenes, results, strict=True)]))


@pytest.mark.parametrize("sigma_255", [5.0, 20.0, 40.0])
def test_the_first_frame_is_as_good_as_that_of_single_frames(denoise, alone, photo, sigma_255):
    frame = noisy(photo, 0, sigma_255)
    assert psnr_db(photo, denoise(frame)) > psnr_db(photo, alone(frame)) - FIRST_DB


def test_a_still_scene_gets_better_and_hardly_flickers(denoise, alone, photo):
    frames = clip([photo] * 20)
    results, single = [denoise(frame) for frame in frames], [alone(frame) for frame in frames]
    assert mean_psnr_db([photo] * 10, results[10:]) > mean_psnr_db([photo] * 10, single[10:]) + 3
    shown = [[flicker_255((photo, a), (photo, b)) for a, b in itertools.pairwise(of[10:])] for of in (results, single)]
    assert np.mean(shown[0]) < np.mean(shown[1]) / 3
    assert denoise.fused > 0.8


def test_a_moving_view_is_better_than_single_frames(denoise, alone):
    scenes = [photo_bgr()[60 + at : 316 + at, 100 + 3 * at : 420 + 3 * at].copy() for at in range(16)]
    frames = clip(scenes)
    results = [denoise(frame) for frame in frames]
    assert mean_psnr_db(scenes[6:], results[6:]) > mean_psnr_db(scenes[6:], map(alone, frames[6:])) + 0.3


def test_a_cut_shows_nothing_of_what_was_before(denoise, alone, photo, wall):
    scenes = [photo] * 8 + [wall] * 2
    frames = clip(scenes)
    results = [denoise(frame) for frame in frames]
    assert psnr_db(wall, results[8]) > psnr_db(wall, alone(frames[8])) - FIRST_DB
    assert denoise.fused > 0.2, "and the new scene is remembered"


@pytest.mark.parametrize("factor", [0.5, 1.6])
def test_a_flash_leaves_nothing_behind(denoise, alone, photo, factor):
    flash = cv2.convertScaleAbs(photo, alpha=factor)
    scenes = [photo] * 8 + [flash] + [photo] * 2
    frames = clip(scenes)
    results = [denoise(frame) for frame in frames]
    for at in (8, 9):
        assert psnr_db(scenes[at], results[at]) > psnr_db(scenes[at], alone(frames[at])) - FIRST_DB


def test_a_slow_fade_is_followed(denoise, alone, photo):
    scenes = [cv2.convertScaleAbs(photo, alpha=1 - 0.03 * at) for at in range(20)]
    frames = clip(scenes)
    results = [denoise(frame) for frame in frames]
    assert mean_psnr_db(scenes[6:], results[6:]) > mean_psnr_db(scenes[6:], map(alone, frames[6:])) - 0.1


def test_a_hand_before_a_wall_leaves_no_ghost(denoise, alone, photo, wall):
    """Where it was one to three frames ago, the error is at most a tenth greater than that of single frames."""
    errors, single = [], []
    for at in range(20):
        scene, left = wall.copy(), 20 + 8 * at
        scene[100:180, left : left + 60] = photo[100:180, 100:160]
        frame = noisy(scene, at)
        result = denoise(frame)
        if at >= 6:
            uncovered = slice(100, 180), slice(left - 24, left)
            errors.append((result[uncovered].astype(float) - scene[uncovered]) ** 2)
            single.append((alone(frame)[uncovered].astype(float) - scene[uncovered]) ** 2)
    assert np.sqrt(np.mean(errors)) < 1.1 * np.sqrt(np.mean(single))


def test_a_gray_video_stays_gray(denoise, photo):
    gray = cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    for seed in range(6):
        frame = noisy(gray[:, :, :1].repeat(3, 2), seed)[:, :, :1].repeat(3, 2)
        result = denoise(frame)
    assert np.array_equal(result[:, :, 0], result[:, :, 1]) and np.array_equal(result[:, :, 0], result[:, :, 2])


def test_clean_frames_stay_as_they_are(denoise, photo):
    for _ in range(5):
        result = denoise(photo)
    assert psnr_db(photo, result) >= 42


@pytest.mark.long
def test_ten_minutes_of_a_still_scene_drift_nowhere(denoise):
    """18,000 frames: the mean of the last thousand is as near the scene as that of the second thousand."""
    scene = cv2.resize(photo_bgr()[80:400, 80:400], (128, 128), interpolation=cv2.INTER_AREA)
    frames = [noisy(scene, seed) for seed in range(64)]
    parts = {1: [], 17: []}
    for number, at in enumerate(np.random.default_rng(1).integers(64, size=18_000)):
        result = denoise(frames[at], sigma_255=SIGMA_255)
        if number // 1000 in parts:
            parts[number // 1000].append(result)
    early, late = (np.mean(results, axis=0, dtype=np.float64) for results in parts.values())
    assert np.abs(np.mean(late - early, axis=(0, 1))).max() < 0.3
    assert np.std(late - scene) < np.std(early - scene) + 0.1
