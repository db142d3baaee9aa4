"""16 bits a channel: reduced to 8, and written as PNG and TIFF, which Pillow does of gray alone."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.metadata import split_png

_PNG_OPTIONS = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_SHORT, _LONG = 3, 4  # TIFF's types
_TIFF_SIZES = {256: "width", 257: "height", 278: "height", 273: "offset", 279: "bytes"}
_BITS_PER_SAMPLE = 258


def to_8_bits(deep: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Reduce 16 bits to 8, rounded, so that white stays white. Any image."""
    return cv2.convertScaleAbs(deep, alpha=1 / 257)


def encode_deep(
    pixels: NDArray[np.uint16], alpha: NDArray[np.uint16] | None, pillow_format: str, options: Mapping[str, Any]
) -> bytes:
    """Encode 16 bits a channel as `PNG` or `TIFF`, losslessly.

    Pillow writes a file of one pixel with all that stands beside the pixels, and the image takes that pixel's place.

    pixels: (H, W, 3) BGR or (H, W) gray. alpha: (H, W). options: what Pillow's `save` takes.
    """
    import PIL.Image

    if alpha is not None:  # neither library has gray of 16 bits with alpha
        color = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels
        pixels = np.dstack([color, alpha])
    beside = BytesIO()
    mode = "L" if pixels.ndim == 2 else "RGB" if alpha is None else "RGBA"
    PIL.Image.new(mode, (1, 1)).save(beside, pillow_format, **options)
    encode = _encode_png if pillow_format == "PNG" else _encode_tiff
    return encode(pixels, beside.getvalue())


def _encode_png(pixels: NDArray[np.uint16], beside: bytes) -> bytes:
    """Encode by OpenCV, with the chunks of the other file that come before its pixel."""
    done, encoded = cv2.imencode(".png", pixels, _PNG_OPTIONS)
    if not done:
        raise ValueError("OpenCV cannot write it")
    data = encoded.tobytes()
    kept = [chunk for name, chunk in split_png(beside) if name not in ("IHDR", "IDAT", "IEND")]
    after_header = 8 + 25  # bytes of the signature and of the header's chunk
    return b"".join([data[:after_header], *kept, data[after_header:]])


def _encode_tiff(pixels: NDArray[np.uint16], beside: bytes) -> bytes:
    """Append the pixels as one strip, and state their place and depth in the first directory (TIFF 6.0)."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    codes = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    strip = (pixels if channels == 1 else cv2.cvtColor(pixels, codes[channels])).astype("<u2").tobytes()
    data = bytearray(beside)
    if data[:4] != b"II*\0":
        raise ValueError("Pillow wrote another byte order")
    data += bytes(len(data) % 2)
    values = {"height": pixels.shape[0], "width": pixels.shape[1], "offset": len(data), "bytes": len(strip)}
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, _, length, value = struct.unpack_from("<HHII", data, entry)
        if tag in _TIFF_SIZES:
            struct.pack_into("<HII", data, entry + 2, _LONG, 1, values[_TIFF_SIZES[tag]])
        elif tag == _BITS_PER_SAMPLE:  # up to two of them fit into the entry itself
            struct.pack_into(f"<{length}H", data, entry + 8 if length < 3 else value, *[16] * length)
    return bytes(data) + strip
