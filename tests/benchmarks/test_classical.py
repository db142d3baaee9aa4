from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from quietframe.errors import MissingExtraError, UsageError
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.classical import CBM3D, METHODS, ClassicalDenoiser

FILTERS = tuple(name for name in METHODS if name != CBM3D)


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
