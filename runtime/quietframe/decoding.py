"""Image files from bytes to arrays: what Pillow reads right, and what is refused by name."""

from __future__ import annotations

import importlib
import math
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.deep import to_8_bits
from quietframe.errors import SourceError
from quietframe.metadata import Metadata, read_metadata

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageFile import ImageFile

Decoded = tuple[NDArray[Any], NDArray[Any] | None, Metadata]
"""Pixels, (H, W, 3) BGR or (H, W) gray; (H, W) alpha where the file has it; what stands beside them.

uint8, or uint16 of a file of more than 8 bits a channel whose depth is to be kept.
"""

MAX_PIXELS = 80_000_000
"""The most pixels of an image or frame if nothing else is said: a few bytes may claim more than memory holds."""

PILLOW_MAX_PIXELS = 178_956_970
"""The most pixels that Pillow opens at all."""

_READERS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
_PLUGINS = ("Tiff", "WebP", "Jpeg2K", "Avif")  # those of them that Pillow does not import by itself
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\0\0\0\1", b"OggS", b"FLV")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"mif2"})
_BITS_PER_SAMPLE, _SUBFILE, _ORIENTATION, _DNG_VERSION = 258, 254, 274, 50706  # TIFF tags
_MAX_PAGES = 16  # enough to see whether there is more than one
MOST_PIXELS_A_JPEG_BYTE = 512
_MOST_PIXELS_A_BYTE = {"JPEG": MOST_PIXELS_A_JPEG_BYTE, "PNG": 8 * 1032, "GIF": 4096, "BMP": 128, "PPM": 8}
"""What a coding can hold at most, of one bit a pixel: a JPEG spends a bit on a block, deflate a byte on 1032."""
_MOST_TIFF_BYTES = {"raw": 1, "packbits": 64, "tiff_lzw": 2560, "tiff_adobe_deflate": 1032, "tiff_deflate": 1032}
_MOST_TIFF_BYTES |= {"zstd": 1 << 15}
"""What a byte of a TIFF can hold at most, in bytes of pixels; other codings of TIFF have no such limit."""
_MOST_VP8_PIXELS = 1024  # a byte: a block of 16x16 takes two bits and more (RFC 6386, 11.2); VP8L can take none
_J2K_START, _J2K_TILE_BYTES = b"\xff\x4f\xff\x51", 14  # SOT and SOD of each tile (ITU-T T.800, A.4)
_FILLERS = b"\x00\x55\xaa\xf8"
_JPEG_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xda-\xfe])")  # no restart; FF 00 is a level of 255
_NO_SIZE = b"\xc4\xc8\xcc"  # of the markers from C0 to CF, those that begin no frame
_KINDS = {"F": "float32 values", "I": "int32 values", "LAB": "LAB colours", "HSV": "HSV colours"}
_MODES = {(True, False): "L", (True, True): "LA", (False, False): "RGB", (False, True): "RGBA"}  # gray, with alpha


