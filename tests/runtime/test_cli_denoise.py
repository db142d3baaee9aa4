"""`quietframe denoise`, run as a user runs it, on input that is good and input that is not."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from quietframe.images import read_image
from quietframe.sources import open_source

Cli = Callable[..., Any]

SCENE = "test:?size=64x48&fps=12.5&frames=20&sigma=20"


def picture(path: Path, shape: tuple[int, ...] = (48, 64, 3), dtype: str = "uint8") -> Path:
    """Write a picture of smooth levels from 60 to 180."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.linspace(60, 180, int(np.prod(shape))).reshape(shape)
    cv2.imwrite(str(path), (levels * 257 if dtype == "uint16" else levels).astype(dtype))
    return path


def cmyk_jpeg(path: Path) -> Path:
    """Write the header of a JPEG with four inks: a size of 8x8, and four components."""
    frame = b"\xff\xc0\x00\x14\x08\x00\x08\x00\x08\x04" + b"".join(bytes([i, 0x11, 0]) for i in range(1, 5))
    path.write_bytes(b"\xff\xd8" + frame + b"\xff\xd9")
    return path


def files_below(folder: Path) -> list[str]:
    """All files in a folder and below but models, hidden ones as well."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.endswith((".tflite", ".onnx")))


def command(*args: object) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-m", "quietframe", *map(str, args)]


# Good input


def test_a_picture(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    source = picture(tmp_path / "photo.png")
    result = cli("denoise", source, "-m", denoiser_file, "--sigma", 10)
    assert (result.code, result.out) == (0, "")
    assert len(result.error_lines) == 1
    assert "1 frame, " in result.error_lines[0] and "photo.denoised.png" in result.error_lines[0]
    before, after = read_image(source).pixels, read_image(tmp_path / "photo.denoised.png").pixels
    np.testing.assert_array_equal(after, before + 10)  # what this model does with a level of 10


def test_the_options_reach_the_model(tmp_path: Path, cli: Cli, denoiser_file: Path, blur_file: Path) -> None:
    source = picture(tmp_path / "photo.png")
    before = read_image(source).pixels
    args = ("denoise", source, "-o", tmp_path / "out.png", "--overwrite", "--threads", 2)
    assert cli(*args, "-m", denoiser_file, "--sigma", 10, "--strength", 2).code == 0
    np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, before + 20)
    assert cli(*args, "-m", denoiser_file, "--strength", 0).code == 0
    np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, before)
    assert cli(*args, "-m", blur_file, "--strength", 0).code == 0
    np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, before)


def test_luma_and_chroma_strength(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    """This model makes a frame brighter, by which its colours stay."""
    source, out = picture(tmp_path / "photo.png"), tmp_path / "out.png"
    before = read_image(source).pixels
    args = ("denoise", source, "-o", out, "--overwrite", "-m", denoiser_file, "--sigma", 20)
    for option, added in (("--luma-strength", 5), ("--chroma-strength", 20)):
        assert cli(*args, option, 0.25).code == 0
        np.testing.assert_array_equal(read_image(out).pixels, before + added)


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


def test_gray_transparency_and_16_bits(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    model = ("-m", denoiser_file, "--sigma", 10)
    assert cli("denoise", picture(tmp_path / "gray.png", (48, 64)), *model).code == 0
    assert read_image(tmp_path / "gray.denoised.png").pixels.shape == (48, 64)
    assert cli("denoise", picture(tmp_path / "alpha.png", (48, 64, 4)), *model).code == 0
    alpha = read_image(tmp_path / "alpha.png").alpha
    assert alpha is not None
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.denoised.png").alpha, alpha)
    deep = picture(tmp_path / "deep.png", dtype="uint16")
    refused = cli("denoise", deep, *model)
    assert refused.code == 2 and len(refused.error_lines) == 1 and "--to-8bit" in refused.error_lines[0]
    assert cli("denoise", deep, *model, "--to-8bit").code == 0
    assert read_image(tmp_path / "deep.denoised.png").pixels.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (2, 3, 3), (1, 20_000, 3), (3, 20_000, 3), (501, 1, 3)])
def test_pictures_of_strange_sizes(tmp_path: Path, cli: Cli, denoiser_file: Path, shape: tuple[int, ...]) -> None:
    source = picture(tmp_path / "photo.png", shape)
    result = cli("denoise", source, "-m", denoiser_file, "--sigma", 10)
    assert result.code == 0, result.error_lines
    added = 10 if len(shape) == 3 else 14  # a gray image's noise level is passed to a colour model as more
    np.testing.assert_array_equal(read_image(tmp_path / "photo.denoised.png").pixels, read_image(source).pixels + added)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_keeps_its_size_rate_and_count(tmp_path: Path, cli: Cli, denoiser_file: Path, suffix: str) -> None:
    clip = tmp_path / f"clip{suffix}"
    result = cli("denoise", SCENE, "-o", clip, "-m", denoiser_file)
    assert (result.code, result.out) == (0, "") and "20 frames" in result.error_lines[-1]
    result = cli("denoise", clip, "-m", denoiser_file)
    assert result.code == 0 and len(result.error_lines) == 1
    with open_source(tmp_path / f"clip.denoised{suffix}") as written:
        assert (written.size_wh, written.fps, written.frame_count) == ((64, 48), 12.5, 20)
        assert len(list(written)) == 20


def test_a_folder_keeps_names_and_structure(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    names = ["1.png", "a/2.jpg", "a/b/3.bmp"]
    for name in names:
        picture(tmp_path / "shots" / name)
    assert cli("denoise", tmp_path / "shots", "-m", denoiser_file).code == 0
    assert files_below(tmp_path / "shots-denoised") == names
    assert cli("denoise", f"{tmp_path}/shots/**/*.jpg", "-o", tmp_path / "out", "-m", denoiser_file).code == 0
    assert files_below(tmp_path / "out") == ["a/2.jpg"]


def test_frames_stops_early(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    endless = "test:?size=64x48&frames=0"
    assert cli("denoise", endless, "--frames", 7, "-o", tmp_path / "a.mp4", "-m", denoiser_file).code == 0
    with open_source(tmp_path / "a.mp4") as written:
        assert len(list(written)) == 7


def test_json_has_the_figures_with_units(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    spec = "test:?size=640x480&frames=5&sigma=25"
    result = cli("denoise", spec, "-o", tmp_path / "a.mp4", "-m", denoiser_file, "--json")
    assert result.code == 0
    record = json.loads(result.out)
    assert (record["source"], record["output"], record["frames"]) == (spec, str(tmp_path / "a.mp4"), 5)
    assert 0 < record["denoise_p50_ms"] <= record["denoise_p95_ms"] < 1000 * record["wall_s"]
    assert 22 < record["noise_p50_sigma_255"] < 28
    assert record["failures"] == []


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path, denoiser_file: Path) -> None:
    args = command("denoise", SCENE, "-o", tmp_path / "a.mp4", "--overwrite", "-m", denoiser_file)
    piped = subprocess.run(args, capture_output=True, check=True, timeout=60)
    assert b"denoising" not in piped.stderr and len(piped.stderr.splitlines()) == 1
    ours, theirs = pty.openpty()
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"}) as process:
        os.close(theirs)
        shown = b""
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            try:
                while chunk := terminal.read(4096):
                    shown += chunk
            except OSError:  # Linux: the other end is closed
                pass
        assert process.wait(timeout=60) == 0
    assert b"denoising" in shown and b"20 frames" in shown


# Input that is no use: one line, exit code 2, nothing written


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("text.png", b"hello there\n" * 100),
        ("text.jpg", b"hello there\n" * 100),
        ("text.mp4", b"hello there\n" * 1000),
        ("noise.mp4", bytes(range(256)) * 100),
        ("empty.mp4", b""),
        ("model.png", b"\x1c\x00\x00\x00TFL3" + bytes(100)),
    ],
)
def test_files_that_are_no_pictures(tmp_path: Path, cli: Cli, denoiser_file: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    check_refused(cli("denoise", tmp_path / name, "-m", denoiser_file), name)
    assert files_below(tmp_path) == [name]


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg", "cut.bmp", "cut.tiff", "cut.webp"])
def test_truncated_pictures(tmp_path: Path, cli: Cli, denoiser_file: Path, name: str) -> None:
    path = picture(tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    check_refused(cli("denoise", path, "-m", denoiser_file), name)
    assert files_below(tmp_path) == [name]


def test_a_truncated_video(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    clip = tmp_path / "clip.mp4"
    assert cli("denoise", SCENE, "-o", clip, "-m", denoiser_file).code == 0
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    check_refused(cli("denoise", clip, "-m", denoiser_file), "clip.mp4")


def test_a_video_that_is_cut_short_is_done_as_far_as_it_goes(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    clip = tmp_path / "clip.mkv"
    assert cli("denoise", SCENE, "-o", clip, "-m", denoiser_file).code == 0
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result = cli("denoise", clip, "-m", denoiser_file)
    assert result.code == 1 and len(result.error_lines) == 2
    assert "of 20 frames could be read" in result.error_lines[0]
    with open_source(tmp_path / "clip.denoised.mkv") as written:
        assert 0 < len(list(written)) < 20


def test_cmyk_and_floating_point(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    check_refused(cli("denoise", cmyk_jpeg(tmp_path / "ink.jpg"), "-m", denoiser_file), "CMYK")
    floats = tmp_path / "float.tiff"
    cv2.imwrite(str(floats), np.full((8, 8, 3), 0.5, np.float32))
    check_refused(cli("denoise", floats, "-m", denoiser_file, "--to-8bit"), "float32")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("missing.png", "no such file"),
        ("", "no such file"),
        ("7431", "no such camera"),
        ("ftp://me:secret@10.0.0.9/x", "expected http://"),
        ("rtsp://me:secret@127.0.0.1:9/x", "Connection refused"),
        ("test:?size=9", "size"),
    ],
)
def test_sources_that_are_not_there(cli: Cli, denoiser_file: Path, spec: str, says: str) -> None:
    result = cli("denoise", spec, "-m", denoiser_file)
    check_refused(result, says)
    assert "secret" not in result.error_lines[0]


def test_models_that_are_none(tmp_path: Path, cli: Cli, make_model: Callable[..., Path], classifier_file: Path) -> None:
    source = picture(tmp_path / "photo.png")
    (tmp_path / "text.tflite").write_text("hello there\n" * 100)
    (tmp_path / "empty.tflite").write_bytes(b"")
    whole = make_model("whole").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[: len(whole) // 2])
    for model, says in [
        (tmp_path / "text.tflite", "not a LiteRT model"),
        (tmp_path / "empty.tflite", "empty"),
        (tmp_path / "cut.tflite", "cut.tflite"),
        (tmp_path / "missing.tflite", "no such model file"),
        (make_model("bare", carries_card=False), "--card"),
        (classifier_file, "this model does classify, not denoise"),
    ]:
        check_refused(cli("denoise", source, "-m", model), says)
    assert files_below(tmp_path) == ["photo.png"]


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


@pytest.mark.parametrize("shape", [(60, 90, 3), (40, 8, 3), (90, 60)])
def test_a_model_of_one_size_says_once_that_detail_is_lost(
    tmp_path: Path, cli: Cli, make_model: Callable[..., Path], shape: tuple[int, ...]
) -> None:
    model = make_model("fixed", size_hw=(16, 24), offset_255=5)
    (tmp_path / "my shots").mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"my shots/{index}.png"), np.full(shape, 90, np.uint8))
    result = cli("denoise", tmp_path / "my shots", "-m", model)
    warning, summary = result.error_lines
    assert result.code == 0 and "3 frames" in summary
    assert f"warning: tiny-denoise works at 24x16: a picture of {shape[1]}x{shape[0]} comes back" in warning
    for index in range(3):
        clean = read_image(tmp_path / f"my shots-denoised/{index}.png").pixels
        assert clean.shape == shape and (clean == 95).all()


@pytest.mark.parametrize("fields", [{"size_hw": (16, 24)}, {"size_hw": (8, 8), "fit": "tile"}, {"blur": True}])
def test_nothing_is_said_where_no_detail_is_lost(
    tmp_path: Path, cli: Cli, make_model: Callable[..., Path], fields: dict[str, Any]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((16, 24, 3), 90, np.uint8))
    assert len(cli("denoise", tmp_path / "a.png", "-m", make_model(**fields)).error_lines) == 1


def test_a_composite_file_denoises(tmp_path: Path, cli: Cli, denoise_classifier_file: Path) -> None:
    gray = np.full((28, 28), 40, np.uint8)
    gray[:7] = 200
    cv2.imwrite(str(tmp_path / "a digit.png"), gray)
    result = cli("denoise", tmp_path / "a digit.png", "-m", denoise_classifier_file)
    assert (result.code, len(result.error_lines)) == (0, 1)
    clean = read_image(tmp_path / "a digit.denoised.png").pixels
    assert clean.shape == (28, 28)
    np.testing.assert_allclose(clean[8], 40, atol=1)
    assert 40 < clean[7, 5] < clean[6, 5] < 200  # blurred


def test_models_that_take_no_level(tmp_path: Path, cli: Cli, make_model: Callable[..., Path]) -> None:
    source, model = picture(tmp_path / "photo.png"), make_model(offset_255=10)
    check_refused(cli("denoise", source, "-m", model, "--sigma", 25), "leave sigma_255 (--sigma) out")
    check_refused(cli("denoise", source, "-m", model, "--strength", 1.5), "Expected strength in [0, 1]")
    assert cli("denoise", source, "-m", model, "--strength", 0.5).code == 0
    before, after = (read_image(tmp_path / name).pixels for name in ("photo.png", "photo.denoised.png"))
    np.testing.assert_array_equal(after, before + 5)


def test_an_unknown_model_name_suggests_the_nearest(tmp_path: Path, cli: Cli) -> None:
    check_refused(cli("denoise", picture(tmp_path / "photo.png"), "-m", "camera-nno"), "did you mean 'camera")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--sigma", "-1"], "sigma_255"),
        (["--sigma", "500"], "sigma_255"),
        (["--strength", "nan"], "strength"),
        (["--strength", "-1"], "strength"),
        (["--luma-strength", "2"], "luma_strength"),
        (["--chroma-strength", "-1"], "chroma_strength"),
        (["--threads", "0"], "--threads"),
        (["--frames", "0"], "--frames"),
        (["--show"], "--show"),
        (["--colour", "red"], "--colour"),
        (["-o", "x.mp4"], "a picture needs a file name"),
    ],
)
def test_options_out_of_range(
    tmp_path: Path, cli: Cli, denoiser_file: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], says: str
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    check_refused(cli("denoise", picture(tmp_path / "photo.png"), "-m", denoiser_file, *options), says)
    assert files_below(tmp_path) == ["photo.png"]


def test_moving_sources_need_a_place_for_the_result(cli: Cli, denoiser_file: Path) -> None:
    check_refused(cli("denoise", "test:", "-m", denoiser_file), "-o OUT")


def test_existing_files_and_the_source_itself_are_kept(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    source = picture(tmp_path / "photo.png")
    before = source.read_bytes()
    (tmp_path / "photo.denoised.png").write_text("precious")
    check_refused(cli("denoise", source, "-m", denoiser_file), "--overwrite")
    assert (tmp_path / "photo.denoised.png").read_text() == "precious"
    check_refused(cli("denoise", source, "-o", source, "--overwrite", "-m", denoiser_file), "is the source itself")
    assert source.read_bytes() == before


def test_one_broken_picture_among_a_hundred(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    for index in range(100):
        picture(tmp_path / f"shots/{index:03}.png", (9, 12, 3))
    broken = tmp_path / "shots/057.png"
    broken.write_bytes(broken.read_bytes()[:60])
    result = cli("denoise", tmp_path / "shots", "-m", denoiser_file, "--json")
    assert result.code == 1
    assert len(result.error_lines) == 2 and "057.png" in result.error_lines[0]
    assert "99 frames, 1 failure" in result.error_lines[1]
    assert len(files_below(tmp_path / "shots-denoised")) == 99
    record = json.loads(result.out)
    assert record["frames"] == 99 and "057.png" in record["failures"][0]


def test_a_folder_of_broken_pictures_alone(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    (tmp_path / "shots").mkdir()
    (tmp_path / "shots/a.png").write_text("x")
    result = cli("denoise", tmp_path / "shots", "-m", denoiser_file, "--json")
    assert result.code == 1 and "a.png" in result.error_lines[0]
    assert json.loads(result.out)["denoise_p50_ms"] is None


# A disk that takes no file, and a user who has had enough


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB, where the tests may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk needs root ({mounted.stderr.decode().strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(tmp_path: Path, cli: Cli, denoiser_file: Path, small_disk: Path) -> None:
    source = tmp_path / "noise.png"
    cv2.imwrite(str(source), np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    check_refused(cli("denoise", source, "-o", small_disk / "a.png", "-m", denoiser_file), "No space left on device")
    scene = "test:?size=320x240&frames=60&sigma=80"
    check_refused(cli("denoise", scene, "-o", small_disk / "a.mp4", "-m", denoiser_file), "disk is full")
    assert files_below(small_disk) == []


def test_a_folder_without_permission(
    open_tmp_path: Path, cli: Cli, denoiser_file: Path, without_rights: Callable[[], None]
) -> None:
    source = picture(open_tmp_path / "photo.png")
    model = open_tmp_path / denoiser_file.name
    model.write_bytes(denoiser_file.read_bytes())
    locked = open_tmp_path / "locked"
    locked.mkdir(mode=0o555)
    assert cli("denoise", source, "-o", open_tmp_path / "a.png", "-m", model).code == 0  # and everything is imported
    without_rights()
    check_refused(cli("denoise", source, "-o", locked / "a.png", "-m", model), "no permission")


def interrupt(args: list[str], out: Path) -> tuple[int, str]:
    """Start a process, send it Ctrl-C when it has begun to write beside `out`; its exit code and stderr."""
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not any(path.stat().st_size > 1000 for path in out.parent.glob(".*.part.*")):
                assert process.poll() is None and time.monotonic() < deadline, process.communicate()
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
    with open_source(out) as written:
        assert len(list(written)) in (said, said + 1)
    assert files_below(tmp_path) == ["out/a.mp4"]


def test_libraries_do_not_print_beside_our_line(tmp_path: Path, denoiser_file: Path) -> None:
    path = picture(tmp_path / "cut.png")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    args = command("denoise", path, "-m", denoiser_file)
    quiet = subprocess.run(args, capture_output=True, text=True, check=False, timeout=60)
    assert quiet.returncode == 2 and len(quiet.stderr.splitlines()) == 1
    # Who asks OpenCV to speak hears libpng as well: there is something to keep quiet.
    env = os.environ | {"OPENCV_LOG_LEVEL": "DEBUG"}
    loud = subprocess.run(args, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert loud.returncode == 2 and len(loud.stderr.splitlines()) > 1


def check_refused(result: Any, says: str) -> None:
    """One line that says it, exit code 2, and nothing on stdout."""
    assert result.code == 2
    assert result.out == ""
    assert len(result.error_lines) == 1, result.error_lines
    assert result.error_lines[0].startswith("quietframe: error: ")
    assert says in result.error_lines[0]
