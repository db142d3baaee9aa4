"""What stands beside an image's pixels: colour profile, EXIF, XMP, IPTC, resolution and comments, through Pillow."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

_EXIF = b"Exif\0\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_COLOR_CHUNKS = ("sRGB", "gAMA", "cHRM", "cICP")  # of PNG, beside its profile: those that Pillow writes
_XMP_TEXT = "XML:com.adobe.xmp"
_ORIENTATION, _DESCRIPTION, _X_RESOLUTION, _IPTC = 274, 270, 282, 34377
# TIFF tags of the stored pixels (TIFF 6.0 and its supplements), and those that have a field of their own below.
_PIXEL_TAGS = {*range(254, 260), 262, 263, 266, 273, *range(277, 285), 290, 291, 292, 293, 296, 297, 301, 317, 320}
_PIXEL_TAGS |= {*range(321, 333), 338, 339, 340, 341, 347, *range(512, 522), 529, 530, 531, 532}
_PIXEL_TAGS |= {_ORIENTATION, 700, _IPTC, 34675}


@dataclass(frozen=True, eq=False, repr=False)
class Metadata:
    """What an image file holds beside its pixels, for `write_image` to keep. Equal only to itself.

    Attributes:
        icc: the colour profile.
        exif: the EXIF block, from its byte order mark on; its orientation is 1, and its thumbnail is not linked.
        xmp: the XMP packet.
        iptc: Photoshop's resources, in which IPTC captions and keywords stand.
        dpi_xy: the resolution in dots per inch.
        comments: comments of a JPEG or GIF, in order.
        texts: a PNG's texts by keyword.
        png_chunks: a PNG's statements on its colours, by chunk name.
        subsampling: a JPEG's chroma subsampling: 0 is 4:4:4, 1 is 4:2:2, 2 is 4:2:0.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi_xy: tuple[float, float] | None = None
    comments: tuple[bytes, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    png_chunks: Mapping[str, bytes] = field(default_factory=dict)
    subsampling: int | None = None

    def __repr__(self) -> str:
        """The names of what there is."""
        return f"<Metadata {', '.join(f.name for f in fields(self) if getattr(self, f.name))}>"


def read_metadata(image: PillowImage, data: bytes, exif: bytes | None) -> Metadata:
    """Read what stands beside the pixels of an image that was loaded and turned upright.

    Args:
        image: it.
        data: the file.
        exif: its EXIF block as stored: what turns an image writes it anew, and moves what makers' notes point at.
    """
    info = image.info
    segments = [(name, bytes(data)) for name, data in getattr(image, "applist", ())]
    comments = [data for name, data in segments if name == "COM"] or [info.get("comment", b"")]
    iptc = b"".join(data[len(_PHOTOSHOP) :] for name, data in segments if name == "APP13" and data[:14] == _PHOTOSHOP)
    if image.format == "TIFF":
        tags: Any = image
        iptc = tags.tag_v2.get(_IPTC, b"")
        exif = _tiff_exif(image)
    elif not exif and len(image.getexif()):  # a PNG's that ImageMagick wrote as a text
        exif = image.getexif().tobytes()
    xmp = info.get("xmp")  # from which the orientation was taken
    dpi = info.get("dpi") if _X_RESOLUTION in getattr(image, "tag_v2", (_X_RESOLUTION,)) else None
    subsampling = None
    if image.format in ("JPEG", "MPO"):
        from PIL.JpegImagePlugin import get_sampling

        subsampling = get_sampling(image)
    texts = {key: text for key, text in getattr(image, "text", {}).items() if key != _XMP_TEXT and "exif" not in key}
    return Metadata(
        icc=info.get("icc_profile") or None,
        exif=_without_orientation(exif) if exif else None,
        xmp=xmp.encode() if isinstance(xmp, str) else xmp or None,
        iptc=iptc or None,
        dpi_xy=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
        comments=tuple(comment if isinstance(comment, bytes) else comment.encode() for comment in comments if comment),
        texts=texts,
        png_chunks=_color_chunks(data) if image.format == "PNG" else {},
        subsampling=subsampling if subsampling in (0, 1, 2) else None,
    )


def save_options(kept: Metadata, pillow_format: str, *, gray: bool) -> dict[str, Any]:
    """Return the arguments by which Pillow writes, of what is kept, all that a format has a place for.

    gray: the file will have one colour channel, or is one of three equal ones.
    """
    options: dict[str, Any] = {"exif": _EXIF + kept.exif if kept.exif else None, "dpi": kept.dpi_xy}
    # WebP has no gray, and a profile for gray does not fit three channels.
    options["icc_profile"] = None if gray and pillow_format == "WEBP" else kept.icc
    if pillow_format == "JPEG":
        options["xmp"] = kept.xmp
        comments = kept.comments or tuple(text.encode() for key, text in kept.texts.items() if key == "Comment")
        options["extra"] = b"".join(_segment(0xFE, comment) for comment in comments)
        if kept.iptc:
            options["extra"] += _segment(0xED, _PHOTOSHOP + kept.iptc)
    elif pillow_format == "WEBP":
        options["xmp"] = kept.xmp
    elif pillow_format == "PNG":
        options["pnginfo"] = _png_info(kept)
    elif pillow_format == "TIFF":
        del options["exif"]  # `tiffinfo` holds it
        options["tiffinfo"] = _tiff_tags(kept)
    return {name: value for name, value in options.items() if value}


def _without_orientation(exif: bytes) -> bytes:
    """Set the orientation to 1 in place, which moves nothing: makers' notes may point at offsets in the block.

    The thumbnail, which shows the image as it was, is no longer linked. A damaged block stays as it is.
    """
    block = bytearray(exif.removeprefix(_EXIF))
    order = "<" if block[:2] == b"II" else ">"
    with contextlib.suppress(struct.error):
        (at,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}H", block, entry) == (_ORIENTATION,):
                struct.pack_into(f"{order}HIHH", block, entry + 2, 3, 1, 1, 0)
        struct.pack_into(f"{order}I", block, at + 2 + 12 * count, 0)
    return bytes(block)


def _tiff_exif(image: PillowImage) -> bytes | None:
    """The tags of a TIFF that do not describe its stored pixels, as an EXIF block."""
    exif = image.getexif()
    for tag in _PIXEL_TAGS & set(exif):
        del exif[tag]
    _keep_letters(exif)
    return exif.tobytes() if len(exif) else None


def _tiff_tags(kept: Metadata) -> Any:
    from PIL.Image import Exif

    exif = Exif()
    if kept.exif:
        exif.load(_EXIF + kept.exif)
    _keep_letters(exif)
    texts = [comment.decode(errors="replace") for comment in kept.comments]
    texts += [text for key, text in kept.texts.items() if key in ("Comment", "Description")]
    if texts and _DESCRIPTION not in exif:
        exif[_DESCRIPTION] = texts[0]
    for tag, value in ((700, kept.xmp), (_IPTC, kept.iptc)):
        if value:
            exif[tag] = value
    return exif


def _keep_letters(exif: Any) -> None:
    """Give strings beyond ASCII back as the bytes they were: Pillow reads Latin-1 and would write question marks."""
    for tag, value in list(exif.items()):
        if isinstance(value, str) and not value.isascii():
            exif[tag] = value.encode("latin-1", "replace")


def _png_info(kept: Metadata) -> Any:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    for name, content in kept.png_chunks.items():
        chunks.add(name.encode(), content)
    for key, text in kept.texts.items():
        chunks.add_text(key, text)
    if "Comment" not in kept.texts:
        for comment in kept.comments:
            chunks.add_text("Comment", comment.decode(errors="replace"))
    if kept.xmp:
        chunks.add_itxt(_XMP_TEXT, kept.xmp.decode(errors="replace"))
    return chunks


def _color_chunks(png: bytes) -> dict[str, bytes]:
    """The chunks that say what colours mean: all of them come before the pixels (PNG, third edition, 5.6)."""
    found = takewhile(lambda chunk: chunk[0] != "IDAT", split_png(png))
    return {name: chunk[8:-4] for name, chunk in found if name in _COLOR_CHUNKS}


def split_png(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Split a PNG file into its chunks: the name of each, and the whole of it."""
    at = len(b"\x89PNG\r\n\x1a\n")
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8].decode("latin-1"), data[at:end]
        at = end


def _segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG. Raises ValueError if it does not fit."""
    if len(content) > 0xFFFD:
        raise ValueError("a comment or IPTC block is too long for JPEG")
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
