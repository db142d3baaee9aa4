"""Calibration against simulated cameras whose noise is known."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.calibration import calibrate
from quietframe.camera import CameraProfile, read_profile, to_light, to_srgb, write_profile
from quietframe.errors import FrameError, OutputError, SourceError, UsageError
from quietframe.noise.formats import FORMATS
from support.images import write_image
from support.stream_servers import Answer, Server, server

__all__ = ["server"]

SIZE_HW = (96, 160)
GAIN, READ = 4e-3, 3e-4


def scene() -> np.ndarray:
    """(H, W, 3) linear light: a ramp from dark to bright, of which each colour has its own."""
    ramp = to_light(np.linspace(0.08, 0.95, SIZE_HW[1]))
    return np.broadcast_to(np.stack([ramp, ramp[::-1], np.roll(ramp, 40)], axis=1), (*SIZE_HW, 3))


def shoot(
    light: np.ndarray, count: int, *, gain: Any = GAIN, read: Any = READ, seed: int = 0, offset: Any = 0.0
) -> Iterator[np.ndarray]:
    """Frames of a camera whose noise has the variance gain·x + read; offset: added to the light, always the same."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        noisy = light + rng.standard_normal(light.shape) * np.sqrt(gain * light + read) + offset
        yield np.rint(255 * to_srgb(np.clip(noisy, 0, 1))).astype(np.uint8)