def decode(data: bytes, name: str, *, to_8bit: bool, keep_16bit: bool, max_pixels: int) -> Decoded:
    """Decode an image file, turned upright. Raises SourceError as `read_image` does.

    name: of the file, for messages.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's are about what is kept, refused or read anyway
        try:
            with _open(data, name, max_pixels) as image:
                return _decode(image, data, name, to_8bit=to_8bit, keep_16bit=keep_16bit)
        except SourceError:
            raise
        except Exception as exc:
            raise SourceError(f"{name}: a damaged image ({' '.join(str(exc).split()) or type(exc).__name__})") from exc


def is_image(path: Path) -> bool:
    """Whether Pillow recognizes a file's content as an image, one of a kind that is not read included.

    What begins as a container of videos does is not even shown to Pillow.
    """
    try:
        with path.open("rb") as file:
            if _begins_as_video(file.read(16)):
                return False
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return bool(_format_name(file))
    except OSError:
        return False


def _open(data: bytes, name: str, max_pixels: int) -> ImageFile:
    """Open an image of a kind that is read, up to its header. Raises SourceError, or what Pillow raises."""
    import PIL.Image

    file = BytesIO(data)
    try:
        image = _open_heif(file, name) if _is_heif(file) else _open_pillow(file)
    except PIL.Image.DecompressionBombError as exc:
        raise SourceError(f"{name}: more than {PILLOW_MAX_PIXELS:,} pixels: scale it down first") from exc
    except PIL.UnidentifiedImageError as exc:
        other = _format_name(file)
        if other and other not in _READERS:
            raise SourceError(f"{name}: {other} images are not supported: convert it to PNG or TIFF first") from exc
        kind = " of 8 or 16 bits a channel" if data[:2] in (b"II", b"MM") else ""  # a TIFF may hold anything
        raise SourceError(f"{name}: not an image{kind}, or a damaged one") from exc
    if image.width * image.height > _most_pixels(image, data):
        raise SourceError(
            f"{name}: a damaged image (it claims {image.width}x{image.height} pixels in {len(data)} bytes)"
        )
    if image.width * image.height > max_pixels:
        raise SourceError(f"{name}: {too_large(image.size, max_pixels)}")
    return image


def _most_pixels(image: ImageFile, data: bytes) -> float:
    """How many pixels a file of that kind and length can hold; infinity where its coding has no such limit.

    pillow-heif compares what is coded with what is claimed itself.
    """
    if image.format == "TIFF":
        bits = sum(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))  # type: ignore[attr-defined]
        coding = str(image.info.get("compression"))
        return len(data) * (512 if coding == "jpeg" else _MOST_TIFF_BYTES.get(coding, math.inf) * 8 / max(1, bits))
    if image.format == "WEBP":
        return math.inf if b"VP8L" in data else len(data) * _MOST_VP8_PIXELS
    if image.format == "JPEG2000":
        width, height = struct.unpack_from(">2I", data, data.find(_J2K_START) + 24)
        return len(data) / _J2K_TILE_BYTES * width * height
    if image.format == "AVIF":
        return _coded_pixels(data)
    return len(data) * _MOST_PIXELS_A_BYTE.get(str(image.format), math.inf)


def _coded_pixels(avif: bytes) -> float:
    """The pixels of all pictures coded in an AVIF file: Pillow would scale fewer up to what the header claims."""
    import av

    try:
        with av.open(BytesIO(avif), options={"max_pixels": str(PILLOW_MAX_PIXELS)}) as container:
            return sum(stream.width * stream.height for stream in container.streams.video)
    except (av.error.FFmpegError, ValueError):
        return math.inf  # a form that FFmpeg does not know


def too_large(size_wh: tuple[int, int], max_pixels: int) -> str:
    """Say that an image or a video has more pixels than the limit."""
    return f"{size_wh[0]}x{size_wh[1]} pixels, above the limit of {max_pixels:,}: scale it down, or raise max_pixels"


class PixelLimit:
    """The most pixels of a frame, and how many frames were left out as their headers state more.

    Attributes:
        max_pixels: the limit.
        count: how many were left out.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels, self.count, self._size_wh = max_pixels, 0, (0, 0)

    def leaves_out(self, size_wh: tuple[int, int]) -> bool:
        """Whether a frame is larger, which is counted."""
        if size_wh[0] * size_wh[1] <= self.max_pixels:
            return False
        self.count, self._size_wh = self.count + 1, size_wh
        return True

    def __str__(self) -> str:
        """Say how many were left out, and of which size the last one was."""
        frames = "1 frame" if self.count == 1 else f"{self.count} frames"
        return f"{frames} left out: {too_large(self._size_wh, self.max_pixels)}"


def _open_pillow(file: BinaryIO) -> ImageFile:
    import PIL.Image

    for name in _PLUGINS:
        importlib.import_module(f"PIL.{name}ImagePlugin")
    return PIL.Image.open(file, formats=_READERS)


def _open_heif(file: BinaryIO, name: str) -> ImageFile:
    try:
        from pillow_heif import HeifImageFile  # without registering it: Pillow may have other users here
    except ImportError as exc:
        raise SourceError(f"{name}: HEIC needs pillow-heif: pip install 'quietframe[heif]'") from exc
    image: ImageFile = HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image


def _is_heif(file: BinaryIO) -> bool:
    """Whether a file is HEIC: of the containers that AVIF shares, one that does not name AVIF."""
    head = file.read(64)
    file.seek(0)
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head and b"avis" not in head


def _begins_as_video(head: bytes) -> bool:
    """Whether a file begins as MP4 or MOV, Matroska, AVI, MPEG or bare H.264: nothing that Pillow needs to see."""
    if head[4:8] == b"ftyp":
        return head[8:12] not in _HEIF_BRANDS | {b"avif", b"avis"}
    is_mpeg = head[:3] == b"\0\0\1" and head[3:4] != b"\0"  # an icon goes on with a zero
    return is_mpeg or head.startswith(_VIDEO_STARTS) or head[8:12] == b"AVI "


def _format_name(file: BinaryIO) -> str | None:
    """Pillow's name for what a file holds, kinds included that are not read; None for what is no image."""
    import PIL.Image

    file.seek(0)
    if _is_heif(file):
        return "HEIF"
    try:
        with PIL.Image.open(file) as image:
            return image.format if image.format not in ("MPEG", "FLI") else None
    except PIL.Image.DecompressionBombError:
        return "too large"
    except Exception:  # noqa: BLE001  no more is asked than whether Pillow knows it
        return None


