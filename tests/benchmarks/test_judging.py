from __future__ import annotations

import cv2
import numpy as np
import pytest

from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.classical import METHODS
from quietframe_bench.judging import Candidate, Condition, choose
from quietframe_bench.kinds.quality import _every
from quietframe_bench.rows import Run
from quietframe_bench.samples import Sample, image_samples


def choose_settings(method, sigmas_255, samples, *, gray=False):
    """The best setting of a method at each level."""
    grid = [Candidate(method, method=method, setting=one) for one in METHODS[method].settings(gray=gray)]
    return choose(Run({}), [(grid, Condition(sigma_255)) for sigma_255 in sigmas_255], samples)


def test_the_setting_with_the_greatest_mean_psnr_is_chosen(picture_folder):
    pictures = image_samples(picture_folder, seed=7)[::2]
    first, second = choose_settings("median", [5.0, 40.0], pictures)
    assert [(one.best.method, one.condition.sigma_255, one.samples) for one in (first, second)] == [
        ("median", 5, 2),
        ("median", 40, 2),
    ]
    for choice in (first, second):
        expected = {}
        for side in (3, 5, 7):
            reached = []
            for picture in pictures:
                clean = read_image(picture.clean[0]).pixels
                assert picture.seed[0] == 7
                seed = [*picture.seed, round(choice.condition.sigma_255 * 1000)]
                noisy = add_gaussian(clean, choice.condition.sigma_255, np.random.default_rng(seed))
                reached.append(psnr_db(clean, cv2.medianBlur(noisy, side)))
            expected[side] = np.mean(reached)
        assert {setting["ksize"]: value for setting, value in choice.tried} == pytest.approx(expected)
        assert choice.best.setting == {"ksize": max(expected, key=expected.get)}


def test_pictures_with_their_own_noise_need_no_level(tmp_path):
    clean = np.full((32, 32), 90, np.uint8)
    clean[:, 16:] = 160
    for name, pixels in (("clean", clean), ("noisy", add_gaussian(clean, 30, np.random.default_rng(0)))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    picture = Sample("it", (0,), (tmp_path / "clean.png",), tmp_path / "noisy.png")
    (choice,) = choose_settings("NLM", [None], [picture], gray=True)
    assert choice.condition.sigma_255 is None
    assert choice.best.setting["h"] >= 10
    assert len(choice.tried) == 16


def test_where_nothing_can_be_judged_there_is_no_setting(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG not really")
    (choice,) = choose_settings("median", [25.0], image_samples(tmp_path))
    assert choice.tried == []
    assert "broken.png" in choice.error


@pytest.mark.parametrize(("count", "every"), [(1, 1), (8, 1), (12, 2), (68, 8), (100, 12)])
def test_a_subset_is_about_as_large_as_wanted(count, every):
    assert _every(count, "images") == every
    assert 1 <= len(range(0, count, every)) <= 9