def flat(value: float, count: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [np.clip(rng.normal(value, 2, (*SIZE_HW, 3)), 0, 255).astype(np.uint8) for _ in range(count)]


@pytest.fixture(scope="module")
def profile() -> CameraProfile:
    return calibrate(shoot(scene(), 64))


@pytest.mark.parametrize(("gain", "read"), [(1e-3, 1e-4), (4e-3, 1e-5), (8e-3, 4e-4)])
def test_gain_and_read_noise_are_those_of_the_camera(gain: float, read: float) -> None:
    dark = shoot(np.zeros((*SIZE_HW, 3)), 32, gain=gain, read=read, seed=1)
    found = calibrate(shoot(scene(), 64, gain=gain, read=read), dark)
    assert found.gain == pytest.approx([gain] * 3, rel=0.1)
    assert found.read == pytest.approx([read] * 3, rel=0.1)


def test_cameras_as_they_were_measured_are_measured_again(real_data: Path) -> None:
    """Noise of real sensors that is above what rounding to 8 bits adds."""
    with (real_data / "noise" / "profiles.csv").open() as file:
        rows = [[float(row[f"{which}_{colour}"]) for which in "ab" for colour in "bgr"] for row in csv.DictReader(file)]
    rows = sorted(row for row in rows if min(row[:3]) > 1e-5 and min(row[3:]) > 5e-7 and max(row) < 2e-2)
    for number, row in enumerate(rows[:: len(rows) // 4]):
        gain, read = row[:3], row[3:]
        dark = shoot(np.zeros((*SIZE_HW, 3)), 32, gain=gain, read=read, seed=number)
        found = calibrate(shoot(scene(), 32, gain=gain, read=read), dark, frames=32)
        assert found.gain == pytest.approx(gain, rel=0.1)
        assert found.read == pytest.approx(read, rel=0.1)


def test_the_noise_at_each_brightness_is_that_of_many_frames(profile: CameraProfile) -> None:
    frames = np.stack(list(shoot(scene()[:1], 1500, seed=9)))
    for channel in range(3):
        mean, deviation = frames[:, 0, :, channel].mean(axis=0), frames[:, 0, :, channel].std(axis=0)
        measured = np.interp(mean, profile.brightness_255, np.asarray(profile.sigma_255)[:, channel])
        inside = (mean > 20) & (mean < 235)
        assert measured[inside] == pytest.approx(deviation[inside], rel=0.1)


def test_white_noise_is_correlated_with_nothing(profile: CameraProfile) -> None:
    shares = np.asarray(profile.autocorrelation)
    assert shares[:, 0, 0] == pytest.approx([1] * 3)
    assert abs(shares.reshape(3, -1)[:, 1:]).max() < 0.03
    assert profile.temporal_correlation == pytest.approx(0, abs=0.05)
    assert profile.blockiness == pytest.approx(1, abs=0.1)
    assert profile.chroma_detail == pytest.approx([1, 1], abs=0.05)
    assert profile.warnings == ()


def test_smoothing_in_space_and_time_is_measured() -> None:
    mixed: list[np.ndarray] = []
    for frame in shoot(scene(), 56):
        smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 1.0)
        mixed.append(smooth if not mixed else 0.5 * smooth + 0.5 * mixed[-1])
    found = calibrate([np.rint(frame).astype(np.uint8) for frame in mixed[8:]])
    alike = float(np.exp(-1 / 4))
    assert found.temporal_correlation == pytest.approx(0.5, abs=0.1)
    found = calibrate([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in shoot(scene(), 32)])
    assert found.autocorrelation[0][0][1] == pytest.approx(alike, abs=0.03), "of a Gaussian of radius 1"
    assert found.autocorrelation[0][1][0] == pytest.approx(alike, abs=0.03)


def test_compression_and_colour_formats_are_noticed() -> None:
    found = {}
    for name in ("jpeg-60-420", "jpeg-90-422", "yuyv-422"):
        form, frames = FORMATS[name], shoot(scene(), 24, gain=2e-3)
        found[name] = calibrate([form.deliver([frame] * form.frames) for frame in frames], frames=24)
    assert found["jpeg-60-420"].blockiness > 1.15
    assert max(found["jpeg-60-420"].chroma_detail) < 0.5, "half as many columns and rows"
    across, down = found["yuyv-422"].chroma_detail
    assert across < 0.6 < down, "half as many columns"


def test_hot_pixels_are_found_and_taken_out() -> None:
    offset, places = np.zeros((*SIZE_HW, 1)), {(20, 30), (101, 64), (77, 12), (140, 88)}
    for x, y in places:
        offset[y, x] = 0.5
    black = np.full((*SIZE_HW, 3), 0.02)
    found = calibrate(shoot(scene(), 32, offset=offset), shoot(black, 32, seed=5, offset=offset), frames=32)
    assert set(found.hot_pixels) == places
    assert found.columns == found.rows == ()
    in_scene = calibrate(shoot(scene(), 32, offset=offset), frames=32)
    assert set(in_scene.hot_pixels) <= places
    assert len(in_scene.hot_pixels) >= 3, "without dark frames: those that no texture hides"

    (noisy,), (clean,) = shoot(scene(), 1, seed=8, offset=offset), shoot(scene(), 1, seed=8)
    mended = found.correct(noisy)
    for x, y in places:
        assert abs(mended[y, x].astype(int) - np.median(clean[y - 2 : y + 3, x - 2 : x + 3], axis=(0, 1))).max() < 20
    changed = np.argwhere((mended != noisy).any(axis=2))
    assert all(any(abs(x - column) <= 1 and abs(y - row) <= 1 for x, y in places) for row, column in changed)


def test_overexposed_areas_change_nothing(profile: CameraProfile) -> None:
    light = scene().copy()
    light[:, 60:80] = 3.0
    found = calibrate(shoot(light, 64))
    assert found.gain == pytest.approx([GAIN] * 3, rel=0.1)
    assert found.read == pytest.approx(profile.read, rel=0.2)


def test_frames_that_are_black_in_the_dark_are_no_noise() -> None:
    """As a camera gives them whose black level is subtracted, then cut off; in one colour or in all."""
    offset = 0.004 * np.random.default_rng(3).standard_normal((1, SIZE_HW[1], 1))
    stripes = list(shoot(np.full((*SIZE_HW, 3), 0.02), 32, seed=5, offset=offset))
    for frame in stripes:
        frame[:, :, 0] = 0
    found = calibrate(shoot(scene(), 32), stripes, frames=32)
    assert len(found.columns) == SIZE_HW[1]
    assert [blue for blue, _, _ in found.columns] == [0] * SIZE_HW[1]
    assert np.std(found.columns, axis=0)[1:] == pytest.approx([0.004] * 2, rel=0.3)
    black = calibrate(shoot(scene(), 32), [np.zeros((*SIZE_HW, 3), np.uint8)] * 32, frames=32)
    assert max(black.sigma_255[0]) < 1
    assert black.columns == black.rows == black.hot_pixels == ()


def test_a_gray_camera_is_measured(tmp_path: Path) -> None:
    light = scene()[:, :, :1].repeat(3, axis=2)
    frames = [frame[:, :, 0] for frame in shoot(light, 32)]
    found = calibrate(frames, frames=32)
    assert found.gain == pytest.approx([GAIN] * 3, rel=0.1)
    assert found.ycc_sigma == (1, 0, 0)
    assert [part[0][0] for part in found.autocorrelation] == [1, 1, 1]
    write_profile(found, tmp_path / "camera.json")
    assert read_profile(tmp_path / "camera.json") == found


def test_frames_that_repeat_the_one_before_do_not_count(profile: CameraProfile) -> None:
    """A camera of 15 frames a second, recorded at 30."""
    found = calibrate((frame for frame in shoot(scene(), 32) for _ in range(2)), frames=64)
    assert found.frames == 32
    assert found.temporal_correlation == pytest.approx(profile.temporal_correlation, abs=0.05)
    frozen = next(shoot(scene(), 1))
    with pytest.raises(SourceError, match="1 different frames: at least 16"):
        calibrate([frozen] * 64)


def test_stripes_are_found_and_taken_out() -> None:
    offset = 0.004 * np.random.default_rng(3).standard_normal((1, SIZE_HW[1], 1))
    black = np.full((*SIZE_HW, 3), 0.02)
    found = calibrate(shoot(scene(), 32, offset=offset), shoot(black, 64, seed=5, offset=offset), frames=64)
    assert len(found.columns) == SIZE_HW[1]
    assert found.rows == found.hot_pixels == ()
    (noisy,), (clean,) = shoot(scene(), 1, seed=8, offset=offset), shoot(scene(), 1, seed=8)
    before, after = (np.square(frame - clean.astype(float)).mean() for frame in (noisy, found.correct(noisy)))
    assert after < before / 4
    of_16_bits = found.correct(noisy.astype(np.uint16) * 257) // 257
    assert of_16_bits.astype(int) == pytest.approx(found.correct(noisy).astype(int), abs=1)


def test_a_camera_without_defects_has_none(profile: CameraProfile) -> None:
    assert profile.hot_pixels == profile.columns == profile.rows == ()
    dark = calibrate(shoot(scene(), 32), shoot(np.full((*SIZE_HW, 3), 0.01), 32, seed=2), frames=32)
    assert dark.hot_pixels == dark.columns == dark.rows == ()
    assert dark.black_255 is not None
    # Noise that is smoothed in space, rows that flicker, and every second row that is darker, are no offsets.
    rng = np.random.default_rng(6)
    noisy = [frame // 2 for frame in shoot(np.full((*SIZE_HW, 3), 0.05), 32, seed=3)]
    smooth = [cv2.GaussianBlur(frame, (0, 0), 2.0) for frame in noisy]
    flicker = [np.clip(frame + rng.normal(0, 3, (SIZE_HW[0], 1, 1)), 0, 255).astype(np.uint8) for frame in noisy]
    second = [np.where(np.arange(SIZE_HW[0])[:, None, None] % 2, frame - frame // 8, frame) for frame in noisy]
    for frames in (smooth, flicker, second):
        found = calibrate(shoot(scene(), 32), frames, frames=32)
        assert found.columns == found.rows == ()
    frame = next(shoot(scene(), 1))
    assert dark.correct(frame) is frame


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([np.roll(frame, 9 * n, axis=1) for n, frame in enumerate(shoot(scene(), 24))], "move"),
        ([cv2.add(frame, (n, n, n, 0)) for n, frame in enumerate(flat(60, 24))], "drifts"),
        ([cv2.add(frame, (6 * (n % 2),) * 3 + (0,)) for n, frame in enumerate(flat(60, 24))], "flickers"),
        (flat(255), "black or white"),
    ],
)
def test_what_cannot_be_measured_is_said(frames: list[np.ndarray], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        calibrate(frames)


def test_a_part_that_moves_is_left_out() -> None:
    frames = list(shoot(scene(), 32))
    for number, frame in enumerate(frames):
        frame[16:48, 32:64] = 255 * (number % 3 == 0)
    found = calibrate(frames)
    assert any("moved" in line for line in found.warnings)
    assert found.gain == pytest.approx([GAIN] * 3, rel=0.15)
    assert abs(np.asarray(found.autocorrelation).reshape(3, -1)[:, 1:]).max() < 0.03
    assert found.blockiness == pytest.approx(1, abs=0.1)


def test_other_bad_input_is_said() -> None:
    still = list(shoot(scene(), 16))
    with pytest.raises(UsageError, match="cover the lens"):
        calibrate(still, still)
    with pytest.raises(SourceError, match="3 different frames: at least 16"):
        calibrate(still[:3])
    with pytest.raises(SourceError, match="20x96: too small"):
        calibrate(frame[:, :20] for frame in still)
    with pytest.raises(SourceError, match="several sizes"):
        calibrate([*still[:15], still[15][:64]])
    with pytest.raises(SourceError, match="differ in size"):
        calibrate(still, [frame[:64] // 10 for frame in still])
    with pytest.raises(FrameError, match="4"):
        calibrate(np.dstack([frame, frame[:, :, :1]]) for frame in still)
    with pytest.raises(FrameError, match="uint16"):
        calibrate(frame.astype(np.uint16) for frame in still)
    with pytest.raises(UsageError, match="frames of at least 16"):
        calibrate(still, frames=4)
    assert any("dark and bright" in line for line in calibrate(flat(120)).warnings)


def test_a_profile_is_a_file(profile: CameraProfile, tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    write_profile(profile, path)
    assert read_profile(path) == profile
    with pytest.raises(OutputError, match="exists"):
        write_profile(profile, path)
    record = json.loads(path.read_text())
    for changed, words in (
        ({"version": 2}, "version 2"),
        ({"hot_pixels": [[500, 1]]}, "hot_pixels"),
        ({"columns": [[0, 0, 0]]}, "columns"),
        ({"sigma_255": [[1, 2, 999]] * 33}, "sigma_255"),
        ({"brightness_255": [0] * 33}, "rising"),
        ({"size_wh": "big"}, "size_wh"),
        ({"autocorrelation": [[[1]]]}, "autocorrelation"),
        ({"autocorrelation": [[[0] * 5] * 5] * 3}, "autocorrelation"),
        ({"gain": [-1, 0, 0]}, "gain"),
        ({"rows": [[1e300, 0, 0]] * SIZE_HW[0]}, "rows"),
        ({"ycc_sigma": [0, 1, 1]}, "ycc_sigma"),
        ({"kind": "ModelCard"}, "ModelCard"),
        ({"new": 1}, "new"),
    ):
        path.write_text(json.dumps(record | changed))
        with pytest.raises(UsageError, match=f"not a camera's profile.*{words}"):
            read_profile(path)
    for damaged in (b"", b"{", b"[1]", b"\xff\xfe", b"[" * 200_000):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="not a camera's profile"):
            read_profile(path)
    for missing in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_profile(missing)


def test_a_denoiser_takes_out_the_cameras_defects(profile: CameraProfile, tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    write_profile(replace(profile, hot_pixels=((50, 40),)), path)
    (frame,) = shoot(scene(), 1, gain=1e-6, read=1e-6)
    frame[40, 50] = 255
    with Denoiser("camera-nano", camera=path, sigma_255=0) as denoiser:
        assert abs(denoiser(frame)[40, 50].astype(int) - frame[40, 53]).max() < 12
        with pytest.raises(FrameError, match="calibrated at 160x96, the frame has 64x96"):
            denoiser(frame[:, :64])
        with pytest.raises(UsageError, match="camera to be"):
            denoiser.camera = 3  # type: ignore[assignment]


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with folders of shots of a still scene, and in the dark."""
    folder = tmp_path_factory.mktemp("shots")
    for name, light in (("still", scene()), ("dark", np.full((*SIZE_HW, 3), 0.01))):
        for number, frame in enumerate(shoot(light, 17)):
            write_image(folder / name / f"{number:02}.png", frame)
    return folder


def test_the_command_line(shots: Path, tmp_path: Path, cli: Any) -> None:
    out, plot = tmp_path / "new" / "camera.json", tmp_path / "new" / "camera.png"
    done = cli("calibrate", shots / "still", "--dark", shots / "dark", "-o", out, "--frames", 16, "--plot", plot)
    assert done.code == 0, done.err
    assert "No hot pixels or stripes" in done.out
    assert read_profile(out).size_wh == SIZE_HW[::-1]
    assert cv2.imread(str(plot)) is not None
    shown = cli("calibrate", shots / "still", "-o", out, "--overwrite", "--json")
    assert json.loads(shown.out)["size_wh"] == list(SIZE_HW[::-1])
    clean = cli("denoise", shots / "still" / "00.png", "--camera", out, "-o", tmp_path / "clean.png")
    assert clean.code == 0, clean.err


def test_shots_that_cannot_be_read_are_said(shots: Path, tmp_path: Path, cli: Any) -> None:
    for file in (shots / "still").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes() if file.name != "03.png" else b"no image")
    out = tmp_path / "camera.json"
    done = cli("calibrate", tmp_path, "-o", out)
    assert done.code == 1
    assert "03.png" in done.err
    assert read_profile(out).frames == 16
    (tmp_path / "04.png").unlink()
    few = cli("calibrate", tmp_path, "-o", out, "--overwrite")
    assert few.code == 2
    assert "03.png" in few.err
    assert "15 different frames: at least 16 are needed" in few.err


def test_what_the_command_refuses_leaves_nothing_behind(shots: Path, tmp_path: Path, cli: Any) -> None:
    still, out = shots / "still", tmp_path / "camera.json"
    before = {file: file.read_bytes() for file in sorted(shots.rglob("*.png"))}
    (tmp_path / "taken.json").write_text("mine")
    for args, words in (
        ((still, "-o", tmp_path / "taken.json"), "--overwrite"),
        ((still, "-o", out, "--plot", tmp_path / "taken.json"), "expected a name that ends in .png or .svg"),
        ((still, "-o", tmp_path / "a.svg", "--plot", tmp_path / "a.svg"), "one file"),
        ((still, "-o", out, "--plot", still / "00.png", "--overwrite"), "is the source itself"),
        ((still, "--dark", shots / "dark", "-o", shots / "dark" / "00.png", "--overwrite"), "is the source itself"),
        ((still, "-o", tmp_path / "taken.json" / "camera.json"), "is a file, expected a folder"),
        ((still, "--dark", tmp_path / "none", "-o", out), "no such file"),
        ((tmp_path / "none", "-o", out), "no such file"),
        ((still / "00.png", "-o", out), "1 different frames"),
    ):
        refused = cli("calibrate", *args)
        assert refused.code == 2, args
        assert words in refused.err
        assert len(refused.error_lines) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["taken.json"]
    assert (tmp_path / "taken.json").read_text() == "mine"
    assert {file: file.read_bytes() for file in sorted(shots.rglob("*.png"))} == before


def test_a_live_camera_is_asked_for_a_still_scene_then_for_the_dark(
    server: Server, tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    still, dark = (
        [cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 98))[1].tobytes() for frame in shoot(light, 16)]
        for light in (scene(), np.zeros((*SIZE_HW, 3)))
    )
    covered = threading.Event()

    def script(answer: Answer) -> None:
        answer.begin()
        for number in range(10_000):
            answer.part((dark if covered.is_set() else still)[number % 16])
            time.sleep(0.01)

    class Keyboard:
        presses = 0

        def readline(self) -> str:
            self.presses += 1
            if self.presses == 2:
                covered.set()
            return "\n"

    server.scripts = [script]
    monkeypatch.setattr("sys.stdin", Keyboard())
    done = cli("calibrate", server.url, "-o", tmp_path / "camera.json", "--frames", 16)
    assert done.code == 0, done.err
    assert done.err.index("something still") < done.err.index("Cover the lens")
    black = read_profile(tmp_path / "camera.json").black_255
    assert black is not None and black < 48

    server.scripts = [script] * 2
    for nobody in (io.StringIO(), None):
        monkeypatch.setattr("sys.stdin", nobody)
        alone = cli("calibrate", server.url, "-o", tmp_path / "other.json")
        assert alone.code == 2
        assert "--dark FILE" in alone.err
    assert not (tmp_path / "other.json").exists()
