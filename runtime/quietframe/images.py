"""Image files, read and written by Pillow: nothing is lost and nothing invented. OpenCV works on their arrays."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.decoding import MAX_PIXELS, decode
from quietframe.deep import encode_deep
from quietframe.errors import FrameError, OutputError, OutputExistsError, SourceError
from quietframe.metadata import Metadata, save_options

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

WRITERS: Mapping[str, str] = {
    ".bmp": "BMP",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
"""The suffixes of files that are written, in lower case, and Pillow's name for their format."""

IMAGE_SUFFIXES = frozenset({*WRITERS, ".avif", ".heic", ".heif", ".gif", ".jp2", ".j2k", ".pgm", ".ppm"})
"""File names that a folder is searched for, in lower case. What a file holds is recognized by its content."""

_WHOLE = {"PNG": {"compress_level": 1, "compress_type": 3}, "WEBP": {"lossless": True, "exact": True, "method": 1}}


class Pixels:
    """What an image and a frame share: they stand for their pixels in NumPy, and are equal only to themselves."""

    pixels: NDArray[Any]

    @property
    def bgr(self) -> NDArray[Any]:
        """(H, W, 3): the pixels; gray ones repeated for each color."""
        return cv2.cvtColor(self.pixels, cv2.COLOR_GRAY2BGR) if self.pixels.ndim == 2 else self.pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.pixels, dtype, copy=copy)

    def __repr__(self) -> str:
        """What is set, arrays by their shape alone."""
        values = ((f.name, getattr(self, f.name), f.default) for f in fields(self))  # type: ignore[arg-type]
        words = (f"{name}={getattr(value, 'shape', value)!r}" for name, value, unset in values if value is not unset)
        return f"{type(self).__name__}({', '.join(words)})"


@dataclass(frozen=True, eq=False, repr=False)
class Image(Pixels):
    """An image as read from a file. Equal only to itself; `np.asarray(image)` gives its pixels.

    Attributes:
        pixels: (H, W, 3) BGR, or (H, W) gray; uint8, or uint16 of 16 bits a channel.
        alpha: (H, W) opacity where the file has it, of the same type.
        metadata: what else the file holds, for `write_image` to keep.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    metadata: Metadata | None = None


def read_image(
    path: str | Path, *, to_8bit: bool = False, keep_16bit: bool = False, max_pixels: int = MAX_PIXELS
) -> Image:
    """Read an image file, turned upright as its EXIF orientation says. docs/formats.md names the formats.

    Args:
        path: the file.
        to_8bit: reduce more than 8 bits a channel to 8 (16 by 257, so that white stays white) in place of refusing.
        keep_16bit: without `to_8bit`, return the 16 bits a channel of a PNG, TIFF, PPM or JPEG 2000 as uint16.
        max_pixels: refuse an image whose header states more, before its pixels take memory; up to 178,956,970.

    Raises:
        SourceError: missing, empty, truncated, no image, of a kind that is not read, more than 8 bits a channel without
            either of these, CMYK without a profile, HEIC without the extra `heif`, of more pixels than the limit, or
            more than one image (animations, pages).
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: no path at all
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise SourceError(f"{path}: cannot be read ({reason})") from exc
    if not data:
        raise SourceError(f"{path}: the file is empty")
    return Image(*decode(data, str(path), to_8bit=to_8bit, keep_16bit=keep_16bit, max_pixels=max_pixels))


