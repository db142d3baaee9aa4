from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.errors import MissingExtraError, UsageError
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.classical import CBM3D, CLIP_METHODS, FRAME_METHODS, METHODS, ClassicalDenoiser, missing_filters

FILTERS = tuple(name for name in FRAME_METHODS if name != CBM3D)
CLIP_METHODS_HERE = tuple(name for name in CLIP_METHODS if name not in missing_filters())
"""What the program ffmpeg has, if it is installed, and OpenCV."""


@pytest.fixture
def clean():
    """Two flat halves of different colours: anything that averages takes noise away."""
    picture = np.full((48, 64, 3), (60, 120, 180), np.uint8)
    picture[:, 32:] = (170, 90, 40)
    return picture


def of(frame, gray):
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if gray else frame


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("method", FILTERS)
def test_every_setting_keeps_the_frame_and_its_shape_and_the_best_one_denoises(method, gray, clean):
    reference = of(clean, gray)
    noisy = add_gaussian(reference, 20, np.random.default_rng(0))
    kept = noisy.copy()
    reached = []
    for setting in [METHODS[method].textbook, *METHODS[method].settings(gray=gray)]:
        result = ClassicalDenoiser(method, setting, threads=1)(noisy)
        assert (result.shape, result.dtype) == (noisy.shape, np.uint8)
        reached.append(psnr_db(reference, result))
    assert (noisy == kept).all()
    assert max(reached) > psnr_db(reference, noisy) + 2
    assert len(set(reached)) > 2  # the settings do reach the filter


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("bilateral", lambda frame: cv2.bilateralFilter(frame, 9, 75, 75)),
        ("median", lambda frame: cv2.medianBlur(frame, 5)),
        ("Gaussian", lambda frame: cv2.GaussianBlur(frame, (5, 5), 0)),
        ("NLM", lambda frame: cv2.fastNlMeansDenoisingColored(frame, None, 10, 10, 7, 21)),
    ],
)
def test_the_textbook_setting_is_that_of_opencvs_tutorials(method, expected, clean):
    noisy = add_gaussian(clean, 20, np.random.default_rng(0))
    assert (ClassicalDenoiser(method, METHODS[method].textbook, threads=1)(noisy) == expected(noisy)).all()


def test_gray_frames_have_no_colour_to_set():
    colour, gray = (METHODS["NLM"].settings(gray=gray) for gray in (False, True))
    assert {setting["hColor"] / setting["h"] for setting in colour} == {1, 2}
    assert not any("hColor" in setting for setting in gray)
    assert len(colour) == 2 * len(gray) == 32


def test_settings_and_grids_are_named_in_words():
    assert METHODS["bilateral"].grid_text.startswith("d 5, 7, 9; sigmaColor 15, 30, ")
    assert METHODS["NLM"].in_words(METHODS["NLM"].textbook) == "h 10, hColor 10, searchWindowSize 21"


def test_opencv_gets_the_threads():
    before = cv2.getNumThreads()
    try:
        ClassicalDenoiser("median", {"ksize": 3}, threads=1)
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_it_is_timed_behind_the_engine_seam(clean):
    from quietframe_bench.subject import Stopwatch

    stages = Stopwatch(ClassicalDenoiser("NLM", METHODS["NLM"].textbook, threads=1), lambda _index: clean).call()
    pre, engine, post, total = stages
    assert total == pre + engine + post
    assert engine > 0.5 * total


def test_cbm3d_gets_the_level_on_a_scale_of_one_in_rgb(monkeypatch, clean):
    seen = {}

    def bm3d_rgb(scaled, sigma, profile):
        seen.update(pixel=scaled[0, 0].tolist(), sigma=sigma, threads=profile.num_threads)
        return scaled + 0.5 / 255 * np.array([2, 0, 0])  # a level of red

    module = SimpleNamespace(BM3DProfile=SimpleNamespace, bm3d_rgb=bm3d_rgb)
    monkeypatch.setitem(sys.modules, "bm3d", module)
    result = ClassicalDenoiser(CBM3D, {"sigma": 51}, threads=2)(clean)
    assert seen["pixel"] == pytest.approx([180 / 255, 120 / 255, 60 / 255])
    assert (seen["sigma"], seen["threads"]) == (0.2, 2)
    assert (result == clean + np.array([0, 0, 1], np.uint8)).all()


