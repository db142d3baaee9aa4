from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.camera_quality import LEVELS_255, PairsSettings, measure_pairs
from quietframe_bench.classical import METHODS, ClassicalDenoiser
from quietframe_bench.pairs_report import notes, pairs_record, pairs_tables, row_record

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


def read(folder, pair):
    return [cv2.imread(str(folder / f"{pair}_{end}.png")) for end in ("mean", "real")]


def test_figures_are_those_of_the_half_to_report_on(pair_folder, blur_file):
    found = measure_pairs([blur_file], PairsSettings(pair_folder))
    rows = {row.name: row for row in found.rows}
    assert list(rows) == ["noisy input", blur_file.name]  # it is not told a level: there is none to choose
    reported = [pair.name for pair in found.halves.report]
    assert len(reported) == 4
    assert list(rows[blur_file.name].figures) == list(rows["noisy input"].figures) == reported
    denoise = Denoiser(blur_file)
    pairs = [read(pair_folder, name) for name in reported]
    assert rows["noisy input"].mean("psnr_db") == pytest.approx(np.mean([psnr_db(*pair) for pair in pairs]))
    expected = np.mean([psnr_db(clean, denoise(noisy)) for clean, noisy in pairs])
    assert rows[blur_file.name].mean("psnr_db") == pytest.approx(expected)
    assert not found.failures()


def test_gains_count_pair_by_pair(pair_folder, blur_file):
    found = measure_pairs([blur_file], settings := PairsSettings(pair_folder))
    spoiled = found.halves.report[1].name
    row = found.rows[1]
    before = {name: of["psnr_db"] for name, of in found.rows[0].figures.items()}
    row.figures[spoiled]["psnr_db"] = before[spoiled] - 1.25
    gains = found.gains(row)
    assert gains.gain_db == pytest.approx(row.mean("psnr_db") - found.rows[0].mean("psnr_db"))
    assert (gains.gaining_share, gains.worst_pair) == (0.75, spoiled)
    assert gains.worst_gain_db == pytest.approx(-1.25)
    assert found.gains(found.rows[0]) is None
    assert row_record(found, row)["worst_pair"] == spoiled
    table = pairs_tables(found, settings)[0]
    cells = {column.header: list(column.cells)[1] for column in table.columns}
    assert (cells["gaining"], cells["worst dB"], cells["worst pair"]) == ("75%", "-1.25", spoiled)


def test_the_constant_level_is_chosen_on_the_other_half(pair_folder, denoiser_file):
    # This model adds the level that it is told: 10 makes up for the darkness, the estimate does not.
    found = measure_pairs([denoiser_file], PairsSettings(pair_folder))
    estimated, constant = found.rows[1:]
    assert constant.name == f"{denoiser_file.name}, constant level 10"
    (level,) = found.levels
    assert sorted(level_255 for level_255, _ in level.tried) == sorted(LEVELS_255)
    denoise = Denoiser(denoiser_file, sigma_255=10)
    for half, reached in ((found.halves.choose, level.tried[0][1]), (found.halves.report, constant.mean("psnr_db"))):
        pairs = [read(pair_folder, pair.name) for pair in half]
        assert reached == pytest.approx(np.mean([psnr_db(clean, denoise(noisy)) for clean, noisy in pairs]))
    assert constant.mean("psnr_db") > estimated.mean("psnr_db") + 3


def test_methods_get_the_setting_that_is_best_on_the_other_half(pair_folder, blur_file):
    settings = PairsSettings(pair_folder, methods=("bilateral",), every=2)
    found = measure_pairs([blur_file], settings)
    (choice,) = found.choices
    assert choice.images == 2
    best, textbook = found.rows[-2:]
    assert (best.name, textbook.name) == ("bilateral, best setting", "bilateral, textbook")
    assert best.contender.setting == choice.setting
    denoise = ClassicalDenoiser("bilateral", choice.setting, threads=1)
    pairs = [read(pair_folder, pair.name) for pair in found.halves.report]
    assert best.mean("psnr_db") == pytest.approx(np.mean([psnr_db(clean, denoise(noisy)) for clean, noisy in pairs]))
    said = " ".join(notes(found, settings))
    assert METHODS["bilateral"].grid_says in said
    assert "on 2 of the pairs to choose on" in said
    assert all(scene in said for scene in SCENES)
    json.dumps(pairs_record(found, settings))


def test_what_fails_is_a_failed_row_and_the_others_go_on(pair_folder, blur_file, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    first = measure_pairs([], PairsSettings(pair_folder)).halves.report[0]
    cv2.imwrite(str(first.noisy), np.zeros((20, 20, 3), np.uint8))
    found = measure_pairs([bad, blur_file], PairsSettings(pair_folder))
    rows = {row.name: row for row in found.rows}
    assert "not a LiteRT model" in rows["bad.tflite"].error
    assert len(rows[blur_file.name].figures) == 3
    failures = found.failures()
    assert len(failures) == 2
    assert any(first.name in failure and "one shape" in failure for failure in failures)


def test_gray_pairs_are_judged_as_gray_frames(tmp_path, blur_file):
    clean = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) + 60
    noisy = add_gaussian(clean, 10, np.random.default_rng(0))
    for scene in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{scene}_mean.png"), clean)
        cv2.imwrite(str(tmp_path / f"{scene}_real.png"), noisy)
    found = measure_pairs([blur_file], PairsSettings(tmp_path, methods=("NLM",)))
    assert found.rows[1].mean("psnr_db") == pytest.approx(psnr_db(clean, Denoiser(blur_file)(noisy)))
    assert "hColor" not in found.choices[0].setting
