"""The sheet of enlarged details."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import quietframe as qf
from quietframe.errors import UsageError
from quietframe.images import Image, write_image
from quietframe.noise import add_gaussian
from quietframe.quality import psnr_db
from quietframe_bench.classical import METHODS
from quietframe_bench.judging import Condition, add_noise
from support.programs import load_program

crop_sheet = load_program("docs/research/crop_sheet.py")
Crop, main = crop_sheet.Crop, crop_sheet.main
make_format_rows, make_rows = crop_sheet.make_format_rows, crop_sheet.make_rows

SIDE = 32


def write_photo(path: Path, pixels: np.ndarray) -> Path:
    write_image(path, Image(pixels))
    return path


@pytest.fixture
def photo(photo_bgr: np.ndarray, tmp_path: Path) -> Path:
    return write_photo(tmp_path / "photo.png", photo_bgr)


@pytest.fixture
def photo_bgr() -> np.ndarray:
    from quietframe.assets import photo_bgr

    return np.ascontiguousarray(photo_bgr()[100:164, 200:296])


def test_every_cell_is_the_detail_of_a_whole_denoised_picture(photo, photo_bgr, blur_file):
    (row,) = make_rows([Crop(photo, 40, 20, "corner")], [blur_file], sigma_255=25, side=SIDE)
    cut = slice(20, 52), slice(40, 72)
    noisy = add_gaussian(photo_bgr, 25, np.random.default_rng((0, 0)))
    blurred = qf.Denoiser(blur_file)(noisy)
    (_, clean_cell), (noisy_says, noisy_cell), (_, nlm_cell), (blur_says, blur_cell) = row.cells
    np.testing.assert_array_equal(clean_cell, photo_bgr[cut])
    np.testing.assert_array_equal(noisy_cell, noisy[cut])
    np.testing.assert_array_equal(blur_cell, blurred[cut])
    assert psnr_db(photo_bgr[cut], nlm_cell) > psnr_db(photo_bgr[cut], noisy_cell) + 1
    assert (noisy_says, blur_says) == tuple(f"{psnr_db(photo_bgr, one):.1f} dB" for one in (noisy, blurred))


def test_a_noisy_photograph_is_shown_as_it_is_beside_the_mean_of_many_shots(photo, photo_bgr, tmp_path):
    noisy = add_gaussian(photo_bgr, 12, np.random.default_rng(1))
    alone = write_photo(tmp_path / "alone.png", noisy)
    real = write_photo(tmp_path / "desk_real.png", noisy)
    write_photo(tmp_path / "desk_mean.png", photo_bgr)
    crops = [Crop(path, 0, 0, "x", noisy=True) for path in (alone, real)]
    lonely, paired = make_rows([*crops, Crop(photo, 0, 0, "clean")], [], sigma_255=25, side=SIDE)[:2]
    assert lonely.cells[0] == ("", None)
    assert [says for says, _ in lonely.cells] == ["", "", ""]
    np.testing.assert_array_equal(paired.cells[0][1], photo_bgr[:SIDE, :SIDE])
    assert paired.cells[1][0] == f"{psnr_db(photo_bgr, noisy):.1f} dB"
    for row in (lonely, paired):
        np.testing.assert_array_equal(row.cells[1][1], noisy[:SIDE, :SIDE])


def test_every_format_is_a_row_and_bilateral_is_at_its_best(photo, photo_bgr, blur_file):
    names = ["jpeg-80-420", "yuyv-422"]
    rows = make_format_rows([Crop(photo, 40, 20, "corner")], [blur_file], names, sigma_255=25, side=SIDE)
    assert [row.label for row in rows] == ["corner, jpeg-80-420", "corner, yuyv-422"]
    cut = slice(20, 52), slice(40, 72)
    for row, name in zip(rows, names, strict=True):
        frame = add_noise(photo_bgr, Condition(25, name), [0, 0])
        reached = [psnr_db(photo_bgr, METHODS["bilateral"].frame(frame, one, 1)) for one in METHODS["bilateral"].grid]
        blurred = qf.Denoiser(blur_file)(frame)
        delivered, bilateral, blur, (_, clean_cell) = row.cells
        np.testing.assert_array_equal(delivered[1], frame[cut])
        np.testing.assert_array_equal(blur[1], blurred[cut])
        np.testing.assert_array_equal(clean_cell, photo_bgr[cut])
        expected = [
            f"{value:.1f} dB" for value in (psnr_db(photo_bgr, frame), max(reached), psnr_db(photo_bgr, blurred))
        ]
        assert [delivered[0], bilateral[0], blur[0]] == expected


@pytest.mark.parametrize("more", [["--noisy", "{photo}@10,8"], ["--format", "rgb", "--format", "h264-28"]])
def test_the_sheet_is_written(photo, denoiser_file, tmp_path, more):
    out = tmp_path / "sheet.png"
    arguments = [str(out), str(denoiser_file), "--crop", f"{photo}@0,0@hair", "--side", str(SIDE)]
    result = CliRunner().invoke(main, [*arguments, *(text.format(photo=photo) for text in more)])
    assert result.exit_code == 0, result.output
    height, width = qf.read_image(out).bgr.shape[:2]
    assert width > 700 > height > 300


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give --crop or --noisy"),
        (["--crop", "photo.png"], "Expected FILE@LEFT,TOP"),
        (["--crop", "photo.png@3"], "Expected FILE@LEFT,TOP"),
        (["--crop", "nowhere.png@0,0"], "nowhere.png"),
        (["--crop", "photo.png@0,0", "--noisy", "photo.png@0,0", "--format", "rgb"], "give --crop, not --noisy"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["sheet.png", *arguments])
    assert result.exit_code == 1
    assert says in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "sheet.png").exists()


def test_a_detail_beyond_the_picture_is_refused(photo):
    with pytest.raises(UsageError, match=r"32×32 at 80,0 is not within 96×64"):
        make_rows([Crop(photo, 80, 0, "x")], [], sigma_255=25, side=SIDE)
