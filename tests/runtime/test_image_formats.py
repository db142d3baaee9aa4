"""What stands beside the pixels of an image comes out as it went in, and each kind of file is read right or refused."""

from __future__ import annotations

import contextlib
import json
import os
import re
import runpy
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ImageCms

import quietframe as qf
from quietframe import decoding
from quietframe.errors import OutputError, SourceError, UsageError
from quietframe.images import move_into_place, write_whole
from quietframe.metadata import Metadata
from quietframe.sinks import open_sink
from quietframe.sources import open_source
from support.images import files_below, random_frame, write_image
from support.process import run_python

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
KEEPERS = [".jpg", ".png", ".tif", ".webp"]
SMOOTH = np.linspace(30, 220, 48 * 64 * 3).reshape(48, 64, 3).astype(np.uint8)


@pytest.fixture(scope="session")
def images() -> Path:
    """The folder of image files that once went wrong."""
    cases = os.environ.get("QUIETFRAME_CASES")
    if not cases:
        pytest.skip("QUIETFRAME_CASES is not set")
    return Path(cases) / "pictures"


@pytest.fixture
def save(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        (tmp_path / "file").write_bytes(data)
        return tmp_path / "file"

    return write


def saved(image: PIL.Image.Image, pillow_format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, pillow_format, **options)
    return file.getvalue()


def exif_of(**tags: Any) -> bytes:
    exif = PIL.Image.Exif()
    for name, value in tags.items():
        exif[PIL.Image.ExifTags.Base[name].value] = value
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def png(rows: list[bytes], width: int, depth: int, colour_type: int, *extra: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b""))
    parts = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# --- beside the pixels ------------------------------------------------------------------------------------------------

words = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40)
blocks = st.binary(min_size=1, max_size=3000)


