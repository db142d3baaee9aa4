from __future__ import annotations

import cv2
import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.classical import METHODS, ClassicalDenoiser
from quietframe_bench.kinds.quality import LEVELS_255, QualitySettings, quality, tables

SCENES = ("desk", "door", "plant", "toy")


@pytest.fixture
def pair_folder(tmp_path):
    """Eight pairs of four scenes; the noisy ones are 10 levels darker, too."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for index, scene in enumerate(SCENES):
        for number in range(2):
            y, x = np.mgrid[0:40, 0:48]
            clean = np.stack([60 + x * 2, 90 + y * 2, 80 + x + y + 5 * index], axis=2).astype(np.uint8)
            noisy = add_gaussian(clean - 10, 3, np.random.default_rng([index, number]))
            cv2.imwrite(str(folder / f"Cam_100_{scene}_{number}_mean.png"), clean)
            cv2.imwrite(str(folder / f"Cam_100_{scene}_{number}_real.png"), noisy)
    return folder


def measured(models, folder, **settings):
    """The rows by name, and the summary."""
    *rows, summary = quality(folder, models, QualitySettings("pairs", **settings))
    return {row.candidate: row for row in rows}, summary


def read(folder, pair):
    return [cv2.imread(str(folder / f"{pair}_{end}.png")) for end in ("mean", "real")]


def test_figures_are_those_of_the_half_to_report_on(pair_folder, blur_file):
    rows, summary = measured([blur_file], pair_folder)
    assert list(rows) == ["noisy input", blur_file.name]  # it takes no level: there is none to choose
    reported = summary.details["report"]
    assert len(reported) == 4
    assert list(rows[blur_file.name].by_sample) == list(rows["noisy input"].by_sample) == reported
    denoise = Denoiser(blur_file)
    pairs = [read(pair_folder, name) for name in reported]
    assert rows["noisy input"].psnr_db == pytest.approx(np.mean([psnr_db(*pair) for pair in pairs]))
    expected = np.mean([psnr_db(clean, denoise(noisy)) for clean, noisy in pairs])
    assert rows[blur_file.name].psnr_db == pytest.approx(expected)
    assert not [failure for row in rows.values() for failure in row.failures()]
    # Gains count pair by pair.
    noisy, row = rows.values()
    gains = {name: of["psnr_db"] - noisy.by_sample[name]["psnr_db"] for name, of in row.by_sample.items()}
    assert row.gain_db == pytest.approx(np.mean(list(gains.values())))
    assert row.gain_db == pytest.approx(row.psnr_db - noisy.psnr_db)
    assert row.worst_gain_db == gains[row.worst_sample] == min(gains.values())
    assert row.gaining_share == np.mean([gain > 0 for gain in gains.values()])
    assert noisy.gain_db is None
    row.gaining_share, row.worst_gain_db = 0.75, -1.25
    cells = {column.head: column.cell(row).text for column in tables([noisy, row, summary])[0].columns}
    assert (cells["gaining"], cells["worst dB"], cells["worst pair"]) == ("75%", "-1.25", row.worst_sample)


def test_the_constant_level_is_chosen_on_the_other_half(pair_folder, denoiser_file):
    # This model adds the level that it is given: 10 makes up for the darkness, the estimate does not.
    rows, summary = measured([denoiser_file], pair_folder)
    constant = rows[f"{denoiser_file.name}, constant level 10"]
    (level,) = summary.details["choices"]
    assert sorted(one["sigma_255"] for one, _ in level["tried"]) == sorted(LEVELS_255)
    denoise = Denoiser(denoiser_file, sigma_255=10)
    for half, reached in (("choose", level["tried"][0][1]), ("report", constant.psnr_db)):
        pairs = [read(pair_folder, name) for name in summary.details[half]]
        assert reached == pytest.approx(np.mean([psnr_db(clean, denoise(noisy)) for clean, noisy in pairs]))
    assert constant.psnr_db > rows[denoiser_file.name].psnr_db + 3


def test_methods_get_the_setting_that_is_best_on_the_other_half(pair_folder, blur_file):
    rows, summary = measured([blur_file], pair_folder, baselines=("bilateral",), every=2)
    (choice,) = summary.details["choices"]
    assert choice["samples"] == 2
    assert list(rows)[-2:] == ["bilateral, best setting", "bilateral, textbook"]
    best = rows["bilateral, best setting"]
    assert best.setting == choice["tried"][0][0]
    denoise = ClassicalDenoiser("bilateral", best.setting, threads=1)
    pairs = [read(pair_folder, name) for name in summary.details["report"]]
    assert best.psnr_db == pytest.approx(np.mean([psnr_db(clean, denoise(noisy)) for clean, noisy in pairs]))
    notes = " ".join(summary.notes)
    assert METHODS["bilateral"].grid_text in notes
    assert "on 2 of the pairs to choose on" in notes
    assert all(scene in notes for scene in SCENES)


def test_what_fails_is_a_failed_row_and_the_others_go_on(pair_folder, blur_file, bad_file):
    first = measured([blur_file], pair_folder)[1].details["report"][0]
    cv2.imwrite(str(pair_folder / f"{first}_real.png"), np.zeros((20, 20, 3), np.uint8))
    results = quality(pair_folder, [bad_file, blur_file], QualitySettings("pairs"))
    rows = {row.candidate: row for row in results[:-1]}
    assert "not a LiteRT model" in rows["bad.tflite"].error
    assert len(rows[blur_file.name].by_sample) == 3
    assert len(results.failures) == 2
    assert any(first in failure and "one shape" in failure for failure in results.failures)


def test_gray_pairs_are_judged_as_gray_frames(tmp_path, blur_file):
    clean = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) + 60
    noisy = add_gaussian(clean, 10, np.random.default_rng(0))
    for scene in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{scene}_mean.png"), clean)
        cv2.imwrite(str(tmp_path / f"{scene}_real.png"), noisy)
    rows, summary = measured([blur_file], tmp_path, baselines=("NLM",))
    assert rows[blur_file.name].psnr_db == pytest.approx(psnr_db(clean, Denoiser(blur_file)(noisy)))
    assert "hColor" not in summary.details["choices"][0]["tried"][0][0]
