from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import FORMATS
from quietframe_train.camera_noise import (
    VALIDATION_SIGMAS_255,
    CameraNoise,
    flat_frame,
    middle,
    validation_patches,
)

pytest.importorskip("av")

WHITE = CameraNoise(
    sensor_share=0, clean_share=0, rgb_share=1, yuyv_share=0, h264_share=0, twice_share=0, gray_share=0, flat_share=0,
    overlay_share=0, any_level_share=0, level_error=0, level_power=1,
)  # fmt: skip


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def photos() -> list[np.ndarray]:
    return [photo_bgr(), np.ascontiguousarray(photo_bgr()[:, ::-1])]


@pytest.mark.parametrize(("count", "patch"), [(16, 64), (5, 64), (3, 96), (2, 128), (1, 32)])
def test_patches_have_their_shape(count: int, patch: int) -> None:
    clean, noisy, sigma_255 = CameraNoise().draw(photos(), count, patch, rng())
    assert clean.shape == noisy.shape == (count, patch, patch, 3)
    assert clean.dtype == noisy.dtype == np.uint8
    assert sigma_255.shape == (count,)
    assert ((sigma_255 >= 0) & (sigma_255 <= 75)).all()


def test_the_same_seed_draws_the_same() -> None:
    first, again, other = (CameraNoise().draw(photos(), 24, 64, rng(seed)) for seed in (3, 3, 4))
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one, two)
    assert not np.array_equal(first.noisy, other.noisy)


def test_white_noise_is_added_to_what_the_photograph_shows() -> None:
    clean, noisy, sigma_255 = replace(WHITE, max_sigma_255=20).draw(photos(), 60, 64, rng())
    deviations = np.std(noisy.astype(float) - clean, axis=(1, 2, 3))
    assert deviations.max() < 21
    assert deviations.min() < 4
    assert np.corrcoef(deviations, sigma_255)[0, 1] > 0.95


def test_the_given_level_is_the_estimator_s() -> None:
    drawn = replace(WHITE, max_sigma_255=40).draw(photos(), 40, 144 - 32, rng())
    deviations = np.std(drawn.noisy.astype(float) - drawn.clean, axis=(1, 2, 3))
    assert np.median(np.abs(drawn.sigma_255 / np.maximum(deviations, 2) - 1)) < 0.2
    seen = estimate_noise(drawn.noisy[0])
    assert drawn.sigma_255[0] == pytest.approx(seen, rel=0.4, abs=1.5), "the frame around it was read"


def test_any_level_may_be_given_to_a_few() -> None:
    drawn = replace(WHITE, max_sigma_255=1, any_level_share=1).draw(photos(), 100, 64, rng())
    assert drawn.sigma_255.max() > 60
    assert np.std(drawn.noisy.astype(float) - drawn.clean) < 1.5


@pytest.mark.parametrize("field", ["rgb_share", "yuyv_share", "h264_share", None])
def test_clean_frames_of_every_format(field: str | None) -> None:
    noise = replace(WHITE, clean_share=1, rgb_share=0, soft_share=0)
    noise = replace(noise, **{field: 1.0}) if field else noise
    clean, noisy, sigma_255 = noise.draw(photos(), 8, 64, rng())
    error = np.abs(noisy.astype(int) - clean)
    assert (error.max() == 0) == (field == "rgb_share")
    assert error.mean() < 6
    assert np.median(sigma_255) < 4


def test_gray_cameras_have_three_equal_planes() -> None:
    clean, noisy, _ = replace(WHITE, gray_share=1).draw(photos(), 8, 64, rng())
    for frames in (clean, noisy):
        assert np.array_equal(frames[..., 0], frames[..., 1])
        assert np.array_equal(frames[..., 0], frames[..., 2])


