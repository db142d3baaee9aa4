from __future__ import annotations

import resource
import subprocess
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe import OutputError, open_source, read_image
from quietframe.demo import Demo, PanSource, run_demo
from quietframe.quality import psnr_db
from quietframe.zoo import ALIASES
from support.process import run_python

LIMIT_S = 30

# A demonstration that reached for the network would fail.
OFFLINE = """
import socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the demonstration used the network")
socket.socket.connect = socket.getaddrinfo = refuse
import quietframe.demo
{change}
from quietframe.cli import main
main(sys.argv[1:])
"""


def demo(folder: Path, *args: str, change: str = "") -> subprocess.CompletedProcess[str]:
    return run_python("-c", OFFLINE.format(change=change), "demo", "-o", folder, *args, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "made" / "anew"


@pytest.fixture(scope="module")
def result(folder: Path) -> Demo:
    return run_demo(folder)


def decibels(text: str) -> float:
    value, unit = text.split()
    assert unit == "dB"
    return float(value)


def test_the_camera_model_cleans_the_photograph_and_the_clip(result):
    for row, model in zip(result.rows, (f"{ALIASES[alias]} int8" for alias in ("camera", "video")), strict=False):
        assert row.model == model
        assert decibels(row.after) > decibels(row.before) + 5


def test_the_digits_are_read_better_behind_the_denoiser(result):
    denoised, read = result.rows[2:]
    assert decibels(denoised.after) > decibels(denoised.before) + 5
    assert int(read.after.split(" of ")[0]) > int(read.before.split(" of ")[0])


def test_rows_derive_their_figures_from_the_samples(result):
    assert len(result.rows[1].samples_ms) == 60
    for row in result.rows:
        assert 0 < min(row.samples_ms) <= row.p50_ms <= row.p95_ms <= max(row.samples_ms)
        assert row.fps == pytest.approx(1000 / np.mean(row.samples_ms))
        assert row.model_bytes > 0


def test_the_table_fits_80_columns_with_all_its_figures(result, monkeypatch, cli):
    monkeypatch.setattr("quietframe.demo.run_demo", lambda folder, *, overwrite: result)
    monkeypatch.setattr("quietframe.cli.terminal.PIPE_WIDTH", 80)
    _, out, _ = cli("demo")
    lines = out.partition("peak memory")[0].splitlines()
    assert all(len(line) <= 80 for line in lines)
    rows = [line for line in lines if " dB " in line or " of 40 " in line]
    assert len(rows) == len(result.rows)
    for line, row in zip(rows, result.rows, strict=True):
        shown = f"{row.model_bytes / 1000:.0f} {row.before} {row.after} {row.p50_ms:.2f} {row.p95_ms:.2f} {row.fps:.0f}"
        assert " ".join(line.split()).endswith(shown)


def test_the_image_shows_noisy_and_clean(result, folder):
    picture = read_image(folder / "before-after.png").bgr
    assert picture.shape[1] == 1028
    assert picture.shape[0] > 1200
    caption = 34
    noisy, clean = picture[caption : caption + 512, :512], picture[caption : caption + 512, 516:]
    assert psnr_db(np.ascontiguousarray(noisy), np.ascontiguousarray(clean)) > 15  # the same photograph
    assert cv2.Laplacian(noisy, cv2.CV_64F).std() > 2 * cv2.Laplacian(clean, cv2.CV_64F).std()


def test_the_clip_has_all_frames_side_by_side(result, folder):
    if folder / "clip.mp4" not in result.files:
        pytest.skip(f"this OpenCV writes no MPEG-4: {result.notes}")
    with open_source(folder / "clip.mp4") as clip:
        frames = list(clip)
        assert clip.fps == pytest.approx(30)
    assert len(frames) == 60
    assert frames[0].bgr.shape == (360, 964, 3)


def test_files_that_exist_are_not_replaced_unasked(result, folder):
    before = {path: path.read_bytes() for path in result.files}
    with pytest.raises(OutputError, match="--overwrite"):
        run_demo(folder)
    assert {path: path.read_bytes() for path in result.files} == before


def test_the_noise_is_the_same_in_every_run_and_new_in_every_frame():
    first, second = (next(iter(PanSource())) for _ in range(2))
    assert np.array_equal(first.pixels, second.pixels)
    frames = list(islice(PanSource(), 5))
    noises = [frame.pixels.astype(int) - frame.clean for frame in frames]
    assert not any(np.array_equal(noise, noises[0]) for noise in noises[1:])
    assert all(frame.pixels.shape == (360, 480, 3) for frame in frames)


def test_the_command_prints_one_table_in_time_and_without_network(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = demo(tmp_path / "out")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < LIMIT_S, "of processor time"
    assert done.returncode == 0, done.stderr
    for text in ("p50 ms", "p95 ms", "fps", "kB", "peak memory", "photograph, 512x512", "clip, 480x360, 60 frames"):
        assert text in done.stdout
    assert "40 digits, denoised" in done.stdout
    for path in done.stdout.split("\n")[-3:-1]:
        assert Path(path).is_file()
    assert demo(tmp_path / "out").returncode == 2


NO_ENCODER = """
def refuse(*args, **kwargs):
    raise quietframe.demo.OutputError("clip.mp4: cannot be written: no encoder")
quietframe.demo.open_sink = refuse
quietframe.demo._CLIP_FRAMES, quietframe.demo._PHOTO_RUNS = 3, 1
"""


def test_without_a_video_encoder_the_rest_is_done(tmp_path):
    (tmp_path / "before-after.png").touch()
    done = demo(tmp_path, "--overwrite", change=NO_ENCODER)
    assert done.returncode == 0, done.stderr
    assert "clip, 480x360, 3 frames" in done.stdout
    assert [(path.name, path.stat().st_size > 0) for path in tmp_path.iterdir()] == [("before-after.png", True)]
    assert "clip.mp4: cannot be written" in done.stderr


def test_an_output_that_is_a_file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(OutputError, match="file"):
        run_demo(path)
