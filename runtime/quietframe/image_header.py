"""What a picture file says that OpenCV does not pass on: CMYK inks, further pictures, orientation, a missing end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

_ORIENTATION, _INKS, _SUBFILE = 274, 262, 254  # TIFF tags: Orientation, PhotometricInterpretation, NewSubfileType
_SEPARATED = 5
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # but padding, and what may stand within a scan
_MAX_PAGES = 16  # enough to see whether there is more than one


@dataclass(frozen=True)
class Header:
    """What `read_header` finds; of a damaged or unknown file, nothing.

    Attributes:
        is_jpeg: JPEG.
        is_cut: the end of a JPEG is missing. OpenCV before 5 fills the rest with gray, without a word.
        is_cmyk: the colours are printing inks. OpenCV turns them into BGR without the ink profile: wrong colours.
        is_sequence: an animation, or more than one page; reduced copies of the first do not count.
        left_to_turn: the EXIF orientation where OpenCV leaves the turning to its caller (PNG, WebP); else 1.
    """

    is_jpeg: bool = False
    is_cut: bool = False
    is_cmyk: bool = False
    is_sequence: bool = False
    left_to_turn: int = 1


def read_header(data: bytes) -> Header:
    """Read the header of a picture file."""
    if data[:2] == b"\xff\xd8":
        return Header(is_jpeg=True, is_cut=not _jpeg_ends(data), is_cmyk=_jpeg_components(data) == 4)
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        pages = list(islice(_tiff_pages(data), _MAX_PAGES))
        others = [page for page in pages[1:] if not page.get(_SUBFILE, 0) & 1]
        return Header(is_cmyk=bool(pages) and pages[0].get(_INKS) == _SEPARATED, is_sequence=bool(others))
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _from_chunks(dict(_chunks(data, 8, "big")), b"eXIf", b"acTL")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _from_chunks(dict(_chunks(data, 12, "little")), b"EXIF", b"ANIM")
    return Header()


def _from_chunks(chunks: dict[bytes, memoryview], exif: bytes, animation: bytes) -> Header:
    block = bytes(chunks.get(exif, b"")).removeprefix(b"Exif\0\0")
    page = next(_tiff_pages(block), {})
    return Header(is_sequence=animation in chunks, left_to_turn=page.get(_ORIENTATION, 1))


def _chunks(data: bytes, position: int, order: Literal["little", "big"]) -> Iterator[tuple[bytes, memoryview]]:
    """Names and contents of a PNG's chunks (length, name, content, checksum) or a RIFF's (name, length, content)."""
    while position + 8 <= len(data):
        first, second = data[position : position + 4], data[position + 4 : position + 8]
        name, length = (first, second) if order == "little" else (second, first)
        size = int.from_bytes(length, order)
        yield name, memoryview(data)[position + 8 : position + 8 + size]
        position += 8 + size + (size % 2 if order == "little" else 4)


def _jpeg_components(data: bytes) -> int:
    """The number of colour components that a JPEG's frame header states; 0 if none is found."""
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, size = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[position + 9]
        position += 2 + size
    return 0


def _jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG has its end marker: not one of a thumbnail in its header, or of what follows it."""
    position = 2
    while match := _JPEG_MARKER.search(data, position):
        if match[0] == b"\xff\xd9":
            return True
        size = int.from_bytes(data[match.end() : match.end() + 2], "big")
        position = match.end() + size  # of a scan, this is its header; its data hold no marker
    return False


def _tiff_pages(data: bytes) -> Iterator[dict[int, int]]:
    """For each page of a TIFF, or of an EXIF block, its tags whose value is one number."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    seen: set[int] = set()
    directory = number(4, 4)
    while 8 <= directory < len(data) and directory not in seen:  # a damaged file may point in a circle
        seen.add(directory)
        count = number(directory, 2)
        entries = [directory + 2 + 12 * index for index in range(count)]
        # Field type 3 is two bytes, all others here are four.
        yield {number(at, 2): number(at + 8, 2 if number(at + 2, 2) == 3 else 4) for at in entries}
        directory = number(directory + 2 + 12 * count, 4)
