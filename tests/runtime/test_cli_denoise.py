"""`quietframe denoise`, run as a user runs it, on input that is good and input that is not."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quietframe.images import read_image
from quietframe.sources import open_source
from support.images import files_below, write_image
from support.terminal import read_terminal

Cli = Callable[..., Any]

SCENE = "test:?size=64x48&fps=12.5&frames=20&sigma=20"


def picture(path: Path) -> Path:
    """Write an image of smooth levels from 60 to 180."""
    return write_image(path, np.linspace(60, 180, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8))


def command(*args: object) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-m", "quietframe", *map(str, args)]


def frame_count(path: Path) -> int:
    with open_source(path) as written:
        return len(list(written))


# Good input


def test_a_picture(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    source = picture(tmp_path / "photo.png")
    result = cli("denoise", source, "-m", denoiser_file, "--sigma", 10)
    assert (result.code, result.out) == (0, "")
    assert len(result.error_lines) == 1
    assert "1 frame, " in result.error_lines[0] and "photo.denoised.png" in result.error_lines[0]
    before, after = read_image(source).pixels, read_image(tmp_path / "photo.denoised.png").pixels
    np.testing.assert_array_equal(after, before + 10)  # what this model does with a level of 10


@pytest.mark.parametrize(
    ("options", "added"),
    [
        (("--sigma", 10, "--strength", 2, "--threads", 2), 20),
        (("--strength", 0), 0),
        # This model makes a frame brighter, by which its colours stay.
        (("--sigma", 20, "--luma-strength", 0.25), 5),
        (("--sigma", 20, "--chroma-strength", 0.25), 20),
    ],
)
def test_the_options_reach_the_model(
    tmp_path: Path, cli: Cli, denoiser_file: Path, options: tuple[object, ...], added: int
) -> None:
    source, out = picture(tmp_path / "photo.png"), tmp_path / "out.png"
    assert cli("denoise", source, "-o", out, "-m", denoiser_file, *options).code == 0
    np.testing.assert_array_equal(read_image(out).pixels, read_image(source).pixels + added)


def test_luma_strength_of_a_live_source(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    frames = {}
    for name, options in (("full", ()), ("quarter", ("--luma-strength", 0.25)), ("none", ("--luma-strength", 0))):
        out = tmp_path / name / "%02d.png"
        args = ("denoise", "test:", "-o", out, "-m", denoiser_file, "--sigma", 20, "--every-frame", "--frames", 1)
        assert cli(*args, *options).code == 0
        (path,) = (tmp_path / name).iterdir()
        frames[name] = read_image(path).pixels.astype(float)
    assert np.median(frames["quarter"] - frames["none"]) == pytest.approx(5, abs=1)
    assert np.median(frames["full"] - frames["none"]) == pytest.approx(20, abs=1)


def test_16_bits_are_reduced_on_request(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    deep = write_image(tmp_path / "deep.png", np.full((8, 8, 3), 90 * 257, np.uint16))
    check_refused(cli("denoise", deep, "-m", denoiser_file), "--to-8bit")
    assert cli("denoise", deep, "-m", denoiser_file, "--sigma", 10, "--to-8bit").code == 0
    assert (read_image(tmp_path / "deep.denoised.png").pixels == 100).all()


def test_a_video_keeps_its_size_rate_and_count(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    clip = tmp_path / "clip.mp4"
    result = cli("denoise", SCENE, "-o", clip, "-m", denoiser_file)
    assert (result.code, result.out) == (0, "") and "20 frames" in result.error_lines[-1]
    result = cli("denoise", clip, "-m", denoiser_file)
    assert result.code == 0 and len(result.error_lines) == 1
    with open_source(tmp_path / "clip.denoised.mp4") as written:
        assert (written.size_wh, written.fps, written.frame_count) == ((64, 48), 12.5, 20)


def test_frames_stops_early(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    endless = "test:?size=64x48&frames=0"
    assert cli("denoise", endless, "--frames", 7, "-o", tmp_path / "a.mp4", "-m", denoiser_file).code == 0
    assert frame_count(tmp_path / "a.mp4") == 7


def test_json_has_the_figures_with_units(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    spec = "test:?size=640x480&frames=5&sigma=25"
    result = cli("denoise", spec, "-o", tmp_path / "a.mp4", "-m", denoiser_file, "--json")
    assert result.code == 0
    record = json.loads(result.out)
    assert (record["source"], record["output"], record["frames"]) == (spec, str(tmp_path / "a.mp4"), 5)
    assert 0 < record["denoise_p50_ms"] <= record["denoise_p95_ms"] < 1000 * record["wall_s"]
    assert 22 < record["noise_p50_sigma_255"] < 28
    assert record["failures"] == []


def test_the_summary_names_every_place(tmp_path: Path, denoiser_file: Path) -> None:
    places = ["-", "udp://127.0.0.1:9", tmp_path / "a.mkv", tmp_path / "b%d.png", "null"]
    args = command("denoise", SCENE, "-m", denoiser_file, *(part for place in places for part in ("-o", place)))
    done = subprocess.run(args, capture_output=True, check=True, timeout=60)
    expected = f"; written to standard output and udp://127.0.0.1:9 and {tmp_path}/a.mkv and {tmp_path}/b%d.png\n"
    assert done.stderr.decode().endswith(expected)
    assert done.stdout.startswith(b"\x47")  # MPEG-TS


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    source = picture(tmp_path / "a.png").rename(tmp_path / "\x1b[31m\n\a.png")
    result = cli("denoise", source, "-m", denoiser_file)
    assert (result.code, len(result.error_lines)) == (0, 1)
    assert result.error_lines[0].endswith(r"\x1b[31m\n\x07.denoised.png")


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path, denoiser_file: Path) -> None:
    args = command("denoise", SCENE, "-o", tmp_path / "a.mp4", "--overwrite", "-m", denoiser_file)
    piped = subprocess.run(args, capture_output=True, check=True, timeout=60)
    assert b"denoising" not in piped.stderr and len(piped.stderr.splitlines()) == 1
    ours, theirs = pty.openpty()
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(theirs)
        shown = read_terminal(ours)
        assert process.wait(timeout=60) == 0
    assert "denoising" in shown and "20 frames" in shown


@pytest.mark.parametrize("shape", [(60, 90, 3), (90, 60)])
def test_a_model_of_one_size_says_once_that_detail_is_lost(
    tmp_path: Path, cli: Cli, make_model: Callable[..., Path], shape: tuple[int, ...]
) -> None:
    model = make_model("fixed", size_hw=(16, 24), offset_255=5)
    for index in range(3):
        write_image(tmp_path / f"my shots/{index}.png", 90, shape)
    result = cli("denoise", tmp_path / "my shots", "-m", model)
    warning, summary = result.error_lines
    assert result.code == 0 and "3 frames" in summary
    assert f"warning: tiny-denoise works at 24x16: an image of {shape[1]}x{shape[0]} comes back" in warning
    for index in range(3):
        clean = read_image(tmp_path / f"my shots-denoised/{index}.png").pixels
        assert clean.shape == shape and (clean == 95).all()


@pytest.mark.parametrize("fields", [{"size_hw": (16, 24)}, {"size_hw": (8, 8), "fit": "tile"}, {"blur": True}])
def test_nothing_is_said_where_no_detail_is_lost(
    tmp_path: Path, cli: Cli, make_model: Callable[..., Path], fields: dict[str, Any]
) -> None:
    source = write_image(tmp_path / "a.png", shape=(16, 24, 3))
    assert len(cli("denoise", source, "-m", make_model(**fields)).error_lines) == 1


def test_a_model_without_a_card_runs_with_one(
    tmp_path: Path, cli: Cli, make_model: Callable[..., Path], tiny_models: ModuleType
) -> None:
    source = picture(tmp_path / "photo.png")
    model = make_model("bare", carries_card=False, offset_255=5)
    card = tmp_path / "card.json"
    card.write_text(tiny_models.TinyModel(offset_255=5).card().to_json())
    assert cli("denoise", source, "-m", model, "--card", card).code == 0
    np.testing.assert_array_equal(read_image(tmp_path / "photo.denoised.png").pixels, read_image(source).pixels + 5)
    card.write_text("{}")
    check_refused(cli("denoise", source, "-m", model, "--card", card, "--overwrite"), "model card format None")
    check_refused(cli("denoise", source, "-m", model, "--card", tmp_path / "no.json", "--overwrite"), "no.json")


# Input that is no use: one line, exit code 2, nothing written. What is refused is the business of the tests of sources,
# sinks and models.


def check_refused(result: Any, says: str) -> None:
    """One line that says it, exit code 2, and nothing on stdout."""
    assert (result.code, result.out, len(result.error_lines)) == (2, "", 1), result
    assert result.error_lines[0].startswith("quietframe: error: ")
    assert says in result.error_lines[0]


@pytest.mark.parametrize(
    ("source", "options", "says"),
    [
        ("text.png", [], "text.png: not an image"),
        ("missing.png", [], "no such file"),
        ("7431", [], "no such camera"),
        ("ftp://me:secret@10.0.0.9/x", [], "expected http://"),
        ("rtsp://me:secret@127.0.0.1:9/x", [], "Connection refused"),
        ("test:", [], "-o OUT"),
        ("photo.png", ["-m", "text.tflite"], "not a LiteRT model"),
        ("photo.png", ["-m", "camera-nno"], "did you mean 'camera"),
        ("photo.png", ["-m", "{bare}"], "--card"),
        ("photo.png", ["-m", "{classifier}"], "cannot denoise, it is a model to classify"),
        ("photo.png", ["-m", "{blur}", "--sigma", "25"], "leave sigma_255 (--sigma) out"),
        ("photo.png", ["b.png", "c.png"], "expected one SOURCE, received 3: name the folder"),
        ("photo.png", ["--sigma", "500"], "sigma_255"),
        ("photo.png", ["--strength", "nan"], "strength"),
        ("photo.png", ["--luma-strength", "2"], "luma_strength"),
        ("photo.png", ["--chroma-strength", "-1"], "chroma_strength"),
        ("photo.png", ["--threads", "0"], "--threads"),
        ("photo.png", ["--frames", "0"], "--frames"),
        ("photo.png", ["--show"], "--show"),
        ("photo.png", ["--colour", "red"], "--colour"),
        ("photo.png", ["--codec", "hevc"], "--codec is for videos, and none is written"),
        ("photo.png", ["--encoder", "nope"], "--encoder is for videos, and none is written"),
        ("photo.png", ["--crf", "0"], "--crf is for videos, and none is written"),
        ("test:", ["-o", "%d.png", "--crf", "20"], "--crf is for videos, and none is written"),
        ("test:", ["-o", "a.mp4", "--quality", "95"], "--quality is for JPEG images, and none is written"),
        ("photo.png", ["--quality", "50"], "--quality is for JPEG images, and none is written"),
        ("photo.png", ["-o", "a.webp", "--quality", "50"], "--quality is for JPEG images, and none is written"),
        ("test:", ["-o", "%d.png", "--quality", "50"], "--quality is for JPEG images, and none is written"),
        ("test:", ["-o", "%d.png", "--format", "jpg"], "--format is for images named after their source"),
        ("test:", ["-o", "a.mp4", "--format", "png"], "--format is for images named after their source"),
        ("photo.png", ["--format", "bgr"], "--format bgr is for standard output"),
        ("photo.png", ["--no-audio"], "--no-audio is for videos, and none is written"),
        ("test:", ["-o", "null", "--no-audio"], "--no-audio is for videos, and none is written"),
        ("test:", ["-o", "a.mkv", "--codec", "ffv1", "--crf", "20"], "ffv1 has no constant rate factor"),
        ("photo.png", ["--token", "abcdefgh"], "--token is for the preview: add --serve"),
        ("photo.png", ["--input-fps", "25"], "leave --input-fps out"),
        ("test:", ["-o", "a.mp4", "--strip-metadata"], "--strip-metadata is for images, and none is written"),
        (
            "test:",
            ["-o", "%d.png", "--skip-existing"],
            "--skip-existing is for images, not recordings",
        ),
        ("test:", ["-o", "a.mp4", "--encoder", "nope"], "no encoder nope in this PyAV"),
        ("photo.png", ["-o", "x.mp4"], "an image needs a file name"),
        ("photo.png", ["-o", "photo.png", "--overwrite"], "is the source itself"),
        ("photo.png", ["-o", "text.png"], "--overwrite"),
    ],
)
def test_what_is_no_use_is_one_line(
    tmp_path: Path,
    cli: Cli,
    make_model: Callable[..., Path],
    denoiser_file: Path,
    classifier_file: Path,
    blur_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    options: list[str],
    says: str,
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photo.png")
    for name in ("text.png", "text.tflite"):
        Path(name).write_text("hello there\n" * 100)
    models = {"bare": make_model("bare", carries_card=False), "classifier": classifier_file, "blur": blur_file}
    before = {name: Path(name).read_bytes() for name in files_below(tmp_path)}
    model = [] if "-m" in options else ["-m", denoiser_file]
    result = cli("denoise", source, *model, *(option.format(**models) for option in options))
    check_refused(result, says)
    assert "secret" not in result.err
    assert {name: Path(name).read_bytes() for name in files_below(tmp_path)} == before


def test_a_video_that_is_cut_short_is_done_as_far_as_it_goes(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    clip = tmp_path / "clip.mkv"
    assert cli("denoise", SCENE, "-o", clip, "-m", denoiser_file).code == 0
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result = cli("denoise", clip, "-m", denoiser_file)
    assert result.code == 1 and len(result.error_lines) == 2
    assert "cut short or damaged: ends after" in result.error_lines[0]
    assert 0 < frame_count(tmp_path / "clip.denoised.mkv") < 20


def test_one_broken_picture_among_many(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    names = ["00.png", "01.png", "a/02.jpg", "a/b/03.bmp", "04.png"]
    for name in names:
        write_image(tmp_path / "shots" / name, shape=(9, 12, 3))
    (tmp_path / "shots/01.png").write_bytes(b"\x89PNG")
    result = cli("denoise", tmp_path / "shots", "-m", denoiser_file, "--json")
    assert result.code == 1
    assert len(result.error_lines) == 2 and "01.png" in result.error_lines[0]
    assert "4 frames, 1 failure" in result.error_lines[1]
    assert files_below(tmp_path / "shots-denoised") == sorted(set(names) - {"01.png"})
    record = json.loads(result.out)
    assert record["frames"] == 4 and "01.png" in record["failures"][0]


def test_a_folder_of_broken_pictures_alone(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/a.png").write_text("x")
    result = cli("denoise", tmp_path / "shots", "-m", denoiser_file, "--json")
    assert result.code == 1 and "a.png" in result.error_lines[0]
    assert json.loads(result.out)["denoise_p50_ms"] is None


# A user who has had enough


def interrupt(args: list[str], out: Path) -> tuple[int, str]:
    """Start a process, send it Ctrl-C when it has begun to write beside `out`; its exit code and stderr."""
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not any(path.stat().st_size > 1000 for path in out.parent.glob("*")):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()  # in a job in the background, which ignores Ctrl-C, it would go on
    return process.returncode, errors


def test_ctrl_c_in_a_video_leaves_nothing(tmp_path: Path, denoiser_file: Path) -> None:
    out = tmp_path / "out/a.mp4"
    scene = "test:?size=320x240&frames=100000"
    code, errors = interrupt(command("denoise", scene, "-o", out, "-m", denoiser_file), out)
    assert code == 130
    assert errors.split("\n")[-2:] == ["quietframe: interrupted", ""] and len(errors.strip().splitlines()) == 1
    assert files_below(tmp_path) == []


def test_ctrl_c_finishes_the_video_of_a_source_without_end(tmp_path: Path, denoiser_file: Path) -> None:
    out = tmp_path / "out/a.mp4"
    scene = "test:?size=320x240&frames=0"
    code, errors = interrupt(command("denoise", scene, "-o", out, "-m", denoiser_file), out)
    assert code == 0, errors
    assert len(errors.strip().splitlines()) == 1
    said = int(errors.split(" frames")[0].split()[-1])
    assert frame_count(out) in (said, said + 1)
    assert files_below(tmp_path) == ["out/a.mp4"]


def test_libraries_do_not_print_beside_our_line(tmp_path: Path, denoiser_file: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(500))
    args = command("denoise", path, "-m", denoiser_file)
    quiet = subprocess.run(args, capture_output=True, text=True, check=False, timeout=60)
    assert quiet.returncode == 2 and len(quiet.stderr.splitlines()) == 1