@pytest.mark.parametrize("gray", [False, True])
def test_cbm3d_denoises(gray, clean):
    pytest.importorskip("bm3d", reason="CBM3D needs the extra 'baselines'")
    reference = of(clean, gray)
    noisy = add_gaussian(reference, 25, np.random.default_rng(0))
    result = ClassicalDenoiser(CBM3D, {"sigma": 25}, threads=2)(noisy)
    assert (result.shape, result.dtype) == (noisy.shape, np.uint8)
    assert psnr_db(reference, result) > psnr_db(reference, noisy) + 8


def test_cbm3d_without_its_package_names_the_extra(monkeypatch, clean):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(MissingExtraError, match=r"quietframe\[baselines\]"):
        ClassicalDenoiser(CBM3D, {"sigma": 25}, threads=1)(clean)


def test_an_unknown_method_is_an_error():
    with pytest.raises(UsageError, match=r"Expected one of bilateral, .* Received: 'magic'"):
        ClassicalDenoiser("magic", {}, threads=1)


@pytest.fixture(scope="module")
def clip():
    """(clean, noisy) frames: eight of one scene, each with noise of its own."""
    scene = np.ascontiguousarray(photo_bgr()[60:125, 180:261])
    return [scene] * 8, [add_gaussian(scene, 20, np.random.default_rng(index)) for index in range(8)]


@pytest.mark.parametrize("method", CLIP_METHODS_HERE)
def test_every_setting_gives_each_frame_of_a_clip_back_and_the_best_one_denoises(method, clip):
    clean, noisy = clip
    kept = [frame.copy() for frame in noisy]
    reached = []
    for setting in METHODS[method].settings(gray=False, near_255=20):
        results = list(ClassicalDenoiser(method, setting, threads=1).denoise(noisy))
        assert [(frame.shape, frame.dtype) for frame in results] == [(noisy[0].shape, np.uint8)] * 8
        reached.append(np.mean([psnr_db(*pair) for pair in zip(clean, results, strict=True)]))
    assert all((a == b).all() for a, b in zip(noisy, kept, strict=True))
    assert max(reached) > psnr_db(clean[0], noisy[0]) + 2
    assert len(set(reached)) > 2  # the settings do reach the method


@pytest.mark.parametrize("method", ["median", *CLIP_METHODS_HERE])
def test_results_are_those_of_their_frames_in_order(method):
    frames = [np.full((48, 64, 3), (60 + 20 * index, 90, 200 - 20 * index), np.uint8) for index in range(6)]
    setting = METHODS[method].settings(gray=False, near_255=1)[0]
    for frame, result in zip(frames, ClassicalDenoiser(method, setting, threads=1).denoise(frames), strict=True):
        assert np.abs(frame.astype(int) - result).max() <= 6


@pytest.mark.skipif("fftdnoiz" not in CLIP_METHODS_HERE, reason="ffmpeg is not installed, or lacks the filter")
def test_gray_clips_stay_gray(clip):
    frames = [of(frame, gray=True) for frame in clip[1]]
    (setting, *_) = METHODS["fftdnoiz"].settings(gray=True, near_255=20)
    results = list(ClassicalDenoiser("fftdnoiz", setting, threads=1).denoise(frames))
    assert [frame.shape for frame in results] == [frames[0].shape] * 8
    clean = of(clip[0][0], gray=True)
    assert psnr_db(clean, results[3]) > psnr_db(clean, frames[3]) + 1


def test_the_grid_goes_with_the_level_within_what_a_filter_takes():
    nlmeans = METHODS["nlmeans"]
    assert [one["s"] for one in nlmeans.settings(gray=False, near_255=20)] == pytest.approx([4, 6, 9, 13])
    assert nlmeans.settings(gray=False, near_255=1) == [{"s": 1}]
    assert max(one["s"] for one in nlmeans.settings(gray=False, near_255=200)) == 30
    assert nlmeans.grid_text == "s 0.2, 0.3, 0.45, 0.65 × the level"
    assert METHODS["fftdnoiz"].grid_text.endswith("× the level; near 0, 1")
