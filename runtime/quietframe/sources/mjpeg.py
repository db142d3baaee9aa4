"""JPEGs one after the other in a stream of bytes, as cameras send them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from quietframe.decoding import MOST_PIXELS_A_JPEG_BYTE, PixelLimit, has_all_scans, jpeg_shape_hwc

_START = b"\xff\xd8\xff"
_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # the next marker that is no restart; FF 00 is a level of 255
_NEXT_PART = re.compile(rb"\n\r?\n\xff\xd8\xff")  # a part's headers end and its JPEG begins
_NEXT_HEAD = re.compile(rb"\r?\n--[^\r\n]*\r?\n([\w-]+:[^\r\n]*\r?\n)*\r?\n?\Z")
_END = b"\xff\xd9"
_APPENDED = re.compile("Corrupt JPEG data: ([1-9]|1[0-6]) extraneous bytes")  # webcams do; damage mostly leaves more
_COLORS = {1: "GRAY", 3: "BGR"}
_EMPTY_PART = re.compile(rb"content-length:\s*0+\s*\n", re.IGNORECASE)
_KEPT_BYTES = 512  # of what lies between JPEGs: the beginning of a start, or of a part's headers
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
MOST_BYTES = 32 << 20


class _DamagedError(Exception):
    """What was followed is no JPEG any more."""


class JpegSplitter:
    """Finds whole JPEGs in bytes that come in pieces of any length, and skips what lies between them.

    It follows the markers (ITU-T T.81, annex B), so that a thumbnail within does not end an image. The next image ends
    one without an end marker. What is cut short before its pixels, longer than `MOST_BYTES` or an empty part counts as
    damaged. It holds one JPEG and the latest piece at most.

    Attributes:
        damaged: how many were left out.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._data = bytearray()
        self._at = 0  # how far the markers of the JPEG at the front were followed; 0: there is none
        self._in_scan = self._has_pixels = False
        self._doubtful = 0  # so many bytes may belong to a damaged JPEG, and a start there may be its thumbnail's

    def split(self, read: Callable[[], bytes]) -> Iterator[bytes | None]:
        """The JPEGs in what `read` gives until that is nothing; None after what completes none."""
        while piece := read():
            yield from self.feed(piece) or (None,)
        yield from self.finish() or (None,)

    def feed(self, piece: bytes) -> list[bytes]:
        """The JPEGs that a piece completes, in order."""
        self._data += piece
        found = []
        while self._at or self._find_start():
            try:
                end = self._follow()
                if not end and len(self._data) <= MOST_BYTES:
                    break
            except _DamagedError:
                end = 0
            if end:
                found.append(bytes(self._data[:end]))
            else:
                self.damaged += 1
            self._forget(end or self._at)
        return found

    def finish(self) -> list[bytes]:
        """The JPEG that the end of all bytes ends, if any."""
        self.damaged += self._at > 0 and not self._has_pixels
        return [bytes(self._data)] if self._has_pixels else []

    def _find_start(self) -> bool:
        """Bring the start of the next JPEG to the front."""
        start = self._data.find(_START)
        while 0 <= start < self._doubtful and not self._follows_end(start):
            start = self._data.find(_START, start + 1)
        end = start if start >= 0 else max(0, len(self._data) - _KEPT_BYTES)
        self.damaged += len(_EMPTY_PART.findall(self._data, 0, end))
        self._forget(end)
        self._at = 2 if start >= 0 else 0
        return start >= 0

    def _follows_end(self, at: int) -> bool:
        """Whether a part's headers or another JPEG end there."""
        return self._data[max(0, at - 3) : at].endswith((b"\n\r\n", b"\n\n", b"\xff\xd9"))

    def _forget(self, count: int) -> None:
        del self._data[:count]
        self._at, self._in_scan, self._has_pixels = 0, False, False
        self._doubtful = max(0, self._doubtful - count)

    def _follow(self) -> int:
        """Go from marker to marker. Returns where the JPEG ends, or 0 when more bytes are needed.

        Raises _DamagedError, with `_at` where to look for the next JPEG.
        """
        data = self._data
        while True:
            if self._in_scan:
                match = _IN_SCAN.search(data, self._at)
                self._at = match.start() if match else max(self._at, len(data) - 1)  # an FF may be the last byte
                if match is None:
                    return 0
                self._in_scan = False
            while data[self._at : self._at + 2] == b"\xff\xff":  # padding
                self._at += 1
            head = data[self._at : self._at + 4]
            if head[1:2] == bytes([_EOI]):
                return self._at + 2
            if head[1:2] == bytes([_SOI]) and (self._has_pixels or self._at == 2):
                if self._has_pixels:
                    return self._at
                del data[:2]  # the start marker came twice
                continue
            if len(head) >= 2 and (head[1] < 0xC0 or 0xD0 <= head[1] <= 0xD8):  # reserved, a restart, a new picture
                raise _DamagedError
            length = int.from_bytes(head[2:], "big")
            after = self._at + 2 + length
            if len(head) < 4 or after >= len(data):
                return 0
            no_marker_after = head[1] != _SOS and data[after] != 0xFF
            if length < 2 or no_marker_after or _NEXT_PART.search(data, self._at, after + 1):  # the length lies
                self._doubtful = 2 + length
                raise _DamagedError
            self._at, self._in_scan = after, head[1] == _SOS
            self._has_pixels = self._has_pixels or self._in_scan


def looks_like_mjpeg(head: bytes) -> bool:
    """Whether a stream begins with a JPEG, or with a part's boundary."""
    return head.lstrip().startswith((_START, b"--"))


class JpegDecoder:
    """Decodes JPEGs one by one, and none whose code breaks, ends too early or goes on where the image ends.

    limit: those whose header states more pixels count as damaged, before they take memory, and are counted there.
    """

    def __init__(self, limit: PixelLimit | None = None) -> None:
        self._limit = limit or PixelLimit()

    def decode(self, data: bytes) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 BGR or (H, W) uint8 gray; None if it is damaged, or CMYK.

        A JPEG whose end marker alone is missing is whole.
        """
        import simplejpeg

        if not data.endswith(_END):
            data = _NEXT_HEAD.sub(b"", data) + _END
            if not has_all_scans(data):
                return None
        height, width, channels = shape = jpeg_shape_hwc(data)
        if self._limit.leaves_out((width, height)) or channels not in _COLORS:
            return None
        if width * height > MOST_PIXELS_A_JPEG_BYTE * len(data):
            return None
        for strict in (True, False):
            buffer = np.empty(shape, np.uint8)
            try:
                pixels = simplejpeg.decode_jpeg(data, _COLORS[channels], buffer=buffer, strict=strict)
            except ValueError as exc:
                if not _APPENDED.search(str(exc)):
                    break
            else:
                return pixels if channels == 3 else pixels[:, :, 0]
        return None