def test_bars_and_text_hold_no_noise_and_do_not_count() -> None:
    noise = replace(WHITE, overlay_share=1, max_sigma_255=60)
    found = [noise.frame(photo_bgr(), 160, rng(seed)) for seed in range(20)]
    for clean, noisy, sigma_255 in found:
        same = (clean == noisy).all(axis=2)
        assert same.mean() > 0.01
        if 5 < sigma_255 < 30 and 60 < clean[~same].mean() < 190:
            assert np.std(noisy[~same].astype(float) - clean[~same]) == pytest.approx(sigma_255, rel=0.25)


def test_a_format_lowers_the_level_that_is_left() -> None:
    levels = {}
    for name, shares in {"rgb": {"rgb_share": 1.0}, "jpeg": {}, "h264": {"h264_share": 1.0}}.items():
        noise = replace(WHITE, rgb_share=0, jpeg_quality=(60, 60), crf=(28, 28), max_sigma_255=30)
        noise = replace(noise, **shares)
        levels[name] = np.mean([noise.frame(photo_bgr(), 96, rng(seed)).sigma_255 for seed in range(12)])
    assert levels["rgb"] == pytest.approx(15, rel=0.4)
    assert levels["h264"] < levels["jpeg"] < levels["rgb"]


def test_clean_frames_have_the_level_0() -> None:
    noise = replace(WHITE, clean_share=1, rgb_share=0)
    assert {noise.frame(photo_bgr(), 96, rng(seed)).sigma_255 for seed in range(5)} == {0.0}


def test_a_sensor_s_frames_are_noisy_and_aligned() -> None:
    noise = replace(WHITE, sensor_share=1)
    for seed in range(10):
        clean, noisy, sigma_255 = noise.frame(photo_bgr(), 128, rng(seed))
        assert sigma_255 == pytest.approx(np.std(noisy.astype(float) - clean), rel=1e-3)
        smooth_clean, smooth_noisy = (cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 4) for frame in (clean, noisy))
        assert np.corrcoef(smooth_clean.ravel(), smooth_noisy.ravel())[0, 1] > 0.85


def test_clips_that_move_end_where_the_clean_frame_is() -> None:
    noise = replace(WHITE, rgb_share=0, h264_share=1, crf=(17, 17), max_sigma_255=1)
    for seed in range(6):
        clean, noisy, _ = noise.frame(photo_bgr(), 96, rng(seed))
        assert np.mean(np.abs(noisy.astype(int) - clean)) < 5, "a shift would leave far more"


def test_flat_frames_are_flat_or_slope_evenly() -> None:
    frames = [flat_frame(64, rng(seed)) for seed in range(300)]
    assert {frame.shape for frame in frames} == {(64, 64, 3)}
    assert all((frame[0] == frame[-1]).all() for frame in frames)
    assert any((frame == 0).all() for frame in frames)
    assert any((frame == 255).all() for frame in frames)


def test_validation_takes_turns_over_formats_and_levels() -> None:
    found = validation_patches(photos() * 16, 64, seed=1)
    turns = len(FORMATS) * len(VALIDATION_SIGMAS_255)
    assert len(found.noisy) == 32 * len(VALIDATION_SIGMAS_255) == 4 * turns
    deviations = np.std(found.noisy.astype(float) - found.clean, axis=(1, 2, 3))
    by_level = deviations[:turns].reshape(len(VALIDATION_SIGMAS_255), len(FORMATS)).mean(axis=1)
    assert (np.diff(by_level) > 2).all()
    again = validation_patches(photos() * 16, 64, seed=1)
    assert np.array_equal(found.noisy, again.noisy)


def test_the_middle_lies_off_the_grid() -> None:
    frame = np.arange(100 * 90, dtype=np.int64).reshape(100, 90, 1).repeat(3, 2)
    assert middle(frame, 64)[0, 0, 0] == 19 * 90 + 13
    assert middle(frame, 200).shape == frame.shape


def test_the_card_s_line_names_what_is_in_it() -> None:
    line = CameraNoise().describe()
    assert "42%" in line
    assert "sigma 0 to 60" in line
