from __future__ import annotations

import re
import struct
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

import quietframe as qf
from quietframe.errors import FrameError, OutputError, SourceError
from quietframe.images import IMAGE_SUFFIXES, WRITERS, write_whole
from support.images import random_frame

LOSSLESS = [".png", ".bmp", ".tif", ".tiff", ".webp"]
ALPHA = [".png", ".tif", ".tiff", ".webp"]


PILLOW_FORMATS = {
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".gif": "GIF",
    ".j2k": "JPEG2000",
    ".jp2": "JPEG2000",
    ".pgm": "PPM",
}


def saved(pixels: np.ndarray, pillow_format: str, **options: Any) -> bytes:
    """A file that Pillow writes of RGB or gray pixels."""
    if pillow_format == "HEIF":
        heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
        heif.register_heif_opener()
    file = BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(file, pillow_format, **options)
    return file.getvalue()


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """A file of that kind. BGR or gray, of 8 bits, or what OpenCV can encode."""
    if suffix in PILLOW_FORMATS:
        return saved(pixels[:, :, ::-1], PILLOW_FORMATS[suffix])
    done, data = cv2.imencode(suffix, pixels, [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == ".webp" else [])
    assert done
    return data.tobytes()


# --- writers of what OpenCV does not write ------------------------------------------------------------------------


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(rows: list[bytes], width: int, depth: int, colour_type: int, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def exif(orientation: int, order: str) -> bytes:
    """An EXIF block that holds an orientation alone."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def webp(pixels: np.ndarray, *more: tuple[bytes, bytes], flags: int) -> bytes:
    """A lossless WebP in the extended container, with more chunks."""
    height, width = pixels.shape[:2]
    extended = struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", len(extended)) + extended + encoded(".webp", pixels)[12:]
    for name, content in more:
        body += name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(pages: list[tuple[np.ndarray, dict[int, int]]]) -> bytes:
    """An uncompressed little-endian TIFF: pictures of (H, W, C) uint8 with further tags."""
    data = b"II*\0" + struct.pack("<I", 8)
    for index, (pixels, tags) in enumerate(pages):
        height, width, channels = pixels.shape
        start = len(data)
        entries = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 274: 1, 277: channels, 278: height} | tags
        size = 2 + 12 * (len(entries) + 2) + 4
        entries |= {273: start + size + 2 * channels, 279: pixels.size}
        directory = struct.pack("<H", len(entries))
        for tag, value in sorted(entries.items()):
            if tag == 258:
                directory += struct.pack("<HHII", tag, 3, channels, start + size)
            else:
                directory += struct.pack("<HHII", tag, 4, 1, value)
        end = start + size + 2 * channels + pixels.size
        directory += struct.pack("<I", end if index + 1 < len(pages) else 0)
        data += directory + struct.pack("<H", 8) * channels + pixels.tobytes()
    return data


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".PNG"])
@pytest.mark.parametrize("shape", [(13, 17, 3), (1, 1, 3), (1, 40, 3)], ids=str)
def test_colour_comes_back_as_it_was(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / f"picture{suffix}"
    pixels = random_frame(*shape)
    qf.write_image(path, qf.Image(pixels))
    image = qf.read_image(path)
    assert np.array_equal(image.pixels, pixels)
    assert image.alpha is None


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_gray_stays_gray(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    pixels = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (32, 1))
    qf.write_image(path, qf.Image(pixels))
    image = qf.read_image(path)
    if suffix == ".webp":  # the format has no gray
        assert image.pixels.shape == (32, 60, 3)
    else:
        assert image.pixels.shape == (32, 60)
    assert np.abs(image.bgr.astype(int) - pixels[:, :, None]).max() <= (2 if suffix in (".jpg", ".jpeg") else 0)


@pytest.mark.parametrize("suffix", ALPHA)
@pytest.mark.parametrize("gray", [False, True], ids=["colour", "gray"])
def test_alpha_goes_along(tmp_path: Path, suffix: str, gray: bool) -> None:
    path = tmp_path / f"picture{suffix}"
    pixels = random_frame(9, 8) if gray else random_frame(9, 8, 3)
    alpha = np.random.default_rng(4).integers(1, 255, (9, 8), dtype=np.uint8)
    qf.write_image(path, qf.Image(pixels, alpha))
    image = qf.read_image(path)
    assert np.array_equal(image.bgr, qf.Image(pixels).bgr)
    assert image.alpha is not None
    assert np.array_equal(image.alpha, alpha)
    assert image.pixels.flags.c_contiguous
    assert image.alpha.flags.c_contiguous


def test_gray_with_alpha(save: Callable[..., Path]) -> None:
    path = save("la.png", png([bytes([10, 255, 200, 7])], 2, 8, 4))
    image = qf.read_image(path)
    assert image.bgr.tolist() == [[[10] * 3, [200] * 3]]
    assert image.alpha is not None
    assert image.alpha.tolist() == [[255, 7]]


def test_palette_png(save: Callable[..., Path]) -> None:
    palette = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))  # red, blue as RGB
    image = qf.read_image(save("palette.png", png([b"\x00\x01"], 2, 8, 3, palette)))
    assert image.pixels.tolist() == [[[0, 0, 255], [255, 0, 0]]]
    see_through = palette + chunk(b"tRNS", bytes([128]))
    image = qf.read_image(save("transparent.png", png([b"\x00\x01"], 2, 8, 3, see_through)))
    assert image.alpha is not None
    assert image.alpha.tolist() == [[128, 255]]


def test_one_bit_png(save: Callable[..., Path]) -> None:
    image = qf.read_image(save("bits.png", png([b"\xa0", b"\x40"], 3, 1, 0)))
    assert image.pixels.tolist() == [[255, 0, 255], [0, 255, 0]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3), (6, 7, 4)], ids=str)
def test_16_bits_are_reduced_on_request_alone(save: Callable[..., Path], suffix: str, shape: tuple[int, ...]) -> None:
    deep = np.random.default_rng(5).integers(0, 65536, shape).astype(np.uint16)
    deep.flat[:2] = 65535, 0
    path = save(f"deep{suffix}", encoded(suffix, deep))
    with pytest.raises(SourceError, match="more than 8 bits a channel; pass --to-8bit"):
        qf.read_image(path)
    image = qf.read_image(path, to_8bit=True)
    expected = np.rint(deep / 257).astype(np.uint8)
    assert np.array_equal(image.pixels, expected[..., :3] if len(shape) == 3 else expected)
    assert (image.alpha is not None) == (shape[-1] == 4)


def test_floating_point_tiff(save: Callable[..., Path]) -> None:
    path = save("float.tif", encoded(".tif", np.ones((4, 4, 3), np.float32)))
    with pytest.raises(SourceError, match="not an image of 8 or 16 bits a channel"):
        qf.read_image(path, to_8bit=True)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_the_content_tells_the_format(save: Callable[..., Path], suffix: str) -> None:
    pixels = random_frame(8, 8, 3)
    assert np.array_equal(qf.read_image(save(f"renamed{suffix}", encoded(".png", pixels))).pixels, pixels)


# What EXIF says: the stored picture is the upright one after this change.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["jpg", "png", "png with alpha", "webp", "tif"])
def test_pictures_are_turned_upright(save: Callable[..., Path], kind: str, orientation: int, order: str) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)  # four corners of different colours
    upright[:8, :16], upright[:8, 16:], upright[8:, :16] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    stored = np.ascontiguousarray(STORED[orientation](upright))
    block = exif(orientation, order)
    if kind == "jpg":
        data = encoded(".jpg", stored)
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block + data[2:]
    elif kind == "webp":
        data = webp(stored, (b"EXIF", block), flags=8)
    elif kind == "tif":
        data = tiff([(stored[:, :, ::-1], {274: orientation})])
    else:
        with_alpha = np.dstack([stored, np.full(stored.shape[:2], 200, np.uint8)])
        data = encoded(".png", with_alpha if "alpha" in kind else stored)
        data = data[:33] + chunk(b"eXIf", block) + data[33:]
    image = qf.read_image(save(f"turned.{kind[:4].strip()}", data))
    assert image.pixels.shape == upright.shape
    assert np.abs(image.pixels.astype(int) - upright)[4:12:7, 8:24:15].max() < 16
    assert image.pixels.flags.c_contiguous
    assert (image.alpha is not None) == ("alpha" in kind)
    assert image.alpha is None or image.alpha.shape == upright.shape[:2]


def test_cmyk_without_a_profile_is_refused(save: Callable[..., Path]) -> None:
    inks = PIL.Image.fromarray(random_frame(16, 16, 3)).convert("CMYK")
    for name, options in (("a.jpg", {}), ("a.jpg", {"progressive": True}), ("a.tif", {})):
        file = BytesIO()
        inks.save(file, "TIFF" if name == "a.tif" else "JPEG", **options)
        with pytest.raises(SourceError, match=f"{name}: CMYK without a colour profile: convert it to RGB"):
            qf.read_image(save(name, file.getvalue()))


def test_animations_and_pages_are_refused(save: Callable[..., Path]) -> None:
    pages = [PIL.Image.fromarray(random_frame(16, 16, 3, seed=seed)) for seed in range(3)]
    for suffix in (".png", ".webp", ".tif", ".gif", ".avif"):
        file = BytesIO()
        pages[0].save(file, PIL.Image.registered_extensions()[suffix], save_all=True, append_images=pages[1:])
        with pytest.raises(SourceError, match=f"a{suffix}: holds several images: save them one by one"):
            qf.read_image(save(f"a{suffix}", file.getvalue()))


def test_a_thumbnail_is_no_second_random_frame(save: Callable[..., Path]) -> None:
    pixels = random_frame(8, 8, 3)
    path = save("thumbnail.tif", tiff([(pixels, {}), (random_frame(2, 2, 3), {254: 1})]))
    assert np.array_equal(qf.read_image(path).pixels, pixels[:, :, ::-1])


@pytest.mark.parametrize("name", ["相机 фото ü.png", "with space.png", "-o.png", "%s.png", "no suffix", ".hidden.png"])
def test_unusual_names(tmp_path: Path, name: str) -> None:
    pixels = random_frame(5, 5, 3)
    path = tmp_path / name
    path.write_bytes(encoded(".png", pixels))
    assert np.array_equal(qf.read_image(str(path)).pixels, pixels)
    if path.suffix:
        qf.write_image(path, qf.Image(255 - pixels))
        assert np.array_equal(qf.read_image(path).pixels, 255 - pixels)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"\0", "not an image, or a damaged one"),
        (b"This is text.\n" * 100, "not an image, or a damaged one"),
        (b"%PDF-1.7\n", "not an image, or a damaged one"),
        (b"\xff\xd8", "(not an image|a damaged image)"),
        (b"\xff\xd8\xff\xc0", "(not an image|a damaged image)"),
        (b"\x89PNG\r\n\x1a\n", "(not an image|a damaged image)"),
        (b"II*\0\x08\0\0\0\x01\0", "(not an image|a damaged image)"),
        (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "(not an image|a damaged image)"),  # its directory follows itself
        (b"RIFF\xff\xff\xff\xffWEBP", "(not an image|a damaged image)"),
        (b"RIFF\x10\0\0\0WEBPVP8X\xff\xff\xff\xff", "(not an image|a damaged image)"),
        (b"BM" + bytes(60), "(not an image|a damaged image)"),
    ],
)
def test_what_is_no_picture_is_one_line(save: Callable[..., Path], content: bytes, says: str) -> None:
    path = save("broken.png", content)
    with pytest.raises(SourceError) as caught:
        qf.read_image(path)
    assert re.match(f"{re.escape(str(path))}: {says}", str(caught.value))
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_no_paths(tmp_path: Path) -> None:
    for path, says in [(tmp_path / "no.png", "No such file"), (tmp_path, "Is a directory"), ("a\0b.png", "null byte")]:
        with pytest.raises(SourceError, match=f"cannot be read .*{says}"):
            qf.read_image(path)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files_are_refused(save: Callable[..., Path], suffix: str, share: float) -> None:
    """None is read in part: half a picture must not pass for a whole one."""
    data = encoded(suffix, cv2.GaussianBlur(random_frame(120, 160, 3), (0, 0), 3))
    with pytest.raises(SourceError, match=r"not an image|a damaged image"):
        qf.read_image(save(f"cut{suffix}", data[: int(len(data) * share)]))


@given(
    suffix=st.sampled_from(sorted(IMAGE_SUFFIXES)),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_damaged_files_raise_nothing_else(
    tmp_path: Path, suffix: str, damage: list[tuple[float, int]], encoded_once: dict[str, bytes]
) -> None:
    data = bytearray(encoded_once[suffix])
    for place, value in damage:
        data[int(place * len(data))] = value
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(data)
    try:
        image = qf.read_image(path)
    except SourceError as exc:
        assert "\n" not in str(exc)
    else:
        assert image.pixels.dtype == np.uint8


@pytest.fixture(scope="module")
def encoded_once() -> dict[str, bytes]:
    pixels = cv2.GaussianBlur(random_frame(24, 32, 3), (0, 0), 2)
    return {suffix: encoded(suffix, pixels) for suffix in IMAGE_SUFFIXES}


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp"])
def test_alpha_is_not_dropped_silently(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture{suffix}"
    with pytest.raises(OutputError, match=r"cannot hold the image's transparency: write \.png or \.webp"):
        qf.write_image(path, qf.Image(random_frame(4, 4, 3), random_frame(4, 4)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["picture.gif", "picture.txt", "picture", "picture.", ".png"])
def test_unknown_formats(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"unknown image format .*use one of \.bmp"):
        qf.write_image(tmp_path / name, qf.Image(random_frame(4, 4, 3)))


@pytest.mark.parametrize(
    "image",
    [
        qf.Image(np.zeros((4, 4, 3), np.float32)),  # type: ignore[arg-type]
        qf.Image(np.zeros((4, 4, 4), np.uint8)),
        qf.Image(np.zeros((0, 4), np.uint8)),
        qf.Image(np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)),
        qf.Image(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)),  # type: ignore[arg-type]
        qf.Image(None),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_picture_is_not_written(tmp_path: Path, image: qf.Image) -> None:
    with pytest.raises(FrameError, match="Expected"):
        qf.write_image(tmp_path / "picture.png", image)
    assert not list(tmp_path.iterdir())


def test_a_picture_too_large_for_its_format(tmp_path: Path) -> None:
    wide = np.zeros((1, 20_000, 3), np.uint8)
    qf.write_image(tmp_path / "wide.png", qf.Image(wide))
    assert qf.read_image(tmp_path / "wide.png").pixels.shape == wide.shape
    with pytest.raises(OutputError, match=r"wide\.webp: Pillow cannot write this image"):  # its limit is 16383
        qf.write_image(tmp_path / "wide.webp", qf.Image(wide))


def test_an_existing_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    qf.write_image(path, qf.Image(random_frame(4, 4, 3)))
    assert np.array_equal(qf.read_image(path).pixels, random_frame(4, 4, 3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize(
    "where", ["missing/picture.png", "file/picture.png", "folder.png", "nul\0.png", "x" * 300 + ".png"]
)
def test_places_that_take_no_file(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="cannot be written"):
        qf.write_image(tmp_path / where, qf.Image(random_frame(4, 4, 3)))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match=r"picture\.png: cannot be written \(File too large\)$"):
        qf.write_image(path, qf.Image(random_frame(200, 200, 3)))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "picture.png", b"data")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 6)])
def test_an_image_is_its_pixels_to_numpy_and_equal_to_itself_alone(shape: tuple[int, ...]) -> None:
    image, other = (qf.Image(np.zeros(shape, np.uint8), np.ones((4, 6), np.uint8)) for _ in range(2))
    assert image == image
    assert image != other
    assert len({image, other}) == 2
    assert np.asarray(image) is image.pixels
    copied = np.array(image)
    assert copied is not image.pixels and np.array_equal(copied, image.pixels)
    assert np.asarray(image, np.float32).dtype == np.float32
    assert repr(image) == f"Image(pixels={shape}, alpha=(4, 6))"
    assert repr(qf.Image(image.pixels)) == f"Image(pixels={shape})"


def test_a_write_that_fails_holds_no_buffer(tmp_path, monkeypatch):
    held = []

    def fails(path: Path, data: memoryview, *, overwrite: bool) -> None:
        held.append(data)
        raise OutputError(f"{path}: no space left on the disk")

    monkeypatch.setattr("quietframe.images.write_whole", fails)
    with pytest.raises(OutputError, match="no space left"):
        qf.write_image(tmp_path / "a.png", qf.Image(random_frame(4, 4, 3)))
    with pytest.raises(ValueError, match="released"):
        held[0].tobytes()
