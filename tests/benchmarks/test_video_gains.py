"""What denoising saves a recorder and a motion detector."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

import quietframe as qf
from quietframe.assets import photo_bgr
from support.programs import load_program

pytest.importorskip("keras", reason="the simulated sensor needs the extra 'train'")


@pytest.fixture(scope="module")
def gains() -> ModuleType:
    return load_program("docs/research/video_gains.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sequence of three frames."""
    (tmp_path / "clips" / "pan").mkdir(parents=True)
    for index in range(3):
        cv2.imwrite(str(tmp_path / "clips" / "pan" / f"{index}.png"), photo_bgr()[: 3 * 64, index : index + 4 * 64])
    return tmp_path / "clips" / "pan"


def gray(frames: int, level: int) -> list[np.ndarray]:
    return [np.full((48, 64, 3), level, np.uint8)] * frames


@pytest.mark.skipif("video-nano" not in qf.builtin_models(), reason="video-nano is not built in")
def test_the_tables_of_a_small_sequence(gains, folder):
    options = ["--model", "video-nano", "--width", "128", "--frames", "4", "--seconds", "2"]
    done = CliRunner().invoke(gains.main, [str(folder), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = [line.strip("| ").split(" | ") for line in done.output.splitlines() if line.startswith("|")]
    heads = [row for row in rows if row[0] == "noise σ"]
    assert [len(head) for head in heads] == [7, 7, 6, 6, 6]
    assert [row[-4:] for row in heads] == [["noisy", "camera-small", heads[0][-2], "without noise"]] * 5
    rates = {tuple(row[:3]): [float(text) for text in row[3:]] for row in rows[2:14]}
    assert len(rates) == 12
    for noisy, single, video, clean in rates.values():
        assert clean < noisy
        assert max(single, video) < noisy
    again = CliRunner().invoke(gains.main, [str(folder), *options], catch_exceptions=False)
    assert again.output == done.output


def test_a_missing_model_is_an_error_of_one_line(gains, folder):
    done = CliRunner().invoke(gains.main, [str(folder), "--model", "nothing"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")


@pytest.mark.parametrize("tunes", [False, True])
def test_motion_is_found_where_enough_pixels_change_and_only_there(gains, tunes):
    second = gains.FPS
    still = gray(2 * second, 100)
    spot, figure = gray(1, 100)[0].copy(), gray(1, 100)[0].copy()
    spot[:3, :4] = 200  # 12 pixels of 3,072: 15 would be needed
    figure[10:20, 10:20] = 200
    found = gains.find_motion([*still, spot, figure, *still], tunes=tunes)
    assert np.flatnonzero(found).tolist() == [2 * second + 1]


def test_in_the_first_second_the_detector_only_tunes(gains):
    second = gains.FPS
    flashes = [frame for _ in range(second // 2) for frame in (*gray(1, 50), *gray(1, 200))]
    assert not gains.find_motion(flashes, tunes=True).any()


def test_what_stays_becomes_part_of_the_reference(gains):
    second = gains.FPS
    parked = gray(1, 100)[0].copy()
    parked[10:30, 10:30] = 200
    found = gains.find_motion([*gray(2 * second, 100), *[parked] * 13 * second], tunes=False)
    assert found[2 * second]
    assert found.sum() == pytest.approx(gains.STATIC_S * second, abs=3)


def test_tuning_finds_a_faint_figure_where_there_is_no_noise(gains):
    second = gains.FPS
    scene = gray(1, 100)[0]
    faint = scene.copy()
    faint[10:30, 10:30] += 25
    clip = [*[scene] * 4 * second, faint]
    assert [bool(gains.find_motion(clip, tunes=tunes)[-1]) for tunes in (False, True)] == [False, True]


def test_a_figure_walks_from_border_to_border(gains):
    scene = gray(1, 30)[0]
    clip = gains.walk(scene, 9)
    columns = [np.flatnonzero((frame != scene).any(axis=(0, 2))) for frame in clip]
    assert [len(each) > 0 for each in columns] == [False, *[True] * 7, False]
    middles = [each.mean() for each in columns[1:-1]]
    assert middles == sorted(middles)
