"""Print the tables of docs/formats.md: images of every format are made, read, written and read again.

`python docs/research/formats.py --write` puts them into the page. Needs the extra `heif`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pillow_heif
from PIL import ImageCms

import quietframe as qf
from quietframe.errors import QuietFrameError
from quietframe.images import WRITERS
from quietframe.metadata import Metadata

PAGE = Path(__file__).parents[1] / "formats.md"
BEGIN, END = "<!-- tables: docs/research/formats.py -->", "<!-- end of tables -->"

FIELDS = {"icc": "profile", "exif": "EXIF", "xmp": "XMP", "iptc": "IPTC", "dpi_xy": "DPI", "comments": "comments"}
FIELDS |= {"texts": "comments"}
READ = {  # Pillow's name: the suffixes, and the format in words
    "JPEG": (".jpg .jpeg", "JPEG"),
    "PNG": (".png", "PNG"),
    "TIFF": (".tif .tiff", "TIFF, BigTIFF"),
    "WEBP": (".webp", "WebP"),
    "BMP": (".bmp", "BMP"),
    "AVIF": (".avif", "AVIF"),
    "HEIF": (".heic .heif", "HEIC"),
    "GIF": (".gif", "GIF"),
    "JPEG2000": (".jp2 .j2k", "JPEG 2000"),
    "PPM": (".ppm .pgm", "PPM, PGM"),
}
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block() -> bytes:
    """An EXIF block with a maker, beginning with its byte order mark."""
    exif = PIL.Image.Exif()
    exif[271] = "ACME"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def everything() -> Metadata:
    """All that an image can have beside its pixels."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    iptc = b"8BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x69\0\x05title"
    return Metadata(ICC, exif_block(), xmp, iptc, (300.0, 300.0), (b"a comment",))


def sample(pillow_format: str) -> bytes:
    """A file of a format, as another program may write it, with what it can hold beside its pixels."""
    pixels = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    full, file = everything(), BytesIO()
    suffix = READ[pillow_format][0].split()[0]
    if suffix in WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"a{suffix}")
            qf.write_image(path, qf.Image(np.asarray(pixels), metadata=full))
            return path.read_bytes()
    pillow_heif.register_heif_opener()
    exif = b"Exif\0\0" + (full.exif or b"")
    pixels.save(file, pillow_format, icc_profile=full.icc, exif=exif, xmp=full.xmp, comment=b"a comment")
    return file.getvalue()


def read(data: bytes, **options: Any) -> qf.Image:
    """Read an image from bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(data)
        return qf.read_image(path, **options)


def kept(metadata: Metadata | None) -> str:
    """The names of what there is, in one order."""
    names = [name for field, name in FIELDS.items() if getattr(metadata, field)]
    return ", ".join(dict.fromkeys(names)) or "none"


def refusals() -> Iterator[tuple[str, bytes]]:
    """Files that are refused, by what they hold."""
    pixels = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))

    def saved(image: PIL.Image.Image, pillow_format: str, **options: Any) -> bytes:
        file = BytesIO()
        image.save(file, pillow_format, **options)
        return file.getvalue()

    deep = PIL.Image.fromarray(np.full((16, 16), 40000, np.uint16))
    ten_bits = BytesIO()
    pillow_heif.encode("RGB;16", (16, 16), bytes(16 * 16 * 6), ten_bits)
    more = {"save_all": True, "append_images": [pixels.rotate(90)]}
    yield "16-bit PNG, TIFF, PGM", saved(deep, "PNG")
    yield "HEIC and AVIF of 10 or 12 bits", ten_bits.getvalue()
    yield "floating point TIFF", saved(pixels.convert("F"), "TIFF")
    yield "CMYK JPEG or TIFF without a profile", saved(pixels.convert("CMYK"), "JPEG")
    for name, words in (("GIF", "animated GIF"), ("PNG", "animated PNG"), ("WEBP", "animated WebP")):
        yield words, saved(pixels, name, **more)
    yield "TIFF of several pages", saved(pixels, "TIFF", **more)
    yield "JPEG that is cut short", saved(pixels, "JPEG")[:400]
    yield "PNG that is cut short", saved(pixels, "PNG")[:400]
    for name in ("TGA", "QOI", "ICO", "DDS", "PCX", "SGI"):
        yield name, saved(pixels, name)
    yield "more than 179 megapixels", saved(PIL.Image.new("1", (20000, 20000)), "PNG")


def tables() -> str:
    """The tables in Markdown."""
    lines = ["| format | suffixes | read by | what is read beside the pixels |", "|---|---|---|---|"]
    for name, (suffixes, words) in READ.items():
        image = read(sample(name))
        reader = "pillow-heif (extra `heif`)" if name == "HEIF" else "Pillow"
        lines.append(f"| {words} | {suffixes} | {reader} | {kept(image.metadata)} |")
    lines += ["", "| written | pixels | bits a channel | transparency | what is kept |", "|---|---|---|---|---|"]
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    alpha = np.full((64, 64), 100, np.uint8)
    for suffix in (".jpg", ".png", ".tif", ".webp", ".bmp"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"a{suffix}")
            qf.write_image(path, qf.Image(smooth, metadata=everything()))
            image = qf.read_image(path)
            exact = "lossless" if np.array_equal(image.pixels, smooth) else "quality 95, or `--quality`"
            try:
                qf.write_image(path, qf.Image(smooth, alpha))
                clear = "kept"
            except QuietFrameError:
                clear = "refused"
            try:
                qf.write_image(path, qf.Image(smooth.astype(np.uint16)))
                bits = "8, 16"
            except QuietFrameError:
                bits = "8"
        lines.append(f"| {suffix} | {exact} | {bits} | {clear} | {kept(image.metadata)} |")
    lines += ["", "| refused | what is said |", "|---|---|"]
    for words, data in refusals():
        try:
            read(data)
            said = "read"
        except QuietFrameError as exc:
            said = str(exc).partition("/a: ")[2]
        lines.append(f"| {words} | {said} |")
    return "\n".join(lines)


def page_with(new: str) -> str:
    """The page, with new tables in their place."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n\n{new}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(tables()), encoding="utf-8")
    else:
        sys.stdout.write(tables() + "\n")