def _decode(image: ImageFile, data: bytes, name: str, *, to_8bit: bool, keep_16bit: bool) -> Decoded:
    """Decode an opened image. Raises SourceError, or what Pillow raises of a damaged one."""
    from PIL import ImageOps

    _refuse_others(image, name)
    is_deep = _is_deep(image, data)
    as_8bit = image.format in ("AVIF", "HEIF")  # of which Pillow gives 8 bits, rounded, whatever they hold
    if is_deep and image.mode == "CMYK":
        raise SourceError(f"{name}: CMYK of 16 bits a channel: convert it to RGB first")
    if is_deep and not to_8bit and (as_8bit or not keep_16bit):
        remedy = "" if as_8bit else ", or denoise it with a model file of floats, which keeps them"
        raise SourceError(f"{name}: more than 8 bits a channel; pass --to-8bit to reduce them to 8{remedy}")
    clear = image.info.get("transparency")
    if image.mode == "L" and str(image.tile[0].args) in ("L;2", "L;4"):  # Pillow scales pixels to 8 bits alone
        image.info["transparency"] = clear * (85 if image.tile[0].args == "L;2" else 17) if clear is not None else None
    image = _load(image, data)
    exif = image.info.get("exif")  # as stored: what turns the image writes it anew, and moves it
    stored: PillowImage = image
    if is_deep and not as_8bit:
        orientation = image.getexif().get(_ORIENTATION, 1)
        pixels: NDArray[Any]
        alpha: NDArray[Any] | None
        pixels, alpha = _decode_deep(data, clear, name)
        if image.format != "TIFF":  # OpenCV turns a TIFF, and leaves others to its caller
            pixels, alpha = _turned(pixels, orientation), None if alpha is None else _turned(alpha, orientation)
        if to_8bit:
            pixels, alpha = to_8_bits(pixels), None if alpha is None else to_8_bits(alpha)
        return pixels, alpha, read_metadata(image, data, exif)
    ImageOps.exif_transpose(stored, in_place=True)
    metadata = read_metadata(image, data, exif)
    if stored.mode == "CMYK":
        stored, metadata = _from_inks(stored, metadata, name)
    if stored.mode in _KINDS:
        raise SourceError(f"{name}: holds {_KINDS[stored.mode]}, expected gray or RGB of 8 bits a channel")
    return _as_arrays(stored, metadata)


def _refuse_others(image: ImageFile, name: str) -> None:
    """Raise SourceError for several images in a file, and for a raw photograph's preview."""
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or tags.get(_SUBFILE, 0) & 1:
        raise SourceError(f"{name}: a camera's raw file: develop it to a 16-bit TIFF or a JPEG first")
    # A JPEG's further images are previews, depth maps and the like; so are reduced pages of a TIFF.
    frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    if frames > 1 and image.format == "TIFF":
        pages: Any = image
        others = 0
        for page in range(1, min(frames, _MAX_PAGES)):
            pages.seek(page)
            others += not pages.tag_v2.get(_SUBFILE, 0) & 1
        pages.seek(0)
        frames = 1 + others
    if frames > 1:
        raise SourceError(f"{name}: holds several images: save them one by one, or as a video")


def _is_deep(image: ImageFile, data: bytes) -> bool:
    """Whether the file holds more than 8 bits a channel, which Pillow would cut off in colour."""
    if image.format == "JPEG2000":
        at = data.find(_J2K_START) + 42  # the depth of the first component (ITU-T T.800, A.5.1)
        return data[at] & 0x7F > 7
    if image.format == "PPM":
        return image.mode == "I" or any(isinstance(t.args, tuple) and t.args[-1] not in range(256) for t in image.tile)
    if image.format == "AVIF":
        at = data.find(b"av1C") + 6  # AV1 in ISOBMFF, 2.3.3: two bytes, then the tier and whether there are more bits
        return bool(data[at] & 0x40)
    if image.format == "HEIF":
        return bool(image.info.get("bit_depth", 8) > 8)
    depths = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return image.mode.startswith("I;16") or (
        image.format in ("PNG", "TIFF")
        and image.mode not in ("F", "I")
        and (";16" in str(image.tile) or max(depths) > 8)
    )


