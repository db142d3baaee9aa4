from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.quality import psnr_db
from quietframe_train import sensor
from quietframe_train.sensor import DEMOSAICS, Processing, Sensor, photograph, random_processing, random_sensor

RAW = Processing()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def quiet(seed: int = 0, **fields: object) -> Sensor:
    silent = {"shot": 0.0, "read": 0.0, "row": 0.0, "column": 0.0, "hot_pixels": 0.0}
    return replace(random_sensor(rng(seed)), **(silent | fields))


def photo(side: int = 160) -> np.ndarray:
    """Soft enough for a mosaic: its edges are wider than a pixel."""
    return cv2.resize(photo_bgr()[:100, :100], (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("demosaic", DEMOSAICS)
@pytest.mark.parametrize("clips_black", [False, True])
def test_without_noise_the_frame_comes_back(demosaic: str, clips_black: bool) -> None:
    camera = quiet(3, demosaic=demosaic, clips_black=clips_black)
    clean, (noisy,) = photograph(photo(), camera, RAW, rng())
    assert np.array_equal(clean, noisy)
    assert psnr_db(photo()[2:-2, 2:-2], clean[2:-2, 2:-2]) > 38


@pytest.mark.parametrize("level", [0, 20, 128, 230, 255])
@pytest.mark.parametrize("demosaic", DEMOSAICS)
def test_a_flat_gray_stays_that_gray(level: int, demosaic: str) -> None:
    clean, _ = photograph(np.full((64, 64, 3), level, np.uint8), quiet(1, demosaic=demosaic), RAW, rng())
    assert np.abs(clean.astype(int) - level).max() <= 1


def test_the_variance_grows_with_light_as_stated() -> None:
    for light in (0.1, 0.5, 0.9):
        raw = np.full((400, 400), light, np.float32)
        noisy = sensor.add_noise(raw, quiet(shot=0.004, read=0.0001), rng(1), rng(2))
        assert np.var(noisy - raw) == pytest.approx(0.004 * light + 0.0001, rel=0.03)
        assert np.mean(noisy - raw) == pytest.approx(0, abs=2e-3)


def test_rows_are_new_in_every_frame_and_columns_stay() -> None:
    raw = np.full((200, 300), 0.5, np.float32)
    camera = quiet(read=1e-4, row=1.0, column=1.0)
    first, second = (sensor.add_noise(raw, camera, rng(7), rng(seed)) - raw for seed in (1, 2))
    assert np.corrcoef(first.mean(axis=0), second.mean(axis=0))[0, 1] > 0.95
    assert abs(np.corrcoef(first.mean(axis=1), second.mean(axis=1))[0, 1]) < 0.25
    assert np.std(first.mean(axis=1)) == pytest.approx(0.01, rel=0.2)


def test_hot_pixels_are_few_bright_and_stay() -> None:
    raw = np.zeros((400, 400), np.float32)
    first, second = (sensor.add_noise(raw, quiet(hot_pixels=1e-3), rng(7), rng(seed)) for seed in (1, 2))
    assert np.array_equal(first, second)
    assert np.count_nonzero(first) == pytest.approx(160, rel=0.3)
    assert first.max() > 0.5


def test_noise_below_black_is_cut_off_before_or_behind_the_interpolation() -> None:
    black = np.zeros((128, 128, 3), np.uint8)
    means = {}
    for clips in (False, True):
        _, (noisy,) = photograph(black, quiet(2, read=1e-3, clips_black=clips), RAW, rng())
        means[clips] = float(noisy.mean())
    assert min(means.values()) > 0, "half of the noise on black is cut off in the end"
    assert abs(means[True] - means[False]) > 0.3


def test_a_clip_has_new_noise_in_every_frame() -> None:
    clean, frames = photograph(photo(), quiet(shot=0.003, read=1e-4), RAW, rng(), frames=3)
    assert len(frames) == 3
    noise = [frame.astype(float) - clean for frame in frames]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1
    assert np.std(noise[0]) > 3


def test_a_camera_s_own_denoising_leaves_noise_that_is_smooth() -> None:
    clean = np.full((160, 160, 3), 128, np.uint8)
    noisy = np.clip(rng().normal(128, 12, clean.shape), 0, 255).astype(np.uint8)
    processing = Processing(luma_radius=1.0, chroma_radius=3.0, chroma_share=0.5, gain=1.5)
    noise = sensor.smooth_noise(clean, noisy, processing).astype(float) - 128
    luma = noise @ [0.114, 0.587, 0.299]
    chroma = noise[:, :, 0] - luma
    for values, apart in ((luma, 1), (chroma, 4)):
        assert np.mean(values[:, apart:] * values[:, :-apart]) / np.mean(values**2) > 0.4
    assert np.array_equal(sensor.smooth_noise(clean, noisy, RAW), noisy)


def test_edge_preserving_denoising_leaves_its_noise_on_edges() -> None:
    clean = np.full((160, 160, 3), 60, np.uint8)
    clean[:, 80:] = 190
    noisy = np.clip(clean + rng().normal(0, 10, clean.shape), 0, 255).astype(np.uint8)
    processing = Processing(chroma_radius=0.0, chroma_share=1.0, edge_preserving=2.5)
    noise = sensor.smooth_noise(clean, noisy, processing).astype(float) - clean
    assert np.std(noise[:, 79:81]) > 1.1 * np.std(noise[:, 20:60])
    assert np.std(noise) < 7


def test_sharpening_steepens_edges_and_leaves_flat_areas() -> None:
    step = np.full((32, 32, 3), 100, np.uint8)
    step[:, 16:] = 150
    sharp = sensor.sharpen(step, Processing(sharpening=(1.0, 1.0)))
    assert sharp[:, 16].mean() > 150
    assert sharp[:, 15].mean() < 100
    assert (sharp[:, :8] == 100).all()


def test_drawn_cameras_differ_and_stay_within_bounds() -> None:
    cameras = [random_sensor(rng(seed)) for seed in range(200)]
    shots = np.log10([camera.shot for camera in cameras])
    assert -4.1 < shots.min() < -3.8
    assert -2.2 < shots.max() < -1.8
    assert {camera.demosaic for camera in cameras} == set(DEMOSAICS)
    for camera in cameras:
        assert camera.to_bgr @ camera.to_camera == pytest.approx(np.eye(3), abs=1e-4)
        assert camera.to_bgr.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
        assert (np.diff(camera.tone.astype(int)) >= 0).all()
        assert camera.tone[[0, -1]].tolist() == [0, 255]
    kinds = [random_processing(rng(seed)) for seed in range(200)]
    assert sum(kind.chroma_share is not None for kind in kinds) == pytest.approx(140, abs=25)
    assert sum(kind.sharpening[0] > 0 for kind in kinds) == pytest.approx(80, abs=25)
