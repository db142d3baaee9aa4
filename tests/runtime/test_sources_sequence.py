"""Pictures as the frames of a video."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe.sources import open_source


@pytest.fixture
def shots(tmp_path):
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 20 * index, np.uint8))
    return tmp_path


@pytest.mark.parametrize("what", ["", "/*.png"])
def test_pictures_follow_each_other(shots, what):
    with open_source(f"sequence:12.5:{shots}{what}") as source:
        assert (source.moving, source.real_time, source.fps, source.frame_count) == (True, False, 12.5, 6)
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(6))
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [0, 20, 40, 60, 80, 100]


@pytest.mark.parametrize("options", [(), ("--single-frame",)])
def test_16_bits_stay_in_numbered_images_and_no_video_takes_them(tmp_path, cli, options):
    cv2.imwrite(str(tmp_path / "0.png"), np.full((48, 64, 3), 40_001, np.uint16))
    args = ("denoise", f"sequence:10:{tmp_path}/?.png", "-m", "camera-nano.fp32.onnx", "--strength", 0, *options)
    assert cli(*args, "-o", tmp_path / "out/%02d.png").code == 0
    assert (cv2.imread(str(tmp_path / "out/00.png"), cv2.IMREAD_UNCHANGED) == 40_001).all()
    result = cli(*args, "-o", tmp_path / "a.mkv")
    assert "pass --to-8bit" in result.err and not (tmp_path / "a.mkv").exists()
    assert cli(*args, "-o", tmp_path / "a.mkv", "--to-8bit").code == 0


def test_a_broken_picture_is_left_out(shots):
    (shots / "2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with open_source(f"sequence:10:{shots}") as source:
        frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert len(source.failures) == 1
    assert "2.png" in source.failures[0]


def test_a_sequence_becomes_a_video(shots, cli, denoiser_file):
    out = shots / "a.mkv"
    assert cli("denoise", f"sequence:10:{shots}/*.png", "-o", out, "-m", denoiser_file).code == 0
    with open_source(out) as written:
        assert (written.fps, written.frame_count) == (10, 6)


@pytest.mark.parametrize("spec", ["sequence:", "sequence:x:{}", "sequence:0:{}", "sequence:nan:{}", "sequence:{}"])
def test_the_frame_rate_comes_first(shots, spec):
    with pytest.raises(SourceError, match="expected a frame rate"):
        open_source(spec.format(shots))


def test_pictures_that_are_not_there(tmp_path):
    with pytest.raises(SourceError, match=r"no such folder or images: expected sequence:25:shots/\*\.png"):
        open_source(f"sequence:25:{tmp_path}/nowhere")