@given(
    suffix=st.sampled_from(KEEPERS),
    icc=blocks,
    maker=words,
    xmp=words,
    iptc=blocks,
    dpi=st.integers(1, 2400),
    comment=words,
    gray=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_what_goes_in_comes_out(
    tmp_path: Path, suffix: str, icc: bytes, maker: str, xmp: str, iptc: bytes, dpi: int, comment: str, gray: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    block = exif_of(Make=maker.strip() or "x")
    given_ = Metadata(icc, block, xmp.encode(), iptc, (dpi, dpi), (comment.encode(),))
    qf.write_image(path, qf.Image(SMOOTH[:, :, 0].copy() if gray else SMOOTH, metadata=given_))
    got = qf.read_image(path).metadata
    assert got is not None
    assert got.xmp == xmp.encode()
    assert got.icc == (None if gray and suffix == ".webp" else icc)
    exif = PIL.Image.Exif()
    exif.load(got.exif or b"")
    assert exif[271] == (maker.strip() or "x")
    assert exif.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09" and exif.get_ifd(0x8825)[1] == "N"
    if suffix != ".tif":  # whose tags are the EXIF, written anew
        assert got.exif == block
    if suffix in (".jpg", ".tif"):
        assert got.iptc == iptc
    if suffix != ".webp":
        assert got.dpi_xy == pytest.approx((dpi, dpi), abs=0.013)  # PNG counts dots per metre
    if suffix == ".jpg":
        assert got.comments == (comment.encode(),)
    if suffix == ".png":
        assert got.texts["Comment"] == comment
    if suffix == ".tif":
        assert exif[270] == comment


def test_what_a_png_says_of_its_colours_and_in_texts_is_kept(save: Callable[[bytes], Path], tmp_path: Path) -> None:
    chunks = [
        (b"gAMA", struct.pack(">I", 45455)),
        (b"cHRM", struct.pack(">8I", *range(30000, 38000, 1000))),
        (b"cICP", bytes([9, 16, 0, 1])),  # BT.2020 with PQ, as stills of HDR video are marked
        (b"tEXt", b"Author\0me"),
        (b"iTXt", b"Title\0\0\0de\0Titel\0" + "Grüße".encode()),
    ]
    path = save(png([bytes(6)], 2, 8, 2, *chunks))
    qf.write_image(tmp_path / "a.png", qf.read_image(path))
    written = (tmp_path / "a.png").read_bytes()
    for name, content in chunks:
        assert name + content in written


@pytest.mark.parametrize("orientation", [1, 6])
def test_of_an_exif_block_the_orientation_alone_changes(
    save: Callable[[bytes], Path], tmp_path: Path, orientation: int
) -> None:
    block = exif_of(Orientation=orientation, Make="ACME")
    stored = np.rot90(SMOOTH, 1) if orientation == 6 else SMOOTH
    image = PIL.Image.fromarray(np.ascontiguousarray(stored))
    read = qf.read_image(save(saved(image, "PNG", exif=b"Exif\0\0" + block)))
    assert np.array_equal(read.bgr[:, :, ::-1], SMOOTH)
    assert read.metadata is not None and read.metadata.exif is not None
    changed = [at for at in range(len(block)) if block[at] != read.metadata.exif[at]]
    assert len(block) == len(read.metadata.exif) and len(changed) == (orientation != 1)
    exif = PIL.Image.Exif()
    exif.load(read.metadata.exif)
    assert exif[274] == 1


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_its_chroma_subsampling(
    save: Callable[[bytes], Path], tmp_path: Path, cli: Cli, denoiser_file: Path, subsampling: int
) -> None:
    path = save(saved(PIL.Image.fromarray(SMOOTH), "JPEG", subsampling=subsampling)).rename(tmp_path / "a.jpg")
    assert cli("denoise", path, "-m", denoiser_file, "--strip-metadata").code == 0
    image = qf.read_image(tmp_path / "a.denoised.jpg")
    assert image.metadata is not None and image.metadata.subsampling == subsampling


def test_quality_and_strip_metadata(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    full = Metadata(b"profile", exif_of(Make="ACME"), b"<x/>", None, (300, 300), (b"hello",))
    qf.write_image(tmp_path / "a.jpg", qf.Image(random_frame(64, 64, 3), metadata=full))
    for name, *options in (("b", "--quality", 30), ("c", "--strip-metadata")):
        assert (
            cli("denoise", tmp_path / "a.jpg", "-o", tmp_path / f"{name}.jpg", "-m", denoiser_file, *options).code == 0
        )
    assert (tmp_path / "b.jpg").stat().st_size < (tmp_path / "c.jpg").stat().st_size / 2
    assert repr(qf.read_image(tmp_path / "b.jpg").metadata) == "<Metadata icc, exif, xmp, dpi_xy, comments>"
    assert repr(qf.read_image(tmp_path / "c.jpg").metadata) == "<Metadata >"
    assert b"profile" not in (tmp_path / "c.jpg").read_bytes()


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("suffix", KEEPERS)
def test_exiftool_agrees(images: Path, tmp_path: Path, cli: Cli, denoiser_file: Path, suffix: str) -> None:
    def tags(path: Path) -> dict[str, Any]:
        command = ["exiftool", "-json", "-G0", "-n", "-EXIF:all", "-ICC_Profile:all", str(path)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)[0]

    for name in ("exif", "icc_p3"):
        out = tmp_path / f"{name}{suffix}"
        assert cli("denoise", images / f"{name}.jpg", "-o", out, "-m", denoiser_file).code == 0
        before, after = tags(images / f"{name}.jpg"), tags(out)
        lost = {key: value for key, value in before.items() if after.get(key) != value and key != "SourceFile"}
        lost = {key: value for key, value in lost.items() if not key.startswith("EXIF:Thumbnail")}
        assert len(before) > 3
        assert lost in ({}, {"EXIF:Orientation": before.get("EXIF:Orientation")})
        assert after.get("EXIF:Orientation", 1) == 1
        command = ["exiftool", "-warning", "-error", str(out)]
        validated = subprocess.run(command, check=True, capture_output=True, timeout=60)
        assert b"Error" not in validated.stdout


# --- files that once went wrong ---------------------------------------------------------------------------------------


def test_the_profile_comes_out_byte_for_byte(images: Path, tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    with PIL.Image.open(images / "icc_p3.jpg") as image:
        profile = image.info["icc_profile"]
    for suffix in KEEPERS:
        out = tmp_path / f"a{suffix}"
        assert cli("denoise", images / "icc_p3.jpg", "-o", out, "-m", denoiser_file).code == 0
        with PIL.Image.open(out) as written:
            assert written.info["icc_profile"] == profile


def test_exif_and_resolution_are_kept(images: Path, tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    assert cli("denoise", images / "exif.jpg", "-o", tmp_path / "a.jpg", "-m", denoiser_file).code == 0
    with PIL.Image.open(images / "exif.jpg") as before, PIL.Image.open(tmp_path / "a.jpg") as after:
        assert after.info["dpi"] == before.info["dpi"] == (300, 300)
        kept = {tag: value for tag, value in before.getexif().items() if tag != 274}
        assert kept and {tag: after.getexif()[tag] for tag in kept} == kept


def test_one_transparent_gray_is_kept(images: Path) -> None:
    alpha = qf.read_image(images / "gray_trns2.png").alpha
    assert alpha is not None and np.count_nonzero(alpha == 0) == 975


def test_heic_is_read_whole_or_names_the_extra(images: Path) -> None:
    pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    assert qf.read_image(images / "iphone_grid.heic").pixels.shape == (1024, 1024, 3)


def test_without_the_extra_heic_is_one_line(
    images: Path, tmp_path: Path, cli: Cli, denoiser_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(
        SourceError, match=r"iphone_grid\.heic: HEIC needs pillow-heif: pip install 'quietframe\[heif\]'"
    ):
        qf.read_image(images / "iphone_grid.heic")
    shutil.copy(images / "iphone_grid.heic", tmp_path / "b.mp4")  # and no name makes it a video
    result = cli("denoise", tmp_path / "b.mp4", "-m", denoiser_file)
    assert result.code == 2 and len(result.error_lines) == 1 and "quietframe[heif]" in result.error_lines[0]
    (tmp_path / "in").mkdir()
    shutil.copy(images / "iphone_grid.heic", tmp_path / "in/a.heic")
    shutil.copy(images / "photo.ppm", tmp_path / "in/b.ppm")
    with open_source(tmp_path / "in") as source:
        assert len(list(source)) == 1 and "quietframe[heif]" in source.failures[0]


@pytest.mark.parametrize("name", ["photo.ppm", "plain.gif", "photo.avif"])
@pytest.mark.parametrize("renamed", ["{}", "a.mp4", "a"])
def test_an_image_is_no_video(images: Path, tmp_path: Path, name: str, renamed: str) -> None:
    path = Path(shutil.copy(images / name, tmp_path / renamed.format(name)))
    with open_source(path) as source:
        (frame,) = source
        assert not source.moving and frame.pixels.shape == (240, 320, 3)
        with open_sink(tmp_path / "out.png", source) as sink:
            sink.write(frame, frame.pixels)
    with PIL.Image.open(path) as theirs, PIL.Image.open(tmp_path / "out.png") as ours:
        assert np.array_equal(np.asarray(theirs.convert("RGB")), np.asarray(ours))


@pytest.mark.parametrize("kind", ["TGA", "QOI", "ICO", "PCX", "SGI", "DDS"])
def test_images_of_other_kinds_are_refused_by_name(save: Callable[[bytes], Path], kind: str) -> None:
    path = save(saved(PIL.Image.fromarray(SMOOTH), kind))
    with (
        pytest.raises(SourceError, match=f"{kind} images are not supported: convert it"),
        open_source(path) as it,
    ):
        list(it)


def test_pages_of_a_bigtiff_are_refused(images: Path, save: Callable[[bytes], Path]) -> None:
    with pytest.raises(SourceError, match="holds several images"):
        qf.read_image(images / "bigtiff_2pages.tif")
    alone = qf.read_image(save(saved(PIL.Image.fromarray(SMOOTH), "TIFF", big_tiff=True)))
    assert np.array_equal(alone.pixels[:, :, ::-1], SMOOTH)


def test_a_jpeg_without_its_end_marker_is_whole(images: Path, save: Callable[[bytes], Path]) -> None:
    data = (images / "no_eoi.jpg").read_bytes()
    whole = cv2.imdecode(np.frombuffer(data + b"\xff\xd9", np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(qf.read_image(images / "no_eoi.jpg").pixels.astype(int) - whole).max() <= 2
    read = 0
    for cut in range(1, 120):
        try:
            read += np.array_equal(qf.read_image(save(data[:-cut])).pixels, qf.read_image(save(data)).pixels)
        except SourceError as exc:
            assert "damaged" in str(exc)
        else:
            assert cut == 1  # of the last byte, all bits may be padding
    assert read <= 1


def test_a_progressive_jpeg_without_its_end_marker_is_whole_if_all_its_scans_are(save: Callable[[bytes], Path]) -> None:
    noisy = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)
    data = saved(PIL.Image.fromarray(noisy), "JPEG", progressive=True, quality=90)
    whole = qf.read_image(save(data)).pixels
    assert np.array_equal(qf.read_image(save(data[:-2])).pixels, whole)
    for cut in [*range(4, 60), *range(60, len(data) - 30, 97)]:  # within scans, and between them
        with pytest.raises(SourceError, match="damaged"):
            qf.read_image(save(data[:-cut]))
    last_scan = data.rindex(b"\xff\xda")
    with pytest.raises(SourceError, match="damaged"):
        qf.read_image(save(data[:last_scan]))


# --- kinds of pixels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "colour_type", "row", "clear", "alpha"),
    [
        (1, 0, b"\x40", (1,), [255, 0]),
        (2, 0, b"\x10", (1,), [255, 0]),
        (4, 0, b"\x12", (2,), [255, 0]),
        (8, 0, b"\x07\x09", (9,), [255, 0]),
        (8, 2, bytes([1, 2, 3, 4, 5, 6]), (4, 5, 6), [255, 0]),
        (16, 0, struct.pack(">2H", 300, 301), (301,), [255, 0]),
        (16, 2, struct.pack(">6H", 1, 2, 3, 4, 5, 6), (4, 5, 6), [255, 0]),
    ],
)
def test_one_transparent_colour_of_every_depth(
    save: Callable[[bytes], Path], depth: int, colour_type: int, row: bytes, clear: tuple[int, ...], alpha: list[int]
) -> None:
    chunk = (b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    image = qf.read_image(save(png([row], 2, depth, colour_type, chunk)), to_8bit=True)
    assert image.alpha is not None and image.alpha.tolist() == [alpha]
    assert image.pixels.ndim == (2 if colour_type == 0 else 3)


def test_a_palette_of_grays_is_gray(save: Callable[[bytes], Path]) -> None:
    image = PIL.Image.new("P", (4, 1))
    image.putpalette([9, 9, 9, 50, 50, 50, 200, 200, 200, 3, 3, 3])
    image.putdata([0, 1, 2, 3])
    for kind in ("PNG", "GIF"):
        assert qf.read_image(save(saved(image, kind))).pixels.tolist() == [[9, 50, 200, 3]]
    clear = qf.read_image(save(saved(image, "PNG", transparency=b"\xff\x00\x80")))
    assert clear.alpha is not None and clear.alpha.tolist() == [[255, 0, 128, 255]]


def test_a_bitmap_of_5_6_5_bits(save: Callable[[bytes], Path]) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0) + struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    data = struct.pack("<2sIHHI", b"BM", 70, 0, 0, 66) + header + struct.pack("<HH", 0xF800, 0x07E0)
    assert qf.read_image(save(data)).pixels.tolist() == [[[0, 0, 255], [0, 255, 0]]]


@pytest.mark.parametrize("suffix", [".ppm", ".jp2"])
def test_16_bits_in_other_kinds(save: Callable[[bytes], Path], suffix: str) -> None:
    deep = np.repeat(np.repeat(SMOOTH, 4, 0), 4, 1).astype(np.uint16) * 257
    path = save(cv2.imencode(suffix, deep, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1].tobytes())
    with pytest.raises(SourceError, match="more than 8 bits a channel; pass --to-8bit"):
        qf.read_image(path)
    assert np.abs(qf.read_image(path, to_8bit=True).pixels.astype(int) - deep // 257).max() <= 1


def test_16_bits_are_turned_upright(save: Callable[[bytes], Path]) -> None:
    deep = SMOOTH.astype(np.uint16) * 257
    stored = np.ascontiguousarray(np.rot90(deep, 1)[:, :, ::-1])
    data = cv2.imencode(".png", stored)[1].tobytes()
    block = exif_of(Orientation=6)
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    read = qf.read_image(save(data[:33] + chunk + data[33:]), to_8bit=True)
    assert np.array_equal(read.pixels[:, :, ::-1], SMOOTH)
    tags = PIL.Image.fromarray(np.ascontiguousarray(np.rot90(deep[:, :, 0], 1)))
    read = qf.read_image(save(saved(tags, "TIFF", tiffinfo={274: 6})), to_8bit=True)
    assert np.array_equal(read.pixels, SMOOTH[:, :, 0])


def test_inks_are_converted_by_their_profile(save: Callable[[bytes], Path]) -> None:
    path = (
        next(Path("/usr/share/color/icc").rglob("*cmyk*.icc"), None) if Path("/usr/share/color/icc").is_dir() else None
    )
    if path is None:
        pytest.skip("no CMYK profile is installed (package ghostscript)")
    profile = path.read_bytes()
    inks = PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    image = qf.read_image(save(saved(inks, "TIFF", icc_profile=profile)))
    blue, green, red = image.pixels[4, 4].tolist()
    assert red > 150 > 100 > max(blue, green)
    assert image.metadata is not None and image.metadata.icc is not None
    assert ImageCms.getOpenProfile(BytesIO(image.metadata.icc)).profile.xcolor_space == "RGB "
    with pytest.raises(SourceError, match="CMYK with a colour profile that cannot be used"):
        qf.read_image(save(saved(inks, "TIFF", icc_profile=b"no profile")))


def test_inks_of_16_bits_are_refused(save: Callable[[bytes], Path]) -> None:
    data = bytearray(saved(PIL.Image.new("CMYK", (8, 8)), "TIFF", compression="raw"))
    at = data.index(struct.pack("<4H", *[8] * 4))
    data[at : at + 8] = struct.pack("<4H", *[16] * 4)
    with pytest.raises(SourceError, match="CMYK of 16 bits a channel: convert it to RGB"):
        qf.read_image(save(bytes(data) + bytes(1000)), to_8bit=True)


def test_what_a_format_cannot_hold_is_one_line(tmp_path: Path) -> None:
    image = qf.Image(SMOOTH, metadata=Metadata(exif=exif_of(Make="x" * 70_000)))
    with pytest.raises(OutputError, match=r"a\.jpg: Pillow cannot .*EXIF.*try another format, or --strip-metadata"):
        qf.write_image(tmp_path / "a.jpg", image)
    assert files_below(tmp_path) == []
    qf.write_image(tmp_path / "a.png", image)


def test_a_preview_of_a_raw_file_is_not_taken_for_it(save: Callable[[bytes], Path]) -> None:
    for tags in ({50706: b"\1\4\0\0"}, {254: 1}):
        with pytest.raises(SourceError, match="a camera's raw file"):
            qf.read_image(save(saved(PIL.Image.fromarray(SMOOTH), "TIFF", tiffinfo=tags)))


def test_further_images_of_a_jpeg_are_left_out(save: Callable[[bytes], Path]) -> None:
    image = PIL.Image.fromarray(SMOOTH)
    read = qf.read_image(save(saved(image, "MPO", save_all=True, append_images=[image.rotate(180)])))
    assert np.abs(read.pixels[:, :, ::-1].astype(int) - SMOOTH).mean() < 4


# --- hostile files ----------------------------------------------------------------------------------------------------

MEMORY = """
import sys
import PIL.Image, PIL.PngImagePlugin, PIL.TiffImagePlugin
import quietframe as qf
from quietframe.cpu import peak_rss_mb
from quietframe.errors import SourceError
qf.read_image({small!r})
before = peak_rss_mb()
try:
    qf.read_image({hostile!r})
except SourceError as exc:
    print(exc)
print(peak_rss_mb() - before)
"""


@pytest.mark.parametrize("kind", ["case", "too many pixels", "many pixels, no content"])
def test_a_few_bytes_take_little_memory(tmp_path: Path, images: Path, kind: str) -> None:
    hostile = images.parent / "hostile/min-png-4GB-49-bytes.png"
    if kind != "case":
        hostile = tmp_path / "hostile.png"
        data = bytearray(png([b"\0"], 1, 8, 0))
        data[16:24] = struct.pack(">II", *((60_000, 60_000) if kind == "too many pixels" else (1, 2**31 - 1)))
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        hostile.write_bytes(data)
    small = write_image(tmp_path / "small.png")
    *said, grown_mb = run_python("-c", MEMORY.format(small=str(small), hostile=str(hostile))).stdout.splitlines()
    assert len(said) == 1 and str(hostile) in said[0]
    assert kind == "case" or "more than 178,956,970 pixels" in said[0]
    assert float(grown_mb) < 50


@pytest.mark.parametrize(
    "name",
    ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF", "16-bit PNG", "16-bit TIFF"],
)
def test_more_pixels_than_the_limit_are_refused_by_the_header_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    deep = name.startswith("16-bit ")
    pixels = PIL.Image.fromarray(np.full((48, 64), 999, np.uint16) if deep else SMOOTH)
    if name == "HEIF":
        file = BytesIO()
        pytest.importorskip("pillow_heif").encode("RGB", pixels.size, pixels.tobytes(), file)
        whole = file.getvalue()
    else:
        whole = saved(pixels, name.removeprefix("16-bit "))
    path = tmp_path / "image"
    path.write_bytes(whole)
    size = pixels.width * pixels.height
    assert qf.read_image(path, keep_16bit=True, max_pixels=size).pixels.size >= size
    says = f"{path}: {pixels.width}x{pixels.height} pixels, above the limit of {size - 1:,}: scale it down, or raise"
    with pytest.raises(SourceError, match=re.escape(says)):
        qf.read_image(path, keep_16bit=True, max_pixels=size - 1)
    monkeypatch.setattr(decoding, "_decode", None)  # not called
    with pytest.raises(SourceError, match="above the limit of"), open_source(path, max_pixels=size - 1) as source:
        list(source)


@pytest.mark.parametrize("max_pixels", [0, -1, 178_956_971])
def test_a_limit_that_is_none_is_refused(max_pixels: int) -> None:
    with pytest.raises(UsageError, match=r"max_pixels in \[1, 178956970\]"):
        open_source("test:", max_pixels=max_pixels)


# --- names of results -------------------------------------------------------------------------------------------------


def test_of_two_with_one_name_the_second_is_refused(tmp_path: Path) -> None:
    """Both look before either writes: what decides is the moment at which a file gets its name."""
    write_image(tmp_path / "a.png")
    spec = "test:?size=64x48&frames=2"
    for source_spec, out in ((tmp_path / "a.png", "b.png"), (spec, "b.mkv"), (spec, "%d.png")):
        with open_source(source_spec) as one, open_source(source_spec) as two:
            first, second = open_sink(tmp_path / out, one), open_sink(tmp_path / out, two)
            with first:
                for frame in one:
                    first.write(frame, np.full_like(frame.pixels, 7))
            with pytest.raises(OutputError, match="exists already: pass --overwrite"), second:
                for frame in two:
                    second.write(frame, frame.pixels)
    assert (qf.read_image(tmp_path / "b.png").pixels == 7).all()
    assert (qf.read_image(tmp_path / "0.png").pixels == 7).all()
    assert files_below(tmp_path) == ["0.png", "1.png", "a.png", "b.mkv", "b.png"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "a file system without links"])
def test_one_of_many_at_once_gets_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    if not links:

        def refuse(*_: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    done: list[bytes] = []
    start = threading.Barrier(8)

    def write(content: bytes) -> None:
        start.wait()
        try:
            write_whole(tmp_path / "a", content, overwrite=False)
        except OutputError as exc:
            assert "exists already" in str(exc)
        else:
            done.append(content)

    threads = [threading.Thread(target=write, args=(bytes([index]) * 1000,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1 and (tmp_path / "a").read_bytes() == done[0]
    assert files_below(tmp_path) == ["a"]
    (tmp_path / "part").write_bytes(b"new")
    move_into_place(tmp_path / "part", tmp_path / "a", overwrite=True)
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_folder_run_is_repeated(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    for name in ("1.png", "2.png", "sub/3.png"):
        write_image(tmp_path / "in" / name)
    args = ("denoise", tmp_path / "in", "-o", tmp_path / "out", "-m", denoiser_file)
    (tmp_path / "out/sub").mkdir(parents=True)
    (tmp_path / "out/sub/3.png").write_text("precious")
    assert cli(*args).code == 2
    result = cli(*args, "--skip-existing", "--json")
    record = json.loads(result.out)
    assert result.code == 0 and (record["frames"], record["skipped"]) == (2, 1)
    assert "2 frames, 1 result existed already, " in result.error_lines[0]
    assert (tmp_path / "out/sub/3.png").read_text() == "precious"
    result = cli(*args, "--skip-existing")
    assert result.code == 0
    assert result.error_lines == ["quietframe: nothing to do: all 3 results existed already"]
    for options, says in ((["--skip-existing", "--overwrite"], "exclude each other"),):
        result = cli(*args, *options)
        assert result.code == 2 and len(result.error_lines) == 1 and says in result.error_lines[0]
    result = cli("denoise", "test:", "-o", tmp_path / "a.mp4", "--skip-existing", "-m", denoiser_file)
    assert result.code == 2 and "--skip-existing is for images" in result.error_lines[0]


def test_two_runs_share_a_folder(tmp_path: Path, denoiser_file: Path) -> None:
    names = [f"{number:02}.png" for number in range(40)]
    for name in names:
        write_image(tmp_path / "in" / name, shape=(200, 300, 3))
    options = ["-o", tmp_path / "out", "-m", denoiser_file, "--skip-existing", "--json"]
    args = [sys.executable, "-m", "quietframe", "denoise", tmp_path / "in", *options]
    runs = [subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    records = [json.loads(out) for out, _ in said]
    assert sum(record["skipped"] for record in records) == len(names)
    assert all(record["failures"] == [] for record in records)
    assert files_below(tmp_path / "out") == names
    assert all(qf.read_image(tmp_path / "out" / name).pixels.shape == (200, 300, 3) for name in names)


def test_a_result_that_appears_meanwhile(tmp_path: Path) -> None:
    write_image(tmp_path / "in/1.png")
    for skip_existing in (True, False):
        out = tmp_path / str(skip_existing)
        with open_source(tmp_path / "in") as source, open_sink(out, source, skip_existing=skip_existing) as sink:
            (frame,) = source
            out.mkdir()
            (out / "1.png").write_text("precious")
            with contextlib.nullcontext() if skip_existing else pytest.raises(OutputError, match="exists already"):
                sink.write(frame, frame.pixels)
            assert source.skipped == skip_existing
        assert (out / "1.png").read_text() == "precious" and files_below(out) == ["1.png"]


def test_two_places_of_which_one_has_its_results(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        write_image(tmp_path / "in" / name)
    write_image(tmp_path / "one/1.png", 7)
    write_image(tmp_path / "two/1.png", 8)
    write_image(tmp_path / "two/2.png", 9)
    outs = [tmp_path / "one", tmp_path / "two"]
    with open_source(tmp_path / "in") as source, open_sink(outs, source, skip_existing=True) as sink:
        for frame in source:
            sink.write(frame, frame.pixels)
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two") == ["1.png", "2.png"]
    assert (qf.read_image(tmp_path / "two/2.png").pixels == 9).all()


def test_results_that_are_all_there_need_no_right_to_write(
    open_tmp_path: Path, without_rights: Callable[[], None]
) -> None:
    for folder in ("in", "out"):
        write_image(open_tmp_path / folder / "1.png")
    (open_tmp_path / "out").chmod(0o555)
    without_rights()
    with open_source(open_tmp_path / "in") as source:
        with open_sink(open_tmp_path / "out", source, skip_existing=True):
            assert list(source) == []
        with pytest.raises(OutputError, match="no permission"):
            open_sink(open_tmp_path / "out", source, overwrite=True)


def test_the_format_of_a_folder(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    write_image(tmp_path / "in/1.png")
    write_image(tmp_path / "in/2.jpg")
    (tmp_path / "in/3.gif").write_bytes(saved(PIL.Image.fromarray(SMOOTH), "GIF"))
    args = ("denoise", tmp_path / "in", "-m", denoiser_file, "-o")
    assert cli(*args, tmp_path / "own").code == 0
    assert files_below(tmp_path / "own") == ["1.png", "2.jpg", "3.png"]
    assert cli(*args, tmp_path / "webp", "--format", "webp").code == 0
    assert files_below(tmp_path / "webp") == ["1.webp", "2.webp", "3.webp"]
    write_image(tmp_path / "in/1.jpg")
    result = cli(*args, tmp_path / "twice", "--format", "tif")
    assert result.code == 2 and "1.jpg and 1.png would both go there" in result.error_lines[0]
    assert cli("denoise", tmp_path / "in/2.jpg", "--format", "png", "-m", denoiser_file).code == 0
    assert (tmp_path / "in/2.denoised.png").is_file()
    result = cli("denoise", tmp_path / "in/2.jpg", "-o", tmp_path / "a.png", "--format", "tif", "-m", denoiser_file)
    assert result.code == 2 and "another format than --format tif" in result.error_lines[0]


# --- gray, and the page -----------------------------------------------------------------------------------------------


def test_three_equal_planes_stay_gray() -> None:
    gray = np.clip(SMOOTH[:, :, 0] + np.random.default_rng(0).normal(0, 20, SMOOTH.shape[:2]), 0, 255).astype(np.uint8)
    clean = qf.Denoiser("camera-small")(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))
    assert not np.array_equal(clean[:, :, 0], gray)
    assert (clean == clean[:, :, :1]).all()


def test_the_tables_of_the_page_are_true() -> None:
    pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    script = runpy.run_path(str(ROOT / "docs/research/formats.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["page_with"](script["tables"]()) == page
    assert script["BEGIN"] in page and "| HEIC |" in page


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "1", {}),
        ("JPEG", "L", {"progressive": True, "optimize": True, "quality": 1}),
        ("GIF", "P", {}),
        ("BMP", "1", {}),
        ("PPM", "1", {}),
        *[("TIFF", "1", {"compression": coding}) for coding in ("raw", "group3", "group4", "packbits")],
        *[("TIFF", "RGB", {"compression": f"tiff_{coding}"}) for coding in ("lzw", "deflate", "adobe_deflate")],
        *[("TIFF", "L", {"compression": coding}) for coding in ("jpeg", "zstd", "lzma")],
        ("WEBP", "RGB", {"quality": 0, "method": 6}),
        ("WEBP", "RGB", {"lossless": True}),
        ("JPEG2000", "L", {}),
        ("JPEG2000", "L", {"tile_size": (64, 64), "quality_layers": [9999]}),
        ("AVIF", "RGB", {"quality": 0}),
    ],
)
def test_a_blank_image_is_no_false_claim(
    save: Callable[[bytes], Path], kind: str, mode: str, options: dict[str, Any]
) -> None:
    assert qf.read_image(save(saved(PIL.Image.new(mode, (2000, 1500)), kind, **options))).pixels.shape[:2] == (
        1500,
        2000,
    )


@pytest.mark.parametrize("size", [100, 10_000], ids=["small", "large"])
def test_a_header_that_claims_more_than_the_file_can_hold(save: Callable[[bytes], Path], size: int) -> None:
    claim = struct.pack(">IIBBBBB", size, size, 16, 6, 0, 0, 0)
    data = png([b""], 1, 16, 6)
    hostile = data[:16] + claim + struct.pack(">I", zlib.crc32(b"IHDR" + claim)) + data[33:]
    with pytest.raises(SourceError, match=r"a damaged image"):
        qf.read_image(save(hostile), to_8bit=True)


def lying(kind: str, options: dict[str, Any]) -> bytes:
    """A small image whose header says 9000x8000."""
    data = bytearray(saved(PIL.Image.fromarray(SMOOTH), kind, **options))
    if kind == "TIFF":
        for tag, size in ((256, 9000), (257, 8000), (278, 8000)):  # width, height, rows in a strip
            entry = next(at for kind in (3, 4) if (at := data.find(struct.pack("<HHI", tag, kind, 1))) >= 0)
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, size)
    elif kind == "WEBP":
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", 9000, 8000)
    else:
        at = data.index(b"ispe") + 8 if kind == "AVIF" else 8
        data[at : at + 8] = struct.pack(">II", 9000, 8000)
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *[("TIFF", {"compression": coding}) for coding in ("raw", "packbits", "tiff_lzw", "tiff_deflate", "jpeg")],
        ("WEBP", {}),
        ("JPEG2000", {"no_jp2": True, "tile_size": (16, 16)}),
        ("AVIF", {}),
    ],
)
def test_a_header_that_says_more_than_is_coded(
    save: Callable[[bytes], Path], kind: str, options: dict[str, Any]
) -> None:
    with pytest.raises(SourceError, match=r"a damaged image \(it claims 9000x8000 pixels in \d+ bytes\)"):
        qf.read_image(save(lying(kind, options)))
