"""Calibration against simulated cameras whose noise is known."""

from __future__ import annotations

import json
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

SIZE_HW = (96, 160)
GAIN, READ = 4e-3, 3e-4


def scene() -> np.ndarray:
    """(H, W, 3) linear light: a ramp from dark to bright, of which each colour has its own."""
    ramp = to_light(np.linspace(0.08, 0.95, SIZE_HW[1]))
    return np.broadcast_to(np.stack([ramp, ramp[::-1], np.roll(ramp, 40)], axis=1), (*SIZE_HW, 3))


def shoot(
    light: np.ndarray, count: int, *, gain: float = GAIN, read: float = READ, seed: int = 0, offset: Any = 0.0
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
    for frame in shoot(scene(), 80):
        smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 1.0)
        mixed.append(smooth if not mixed else 0.5 * smooth + 0.5 * mixed[-1])
    found = calibrate([np.rint(frame).astype(np.uint8) for frame in mixed[16:]])
    alike = float(np.exp(-1 / 4))
    assert found.temporal_correlation == pytest.approx(0.5, abs=0.1)
    found = calibrate([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in shoot(scene(), 32)])
    assert found.autocorrelation[0][0][1] == pytest.approx(alike, abs=0.03), "of a Gaussian of radius 1"
    assert found.autocorrelation[0][1][0] == pytest.approx(alike, abs=0.03)


def test_compression_and_colour_formats_are_noticed() -> None:
    found = {}
    for name in ("jpeg-60-420", "jpeg-90-422", "yuyv-422"):
        form, frames = FORMATS[name], shoot(scene(), 40, gain=2e-3)
        found[name] = calibrate([form.deliver([frame] * form.frames) for frame in frames], frames=40)
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


def test_other_bad_input_is_said() -> None:
    still = list(shoot(scene(), 16))
    with pytest.raises(UsageError, match="cover the lens"):
        calibrate(still, still)
    with pytest.raises(SourceError, match="3 frames: at least 16"):
        calibrate(still[:3])
    with pytest.raises(SourceError, match="20x96: too small"):
        calibrate(frame[:, :20] for frame in still)
    with pytest.raises(SourceError, match="several sizes"):
        calibrate([*still[:15], still[15][:64]])
    with pytest.raises(SourceError, match="differ in size"):
        calibrate(still, [frame[:64] // 10 for frame in still])
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
    ):
        path.write_text(json.dumps(record | changed))
        with pytest.raises(UsageError, match=f"not a camera's profile.*{words}"):
            read_profile(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_profile(tmp_path / "none.json")


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


def test_the_command_line(tmp_path: Path, cli: Any) -> None:
    for folder, light in (("still", scene()), ("dark", np.full((*SIZE_HW, 3), 0.01))):
        for number, frame in enumerate(shoot(light, 20)):
            write_image(tmp_path / folder / f"{number:02}.png", frame)
    out, plot = tmp_path / "camera.json", tmp_path / "camera.png"
    done = cli("calibrate", tmp_path / "still", "--dark", tmp_path / "dark", "-o", out, "--frames", 20, "--plot", plot)
    assert done.code == 0, done.err
    assert "No hot pixels or stripes" in done.out
    assert read_profile(out).size_wh == SIZE_HW[::-1]
    assert cv2.imread(str(plot)) is not None
    again = cli("calibrate", tmp_path / "still", "-o", out)
    assert again.code == 2
    assert "--overwrite" in again.err
    shown = cli("calibrate", tmp_path / "still", "-o", out, "--overwrite", "--json")
    assert json.loads(shown.out)["size_wh"] == list(SIZE_HW[::-1])
    clean = cli("denoise", tmp_path / "still" / "00.png", "--camera", out, "-o", tmp_path / "clean.png")
    assert clean.code == 0, clean.err