def write_image(path: str | Path, image: Image, *, quality: int = 95, overwrite: bool = True) -> None:
    """Write an image in the format that the file name says, with its alpha and its metadata.

    The file appears whole or not at all: it is written beside and moved into place. PNG, TIFF, WebP and BMP are
    lossless; PNG and TIFF hold uint16 pixels. What a format has no place for is left out, but never the alpha.

    Args:
        path: the file.
        image: what to write.
        quality: of a JPEG, in [1, 100]. Its chroma subsampling is the one that was read, else 4:4:4.
        overwrite: replace a file that exists.

    Raises:
        OutputError: unknown format, a format that cannot hold the alpha or 16 bits, a file that exists (without
            `overwrite`), or a folder or disk that takes no file.
        FrameError: the pixels or the alpha are not images of one size and type.
    """
    path = Path(path)
    pillow_format = WRITERS.get(path.suffix.lower())
    check_frame(image.pixels, deep=True)
    is_deep = image.pixels.dtype == np.uint16
    if image.alpha is not None:
        check_frame(image.alpha, deep=is_deep)
        if image.alpha.shape != image.pixels.shape[:2] or image.alpha.dtype != image.pixels.dtype:
            expected, alpha = f"{image.pixels.dtype} of shape {image.pixels.shape[:2]}", image.alpha
            raise FrameError(f"Expected alpha: {expected}. Received: {alpha.dtype} of shape {alpha.shape}")
        if pillow_format in ("JPEG", "BMP"):
            raise OutputError(f"{path}: {path.suffix} cannot hold the image's transparency: write .png or .webp")
    if pillow_format is None:
        known = " ".join(sorted(WRITERS))
        raise OutputError(f"{path}: unknown image format {path.suffix or '(none)'!r}: use one of {known}")
    if is_deep and pillow_format not in ("PNG", "TIFF"):
        raise OutputError(f"{path}: {path.suffix} cannot hold 16 bits a channel: write .png or .tif, or pass --to-8bit")
    kept = image.metadata or Metadata()
    options: dict[str, Any] = dict(_WHOLE.get(pillow_format, {}))
    if pillow_format == "JPEG":
        options |= {"quality": quality, "subsampling": kept.subsampling or 0}
    file = BytesIO()
    try:
        options |= save_options(kept, pillow_format, gray=image.pixels.ndim == 2)
        if is_deep:
            file.write(encode_deep(image.pixels, image.alpha, pillow_format, options))
        else:
            _as_pillow(image).save(file, pillow_format, **options)
    except Exception as exc:
        reason = " ".join(str(exc).split()) or type(exc).__name__
        remedy = ": try another format, or --strip-metadata" if image.metadata else ""
        raise OutputError(f"{path}: Pillow cannot write this image ({reason}){remedy}") from exc
    with file.getbuffer() as data:  # held by an error, Python 3.13 would print a complaint as it frees the file
        write_whole(path, data, overwrite=overwrite)


def write_whole(path: Path, data: bytes | memoryview, *, overwrite: bool = True) -> None:
    """Write a file beside its place and move it there, so that it appears whole or not at all.

    Raises:
        OutputError: the folder or disk takes no file, or it exists (without `overwrite`).
    """
    part = part_path(path)
    try:
        part.write_bytes(data)
        move_into_place(part, path, overwrite=overwrite)
    except (OSError, ValueError) as exc:  # ValueError: no path at all
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise OutputError(f"{path}: cannot be written ({reason})") from exc
    finally:
        with contextlib.suppress(OSError):  # what is wrong with the place was said above
            part.unlink()


def part_path(path: Path) -> Path:
    """A hidden name beside `path` for a file in the making; short, as a long name must not become too long."""
    return path.with_name(f".{os.urandom(6).hex()}.part")


def move_into_place(part: Path, path: Path, *, overwrite: bool) -> None:
    """Give a finished file its name, at once and whole; of two processes with one name the second is refused.

    Raises:
        OutputExistsError: the name is taken (without `overwrite`).
        OSError: the place takes no file.
    """
    try:
        if not overwrite:
            try:
                os.link(part, path)
                part.unlink()
                return
            except OSError as exc:
                if exc.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                    raise
                path.open("xb").close()  # a file system without links, as on memory cards: take the name first
        part.replace(path)
    except FileExistsError as exc:
        raise OutputExistsError(f"{path}: exists already: pass --overwrite to replace it") from exc


def _as_pillow(image: Image) -> PillowImage:
    import PIL.Image

    if image.pixels.ndim == 3 and image.alpha is None:  # without a copy in another order
        return PIL.Image.frombytes("RGB", image.pixels.shape[1::-1], np.ascontiguousarray(image.pixels), "raw", "BGR")
    pixels = image.pixels if image.pixels.ndim == 2 else cv2.cvtColor(image.pixels, cv2.COLOR_BGR2RGB)
    return PIL.Image.fromarray(pixels if image.alpha is None else np.dstack([pixels, image.alpha]))


def check_frame(frame: NDArray[Any], *, alpha: bool = False, deep: bool = False) -> None:
    """Raise FrameError unless `frame` is (H, W, 3) uint8 BGR or (H, W) uint8 gray with at least one pixel.

    alpha: also allow (H, W, 4). deep: also allow uint16.
    """
    shape, dtype = getattr(frame, "shape", None), getattr(frame, "dtype", None)
    types, shapes = "uint8 or uint16" if deep else "uint8", "(H, W, 3), (H, W, 4)" if alpha else "(H, W, 3)"
    expected = f"Expected a {types} array of shape {shapes} or (H, W). Received:"
    if shape is None or dtype is None:
        raise FrameError(f"{expected} {type(frame).__name__}")
    is_frame = len(shape) == 2 or (len(shape) == 3 and (shape[2] == 3 or (alpha and shape[2] == 4)))
    if dtype not in ((np.uint8, np.uint16) if deep else (np.uint8,)) or not is_frame or 0 in shape:
        raise FrameError(f"{expected} {dtype} of shape {shape}")
