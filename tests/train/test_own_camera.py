"""Noise of one camera, from its profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.calibration import calibrate
from quietframe.camera import CameraProfile, write_profile
from quietframe.errors import UsageError
from quietframe_train.own_camera import OwnCameraNoise, fine_tuned, unit_noise
from quietframe_train.recipes import RECIPES
from quietframe_train.run_folder import load_run
from quietframe_train.sensor import photograph, random_processing, random_sensor
from quietframe_train.training import train

SIDE = 192


def chart() -> np.ndarray:
    """A still scene: patches of many colours and brightnesses, (192, 192, 3)."""
    patches = np.random.default_rng(4).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.resize(patches, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def profile() -> CameraProfile:
    """Of a simulated camera: a mosaic, its demosaicing, and smoothing."""
    rng = np.random.default_rng(11)
    sensor, processing = replace(random_sensor(rng), shot=3e-3, read=1e-4), random_processing(rng)
    _, frames = photograph(chart(), sensor, processing, rng, frames=48, fixed=1)
    return calibrate(frames, frames=48)


def test_drawn_noise_has_the_correlation_that_was_measured(profile: CameraProfile) -> None:
    noise = unit_noise(profile, (256, 256), np.random.default_rng(0))
    assert noise.std(axis=(0, 1)) == pytest.approx([1] * 3, abs=0.08)
    luma = noise @ (0.114, 0.587, 0.299)
    for down, right in ((0, 1), (1, 0), (1, 1), (0, 2)):
        found = (luma[: 256 - down, : 256 - right] * luma[down:, right:]).mean() / np.square(luma).mean()
        assert found == pytest.approx(profile.autocorrelation[0][down][right], abs=0.08)


def test_drawn_frames_calibrate_as_the_camera_did(profile: CameraProfile) -> None:
    """What is drawn from a profile gives that profile again."""
    noise, rng = OwnCameraNoise(profile=profile), np.random.default_rng(1)
    again = calibrate((noise.add(chart(), rng) for _ in range(48)), frames=48)
    assert again.gain == pytest.approx(profile.gain, rel=0.1)
    inside = [profile.measured_255[0] + 8 < level < profile.measured_255[1] - 8 for level in profile.brightness_255]
    found, expected = np.asarray(again.sigma_255)[inside], np.asarray(profile.sigma_255)[inside]
    assert np.median(np.abs(found / expected - 1)) < 0.1


@pytest.mark.long
def test_a_camera_model_is_fine_tuned_on_it(profile: CameraProfile, photo_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    write_profile(profile, path)
    recipe = fine_tuned(RECIPES["camera-nano"], path)
    assert recipe.starts_from == "camera-nano"
    short = recipe.with_phases(steps_per_epoch=3, batch=2, epochs=1)
    run = train(short, data=photo_folder, out=tmp_path / "run")
    gained = {metric.noise: metric.value for metric in run.measured if metric.noise.startswith("own camera")}
    assert set(gained) == {"own camera, camera-nano", "own camera, this model"}
    assert load_run(tmp_path / "run").recipe == short


def test_only_camera_models_are(profile: CameraProfile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="camera-nano, camera-small and camera-base, not digit-classifier"):
        train("digit-classifier", camera=profile, out=tmp_path / "run")
    (tmp_path / "camera.json").write_text("{}")
    with pytest.raises(UsageError, match="not a camera's profile"):
        train("camera-nano", camera=tmp_path / "camera.json", out=tmp_path / "run")
