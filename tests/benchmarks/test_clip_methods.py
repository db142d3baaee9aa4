from __future__ import annotations

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.errors import UsageError
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.clip_methods import CLIP_METHODS, ClipDenoiser, missing_filters

HERE = [name for name in CLIP_METHODS if name not in missing_filters()]
"""What the program ffmpeg has, if it is installed, and OpenCV."""


@pytest.fixture(scope="module")
def clip():
    """(clean, noisy) frames: eight of one scene, each with noise of its own."""
    clean = np.ascontiguousarray(photo_bgr()[60:125, 180:261])
    return [clean] * 8, [add_gaussian(clean, 20, np.random.default_rng(index)) for index in range(8)]


@pytest.mark.parametrize("method", HERE)
def test_every_setting_gives_each_frame_back_and_the_best_one_denoises(method, clip):
    clean, noisy = clip
    kept = [frame.copy() for frame in noisy]
    reached = []
    for setting in CLIP_METHODS[method].settings(gray=False, near_255=20):
        results = list(ClipDenoiser(method, setting, threads=1).denoise(noisy))
        assert [(frame.shape, frame.dtype) for frame in results] == [(noisy[0].shape, np.uint8)] * 8
        reached.append(np.mean([psnr_db(*pair) for pair in zip(clean, results, strict=True)]))
    assert all((a == b).all() for a, b in zip(noisy, kept, strict=True))
    assert max(reached) > psnr_db(clean[0], noisy[0]) + 2
    assert len(set(reached)) > 2  # the settings do reach the method


@pytest.mark.parametrize("method", HERE)
def test_results_are_those_of_their_frames_in_order(method):
    frames = [np.full((48, 64, 3), (60 + 20 * index, 90, 200 - 20 * index), np.uint8) for index in range(6)]
    setting = CLIP_METHODS[method].settings(gray=False, near_255=1)[0]
    for frame, result in zip(frames, ClipDenoiser(method, setting, threads=1).denoise(frames), strict=True):
        assert np.abs(frame.astype(int) - result).max() <= 6


@pytest.mark.skipif("fftdnoiz" not in HERE, reason="the program ffmpeg is not installed, or lacks the filter")
def test_gray_frames_stay_gray(clip):
    frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip[1]]
    (setting, *_) = CLIP_METHODS["fftdnoiz"].settings(gray=True, near_255=20)
    results = list(ClipDenoiser("fftdnoiz", setting, threads=1).denoise(frames))
    assert [frame.shape for frame in results] == [frames[0].shape] * 8
    clean = cv2.cvtColor(clip[0][0], cv2.COLOR_BGR2GRAY)
    assert psnr_db(clean, results[3]) > psnr_db(clean, frames[3]) + 1


def test_the_grid_goes_with_the_level_within_what_a_filter_takes():
    nlmeans = CLIP_METHODS["nlmeans"]
    assert [one["s"] for one in nlmeans.settings(gray=False, near_255=20)] == pytest.approx([4, 6, 9, 13])
    assert {one["s"] for one in nlmeans.settings(gray=False, near_255=1)} == {1}
    assert max(one["s"] for one in nlmeans.settings(gray=False, near_255=200)) == 30
    assert nlmeans.grid_text == "s 0.2, 0.3, 0.45, 0.65 × the level"
    assert CLIP_METHODS["fftdnoiz"].grid_text.endswith("× the level; near 0, 1")


def test_an_unknown_method_is_an_error():
    with pytest.raises(UsageError, match=r"Expected one of NLM multi, .* Received: 'magic'"):
        ClipDenoiser("magic", {}, threads=1)
