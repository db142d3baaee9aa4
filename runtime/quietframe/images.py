"""Image files: reading and writing pictures without losing or inventing anything."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import FrameError, OutputError, SourceError
from quietframe.image_header import read_header

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
"""File names that a folder is searched for, in lower case. What a file holds is recognized by its content."""


class Pixels:
    """What an image and a frame share: they stand for their pixels in NumPy, and are equal only to themselves."""

    pixels: NDArray[np.uint8]

    @property
    def bgr(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8: the pixels; gray ones repeated for each color."""
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
        pixels: (H, W, 3) uint8 BGR, or (H, W) uint8 gray.
        alpha: (H, W) uint8 opacity where the file has it.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None


def read_image(path: str | Path, *, to_8bit: bool = False) -> Image:
    """Read a JPEG, PNG, BMP, TIFF or WebP file, turned upright as its EXIF orientation says.

    Args:
        path: the file.
        to_8bit: reduce 16 bits a channel to 8 (by 257, so that white stays white) in place of refusing.

    Raises:
        SourceError: missing, empty, truncated, not a picture, CMYK, 16-bit without `to_8bit`, floating point, or
            more than one picture (animations, pages).
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as exc:  # ValueError: no path at all
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise SourceError(f"{path}: cannot be read ({reason})") from exc
    if not data:
        raise SourceError(f"{path}: the file is empty")
    header = read_header(data)
    if header.is_cmyk:
        raise SourceError(f"{path}: CMYK pictures are not supported: convert it to RGB first")
    if header.is_sequence:
        raise SourceError(f"{path}: holds several pictures: save them one by one, or as a video")
    # JPEG has no alpha, and IMREAD_UNCHANGED would ignore its orientation.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if header.is_jpeg else cv2.IMREAD_UNCHANGED
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as exc:
        raise SourceError(f"{path}: not a picture that OpenCV can read ({exc.err})") from exc
    if pixels is None or header.is_cut:
        raise SourceError(f"{path}: not a picture, or a damaged one")
    return _as_image(_upright(pixels, header.left_to_turn), str(path), to_8bit=to_8bit)


def write_image(path: str | Path, image: Image) -> None:
    """Write a picture in the format that the file name says; alpha goes along where the format has it.

    The file appears whole or not at all: it is written beside and renamed into place.

    Raises:
        OutputError: unknown format, a format that cannot hold the alpha, or a folder or disk that takes no file.
        FrameError: the pixels or the alpha are not 8-bit pictures of one size.
    """
    path = Path(path)
    pixels = image.pixels
    check_frame(pixels)
    if image.alpha is not None:
        check_frame(image.alpha)
        if image.alpha.shape != pixels.shape[:2]:
            raise FrameError(f"Expected alpha of shape {pixels.shape[:2]}. Received: {image.alpha.shape}")
    if image.alpha is not None:
        if path.suffix.lower() in (".jpg", ".jpeg", ".bmp"):
            raise OutputError(f"{path}: {path.suffix} cannot hold the picture's transparency: write .png or .webp")
        pixels = np.dstack([image.bgr, image.alpha])
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise OutputError(f"{path}: unknown picture format {path.suffix or '(none)'!r}: use one of {known}")
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100: lossless
    }.get(path.suffix.lower(), [])
    try:
        done, data = cv2.imencode(path.suffix, pixels, options)
    except cv2.error as exc:
        raise OutputError(f"{path}: OpenCV cannot write this picture ({exc.err})") from exc
    if not done:
        raise OutputError(f"{path}: OpenCV cannot write this picture")
    write_whole(path, data.tobytes())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it there, so that it appears whole or not at all.

    Raises:
        OutputError: the folder or disk takes no file.
    """
    part = path.with_name(f".{os.urandom(6).hex()}.part")  # short: a long name must not become too long
    try:
        part.write_bytes(data)
        part.replace(path)
    except (OSError, ValueError) as exc:  # ValueError: no path at all
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise OutputError(f"{path}: cannot be written ({reason})") from exc
    finally:
        with contextlib.suppress(OSError):  # what is wrong with the place was said above
            part.unlink()


def _as_image(pixels: NDArray[Any], name: str, *, to_8bit: bool) -> Image:
    if pixels.dtype == np.uint16:
        if not to_8bit:
            raise SourceError(f"{name}: 16 bits a channel; pass --to-8bit to reduce it to 8")
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise SourceError(f"{name}: holds {pixels.dtype} values, expected 8 bits a channel")
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 1:
        return Image(pixels.reshape(pixels.shape[:2]))
    if channels == 2:
        return Image(np.ascontiguousarray(pixels[:, :, 0]), np.ascontiguousarray(pixels[:, :, 1]))
    if channels == 4:
        return Image(np.ascontiguousarray(pixels[:, :, :3]), np.ascontiguousarray(pixels[:, :, 3]))
    return Image(pixels)


# EXIF orientations and the steps that turn a picture upright (CIPA DC-008, tag 274).
_TURNS: dict[int, tuple[int | None, int | None]] = {  # rotation, then flip
    2: (None, 1),
    3: (cv2.ROTATE_180, None),
    4: (None, 0),
    5: (cv2.ROTATE_90_CLOCKWISE, 1),
    6: (cv2.ROTATE_90_CLOCKWISE, None),
    7: (cv2.ROTATE_90_COUNTERCLOCKWISE, 1),
    8: (cv2.ROTATE_90_COUNTERCLOCKWISE, None),
}


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    rotation, flip = _TURNS.get(orientation, (None, None))
    if rotation is not None:
        pixels = cv2.rotate(pixels, rotation)
    return pixels if flip is None else cv2.flip(pixels, flip)


def check_frame(frame: NDArray[np.uint8], *, alpha: bool = False) -> None:
    """Raise FrameError unless `frame` is (H, W, 3) uint8 BGR or (H, W) uint8 gray with at least one pixel.

    alpha: also allow (H, W, 4).
    """
    shape, dtype = getattr(frame, "shape", None), getattr(frame, "dtype", None)
    expected = f"Expected a uint8 array of shape (H, W, 3){', (H, W, 4)' if alpha else ''} or (H, W). Received:"
    if shape is None or dtype is None:
        raise FrameError(f"{expected} {type(frame).__name__}")
    is_frame = len(shape) == 2 or (len(shape) == 3 and (shape[2] == 3 or (alpha and shape[2] == 4)))
    if dtype != np.uint8 or not is_frame or 0 in shape:
        raise FrameError(f"{expected} {dtype} of shape {shape}")
