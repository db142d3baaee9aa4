from __future__ import annotations

import cv2
import numpy as np
import pytest

from quietframe.images import read_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.candidates import ImageSettings, TestImage
from quietframe_bench.kinds.baselines import choose_settings, every_for
from quietframe_bench.rows import Run


def test_the_setting_with_the_greatest_mean_psnr_is_chosen(picture_folder):
    pictures = ImageSettings(picture_folder).images()[::2]
    first, second = choose_settings(Run({}), ["median"], [5.0, 40.0], pictures, gray=False, seed=7)
    assert [(choice.method, choice.sigma_255, choice.images) for choice in (first, second)] == [
        ("median", 5, 2),
        ("median", 40, 2),
    ]
    for choice in (first, second):
        expected = {}
        for side in (3, 5, 7):
            reached = []
            for picture in pictures:
                clean = read_image(picture.clean).pixels
                seed = [7, picture.index, round(choice.sigma_255 * 1000)]
                noisy = add_gaussian(clean, choice.sigma_255, np.random.default_rng(seed))
                reached.append(psnr_db(clean, cv2.medianBlur(noisy, side)))
            expected[side] = np.mean(reached)
        assert {setting["ksize"]: value for setting, value in choice.tried} == pytest.approx(expected)
        assert choice.setting == {"ksize": max(expected, key=expected.get)}


def test_pictures_with_their_own_noise_need_no_level(tmp_path):
    clean = np.full((32, 32), 90, np.uint8)
    clean[:, 16:] = 160
    for name, pixels in (("clean", clean), ("noisy", add_gaussian(clean, 30, np.random.default_rng(0)))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    picture = TestImage("it", 0, tmp_path / "clean.png", tmp_path / "noisy.png")
    (choice,) = choose_settings(Run({}), ["NLM"], [None], [picture], gray=True)
    assert choice.sigma_255 is None
    assert choice.setting["h"] >= 10
    assert len(choice.tried) == 16


def test_where_nothing_can_be_judged_there_is_no_setting(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG not really")
    (choice,) = choose_settings(
        Run({}), ["median"], [25.0], [TestImage("broken.png", 0, tmp_path / "broken.png")], gray=False
    )
    assert choice.setting is None
    assert "broken.png" in choice.error


@pytest.mark.parametrize(("count", "every"), [(1, 1), (8, 1), (12, 2), (68, 8), (100, 12)])
def test_a_subset_is_about_as_large_as_wanted(count, every):
    assert every_for(count, 8) == every
    assert 1 <= len(range(0, count, every)) <= 9