def _load(image: ImageFile, data: bytes) -> ImageFile:
    """Decode the pixels. A JPEG whose end marker alone is missing is whole.

    That nothing else is missing shows when what follows, whatever it is, changes no pixel.
    """
    try:
        image.load()
    except OSError:
        if image.format not in ("JPEG", "MPO") or not has_all_scans(data):
            raise
        body = data[:-1] if data.endswith(b"\xff") else data
        ends = (bytes([filler]) * 64 + b"\xff\xd9" for filler in _FILLERS)
        first, *others = (_open_pillow(BytesIO(body + end)) for end in ends)
        if any(other.tobytes() != first.tobytes() for other in others):
            raise OSError("the file ends within the image") from None
        return first
    return image


def has_all_scans(jpeg: bytes) -> bool:
    """Whether the scans of a JPEG, complete or not, give every bit of every coefficient (ITU-T T.81, annex G)."""
    missing: set[tuple[int, int]] = set()
    for marker, segment in _segments(jpeg):
        if marker == b"\xc2":
            missing = {(component, place) for component in segment[8::3] for place in range(64)}
        elif marker == b"\xda" and len(segment) >= 6:
            first, last, bits = segment[-3:]
            if bits % 16 == 0:  # no lower bits are to follow
                missing -= {(component, place) for component in segment[3:-3:2] for place in range(first, last + 1)}
    return not missing


def jpeg_shape_hwc(jpeg: bytes) -> tuple[int, int, int]:
    """The height, width and number of channels that a JPEG's header states; zeros without one."""
    for marker, segment in _segments(jpeg):
        if marker < b"\xd0" and marker not in _NO_SIZE and len(segment) > 7:
            return int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[5:7], "big"), segment[7]
    return 0, 0, 0


def _segments(jpeg: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The markers of a JPEG and their segments, length included."""
    at = 2
    while match := _JPEG_MARKER.search(jpeg, at):
        at = match.end()
        segment = jpeg[at : at + int.from_bytes(jpeg[at : at + 2], "big")]
        yield match[1], segment
        at += max(2, len(segment))


def _decode_deep(data: bytes, alpha_level: Any, name: str) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """Decode 16 bits a channel, as stored: Pillow would drop the lower half of each value of a color image.

    alpha_level: the value, gray or RGB, that stands for transparent pixels, if one does. Returns pixels and alpha.
    """
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16:
        raise SourceError(f"{name}: more than 8 bits a channel in a form that is not read: convert it to 8 bits first")
    if deep.ndim == 3 and deep.shape[2] in (2, 4):
        color = deep[:, :, 0] if deep.shape[2] == 2 else deep[:, :, :3]
        return np.ascontiguousarray(color), deep[:, :, -1].copy()
    if alpha_level is None:
        return deep, None
    is_clear = (deep == np.array(alpha_level)[..., ::-1]).all(axis=-1) if deep.ndim == 3 else deep == alpha_level
    return deep, np.where(is_clear, 0, 65535).astype(np.uint16)


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn an array upright by an EXIF orientation."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows, columns = (-1 if orientation in (3, 4, 7, 8) else 1), (-1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[::rows, ::columns])


def _from_inks(image: PillowImage, metadata: Metadata, name: str) -> tuple[PillowImage, Metadata]:
    """Convert printing inks to sRGB by the profile that says what they look like."""
    from PIL import ImageCms

    if not metadata.icc:
        raise SourceError(f"{name}: CMYK without a colour profile: convert it to RGB first")
    screen = ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(image, BytesIO(metadata.icc), screen, outputMode="RGB")
    except ImageCms.PyCMSError as exc:
        raise SourceError(f"{name}: CMYK with a colour profile that cannot be used: convert it to RGB first") from exc
    assert converted is not None
    return converted, replace(metadata, icc=ImageCms.ImageCmsProfile(screen).tobytes())


def _as_arrays(image: PillowImage, metadata: Metadata) -> Decoded:
    """The pixels of a decoded image that Pillow can convert to gray or RGB, with or without alpha."""
    clear = image.info.get("transparency")
    if image.mode == "1" and clear is not None:  # which Pillow 11 gives as 1, and 13 as 255
        gray = np.array(image.convert("L"))
        return gray, np.where(gray == (255 if clear else 0), 0, 255).astype(np.uint8), metadata
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or clear is not None
    is_gray = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("P", "PA") and not metadata.icc:
        palette = np.reshape(image.getpalette() or [0, 0, 1], (-1, 3))
        is_gray = bool((palette == palette[:, :1]).all())
    mode = _MODES[is_gray, has_alpha]
    pixels = np.array(image if image.mode == mode else image.convert(mode))
    if mode == "L":
        return pixels, None, metadata
    if mode == "LA":
        return pixels[:, :, 0].copy(), pixels[:, :, 1].copy(), metadata
    alpha = pixels[:, :, 3].copy() if has_alpha else None
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGR if has_alpha else cv2.COLOR_RGB2BGR), alpha, metadata
