from __future__ import annotations

import cv2
import numpy as np
import pytest

from quietframe.noise import add_gaussian
from quietframe_bench.classical import METHODS
from quietframe_bench.judging import Condition, choose, new_entry
from quietframe_bench.kinds.quality import QualitySettings
from quietframe_bench.rows import Run
from quietframe_bench.samples import Sample, image_samples


def choose_settings(method, sigmas_255, samples, *, gray=False):
    """The best setting of a method at each level."""
    grid, run = METHODS[method].settings(gray=gray), Run({})
    groups = [
        [new_entry(run, "images", method, Condition(sigma_255), method=method, setting=one) for one in grid]
        for sigma_255 in sigmas_255
    ]
    return choose(groups, samples)


def test_pictures_with_their_own_noise_need_no_level(tmp_path):
    clean = np.full((32, 32), 90, np.uint8)
    clean[:, 16:] = 160
    for name, pixels in (("clean", clean), ("noisy", add_gaussian(clean, 30, np.random.default_rng(0)))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
    picture = Sample("it", (0,), (tmp_path / "clean.png",), tmp_path / "noisy.png")
    (choice,) = choose_settings("NLM", [None], [picture], gray=True)
    assert choice.best.row.sigma_255 is None
    assert choice.best.row.setting["h"] >= 10
    assert len(choice.tried) == 16


def test_where_nothing_can_be_judged_there_is_no_setting(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG not really")
    (choice,) = choose_settings("median", [25.0], image_samples(tmp_path))
    assert choice.tried == []
    assert "broken.png" in choice.best.row.error


@pytest.mark.parametrize(("count", "every"), [(1, 1), (8, 1), (12, 2), (68, 8), (100, 12)])
def test_a_subset_is_about_as_large_as_wanted(count, every):
    assert QualitySettings("images").step(count) == every
