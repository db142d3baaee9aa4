"""Images of 16 bits a channel: kept where the model computes in floats, else refused or reduced, never in silence."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from PIL import ImageOps

import quietframe as qf
from quietframe.errors import FrameError, OutputError, SourceError
from quietframe.metadata import Metadata

RNG = np.random.default_rng(3)
COLOR = RNG.integers(0, 65536, (31, 17, 3)).astype(np.uint16)
ALPHA = RNG.integers(0, 65536, (31, 17)).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("pixels", [COLOR, COLOR[:, :, 0]], ids=["color", "gray"])
@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "alpha"])
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str, pixels: Any, alpha: Any) -> None:
    exif = PIL.Image.Exif()
    exif[271] = "Maker"
    exif.get_ifd(34665)[36867] = "2026:01:02 03:04:05"
    kept = Metadata(exif=exif.tobytes()[6:], xmp=b"<x:xmpmeta/>", dpi_xy=(300.0, 300.0))
    path = tmp_path / f"a{suffix}"
    qf.write_image(path, qf.Image(np.ascontiguousarray(pixels), alpha, kept))
    read = qf.read_image(path, keep_16bit=True)
    assert np.array_equal(read.bgr, qf.Image(np.ascontiguousarray(pixels)).bgr)
    assert (read.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(read.alpha, alpha)
    assert read.metadata.xmp == kept.xmp
    assert read.metadata.dpi_xy == pytest.approx((300, 300), abs=0.1)
    found = PIL.Image.Exif()
    found.load(b"Exif\0\0" + read.metadata.exif)
    assert (found[271], found.get_ifd(34665)[36867]) == ("Maker", "2026:01:02 03:04:05")


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="ffprobe is not installed")
@pytest.mark.parametrize(
    ("name", "alpha", "expected"),
    [
        ("a.png", None, "rgb48be"),
        ("a.tif", None, "rgb48le"),
        ("a.png", ALPHA, "rgba64be"),
        ("a.tif", ALPHA, "rgba64le"),
    ],
)
def test_another_program_agrees(tmp_path: Path, name: str, alpha: Any, expected: str) -> None:
    qf.write_image(tmp_path / name, qf.Image(COLOR, alpha))
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=pix_fmt", "-of", "json", str(tmp_path / name)]
    probed = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert probed["streams"] == [{"pix_fmt": expected}]
    raw = ["ffmpeg", "-v", "error", "-i", str(tmp_path / name), "-f", "rawvideo", "-pix_fmt", "bgr48le", "-"]
    pixels = np.frombuffer(subprocess.run(raw, check=True, capture_output=True).stdout, "<u2").reshape(COLOR.shape)
    assert np.array_equal(pixels, COLOR)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_each_orientation_is_turned_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = PIL.Image.Exif()
    exif[274] = orientation
    gray = PIL.Image.fromarray(ALPHA)
    gray.save(tmp_path / f"a{suffix}", exif=exif)
    read = qf.read_image(tmp_path / f"a{suffix}", keep_16bit=True)
    eight = PIL.Image.fromarray((ALPHA >> 8).astype(np.uint8))
    eight.getexif()[274] = orientation
    assert np.array_equal(read.pixels >> 8, np.asarray(ImageOps.exif_transpose(eight)))


def test_kept_by_a_model_of_floats(tmp_path: Path, cli: Callable[..., Any], blur_file: Path) -> None:
    slope = np.linspace(1000, 60000, 64)[None, :, None]  # of which a mean of 3×3 pixels changes nothing inside
    noisy = (slope + RNG.normal(0, 300, (48, 64, 3))).astype(np.uint16)
    qf.write_image(tmp_path / "a.png", qf.Image(noisy))
    ran = cli("denoise", tmp_path / "a.png", "-m", blur_file)
    assert ran.code == 0, ran.err
    clean = qf.read_image(tmp_path / "a.denoised.png", keep_16bit=True).pixels
    assert clean.dtype == np.uint16
    assert len(np.unique(clean)) > 1000, "no 8 bits on the way"
    assert (clean - slope)[1:-1, 1:-1].std() < 0.5 * (noisy - slope)[1:-1, 1:-1].std()
    denoise = qf.Denoiser(blur_file)
    assert denoise.keeps_16bit
    assert np.array_equal(denoise(noisy), clean)
    half = qf.Denoiser(blur_file, luma_strength=0.5, chroma_strength=1.0)(noisy)
    assert half.dtype == np.uint16
    assert abs(half.astype(float).mean() - clean.mean()) < 50


def test_refused_by_a_model_of_8_bits(
    tmp_path: Path, cli: Callable[..., Any], blur_file: Path, make_model: Callable[..., Path]
) -> None:
    qf.write_image(tmp_path / "a.png", qf.Image(COLOR))
    with pytest.raises(SourceError, match="more than 8 bits a channel; pass --to-8bit"):
        qf.read_image(tmp_path / "a.png")
    refused = cli("denoise", tmp_path / "a.png")
    assert refused.code == 2
    assert "--to-8bit" in refused.err and "floats" in refused.err
    eight = make_model("eight", blur=True, card_changes={"precision": "int8"})
    assert not qf.Denoiser(eight).keeps_16bit, "floats at both ends alone"
    denoise = qf.Denoiser("camera-nano")
    assert not denoise.keeps_16bit
    with pytest.raises(FrameError, match=r"Expected a uint8 array.* Received: uint16"):
        denoise(COLOR)
    assert cli("denoise", tmp_path / "a.png", "-m", blur_file, "--to-8bit").code == 0
    assert qf.read_image(tmp_path / "a.denoised.png").pixels.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_refused_by_formats_of_8_bits(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match="cannot hold 16 bits"):
        qf.write_image(tmp_path / f"a{suffix}", qf.Image(COLOR))
    assert not list(tmp_path.iterdir())


def test_the_level_of_16_bits_is_that_of_8() -> None:
    noisy = np.clip(RNG.normal(120, 12, (240, 320, 3)), 0, 255)
    deep = np.rint(noisy * 257).astype(np.uint16)
    assert qf.estimate_noise(deep) == pytest.approx(qf.estimate_noise(np.rint(noisy).astype(np.uint8)), rel=0.02)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize(("pixels", "deep"), [("yuv420p", False), ("yuv420p10le", True)])
def test_avif_of_10_bits(tmp_path: Path, pixels: str, deep: bool) -> None:
    path = tmp_path / "a.avif"
    made = ["-f", "lavfi", "-i", "testsrc=size=64x64", "-frames:v", "1", "-pix_fmt", pixels, "-still-picture", "1"]
    if subprocess.run(["ffmpeg", "-v", "error", *made, str(path)], check=False).returncode:
        pytest.skip("this ffmpeg writes no AVIF")
    if deep:
        with pytest.raises(SourceError, match="more than 8 bits a channel; pass --to-8bit"):
            qf.read_image(path, keep_16bit=True)
    assert qf.read_image(path, to_8bit=deep).pixels.shape == (64, 64, 3)


def test_heic_of_10_bits(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    with path.open("wb") as file:
        heif.encode("RGB;16", (17, 31), cv2.cvtColor(COLOR, cv2.COLOR_BGR2RGB).tobytes(), file)
    with pytest.raises(SourceError, match="more than 8 bits a channel"):
        qf.read_image(path, keep_16bit=True)
    assert qf.read_image(path, to_8bit=True).pixels.dtype == np.uint8
