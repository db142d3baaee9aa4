"""How a frame of any size meets a model: padding, resizing or tiles, and the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.card import Spatial

TILE_PIXELS = 5 * 2**20
"""The default limit on the pixels that a denoiser of any size sees at once.

Half of a 4K frame with its overlap, or all that a five-megapixel camera sees. The camera models take 95 (nano, 8-bit
integers) to 225 bytes (small, floats) for a pixel: this bounds them to 0.5 to 1.2 GB, and costs 4K video 1 to 5 % more
work. Far smaller ones overlap too much: of one megapixel each, camera-small's hold a third more than that frame.
"""


@dataclass(frozen=True)
class Resize:
    """Resize the whole frame to the model's size, and its result back. `cut` and `join` as of `Tiles`."""

    height: int
    width: int
    part_hw: tuple[int, int]
    count: int = 1

    def cut(self, plane: NDArray[Any], stride: int = 1) -> Iterator[NDArray[Any]]:
        """See `Tiles`."""
        yield _resize(plane, _by(self.part_hw, stride))

    def join(self, parts: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """See `Tiles`."""
        (part,) = parts
        return _resize(part, (self.height, self.width))


@dataclass(frozen=True)
class Tiles:
    """Cut the frame into tiles of one size that overlap by twice the halo or more; keep each one's middle.

    A single tile is the whole frame. What reaches beyond the frame is padded by reflection, below and to the right.
    What is kept equals what the model makes of the whole padded frame: the tiles begin at multiples of `multiple`,
    so that each pixel has the same place in them, and at the frame's border they end where the padded frame ends.

    Attributes:
        height, width: of the frame.
        part_hw: height and width of each tile, and of the model's result for it.
        halo, multiple: see `Spatial`.
    """

    height: int
    width: int
    part_hw: tuple[int, int]
    halo: int
    multiple: int = 1

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self._starts(0)) * len(self._starts(1))

    def cut(self, plane: NDArray[Any], stride: int = 1) -> Iterator[NDArray[Any]]:
        """Cut a plane into contiguous parts, each made when asked for: no more than one need be in memory.

        plane: (H, W) or (H, W, 3). stride: how many times smaller than the frame the plane is, and each part with it;
        see `shrink`.
        """
        tile_h, tile_w = size_hw = _by(self.part_hw, stride)
        for start_hw in product(self._starts(0), self._starts(1)):
            top, left = _by(start_hw, stride)
            # Only the last tiles reach beyond the frame, and they hold all that is mirrored into their padding.
            yield _pad_to(plane[top : top + tile_h, left : left + tile_w], size_hw)

    def join(self, parts: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Join the model's results for the parts, taken one by one in their order, to a plane of the frame's size."""
        whole = None
        places = product(self._kept(0), self._kept(1))
        for part, ((top, row, row_end), (left, column, column_end)) in zip(parts, places, strict=True):
            kept = part[row - top : row_end - top, column - left : column_end - left]
            if kept.shape[:2] == (self.height, self.width):
                whole = np.ascontiguousarray(kept)
                continue
            if whole is None:
                whole = np.empty((self.height, self.width, *part.shape[2:]), part.dtype)
            whole[row:row_end, column:column_end] = kept
        assert whole is not None  # there is at least one tile
        return whole

    def _starts(self, axis: int) -> list[int]:
        """Where the tiles begin along an axis; the last one ends at the padded frame's edge."""
        tile, length = self.part_hw[axis], _up((self.height, self.width)[axis], self.multiple)
        if length <= tile:
            return [0]
        return [*range(0, length - tile, tile - _overlap(self.halo, self.multiple)), length - tile]

    def _kept(self, axis: int) -> list[tuple[int, int, int]]:
        """Each tile's start along an axis, and the part of the frame that it answers for.

        The borders lie in the middle of the overlaps.
        """
        tile, starts = self.part_hw[axis], self._starts(axis)
        borders = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), (self.height, self.width)[axis]]
        return [(start, *span) for start, span in zip(starts, pairwise(borders), strict=True)]


Placement = Resize | Tiles


def is_resized(spatial: Spatial) -> bool:
    """Whether a model with that card takes whole images of one size, so that others are resized."""
    return spatial.kind == "fixed" and spatial.fit == "resize"


@lru_cache(maxsize=8)
def place(height: int, width: int, spatial: Spatial, tile_pixels: int | None = None) -> Placement:
    """The placement of a frame of that size for a model with that card.

    tile_pixels: at least `least_tile_pixels(spatial)`; a model of any size sees larger frames in tiles of at most so
    many pixels. None: it sees every frame whole.
    """
    if spatial.kind == "fixed":
        assert spatial.size_hw is not None  # the card was checked when it was built
        if is_resized(spatial):
            return Resize(height, width, spatial.size_hw)
        return Tiles(height, width, spatial.size_hw, spatial.halo, spatial.multiple)
    part_hw = _up(height, spatial.multiple), _up(width, spatial.multiple)
    if tile_pixels is not None and part_hw[0] * part_hw[1] > tile_pixels:
        part_hw = _tile_hw(part_hw, spatial, tile_pixels)
    return Tiles(height, width, part_hw, spatial.halo, spatial.multiple)


def least_tile_pixels(spatial: Spatial) -> int | None:
    """The fewest pixels that tiles may have for a model of any size: of their four quarters, one is kept.

    None where frames cannot go in tiles: at a model of one size, and at one whose card states no halo.
    """
    if spatial.kind == "fixed" or not spatial.halo:
        return None
    return (2 * _overlap(spatial.halo, spatial.multiple)) ** 2


def shrink(plane: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """The means of blocks of `stride` × `stride` pixels; those at the border are filled up by reflection.

    plane: (H, W). Returns (ceil(H / stride), ceil(W / stride)).
    """
    height, width = (_up(length, stride) for length in plane.shape)
    return _resize(_pad_to(plane, (height, width)), _by((height, width), stride))


def _by(size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    """A height and a width, or a place, on a plane that is so many times smaller."""
    return size_hw[0] // stride, size_hw[1] // stride


def _tile_hw(whole_hw: tuple[int, int], spatial: Spatial, tile_pixels: int) -> tuple[int, int]:
    """Height and width of the tiles that cover a padded frame with the least work: few overlaps, little left over."""
    height, width = whole_hw
    overlap = _overlap(spatial.halo, spatial.multiple)
    plans = []
    for rows in range(1, max(1, -(-(height - overlap) // overlap)) + 1):
        tile_h = _share(height, rows, overlap, spatial.multiple)
        widest = min(width, tile_pixels // tile_h // spatial.multiple * spatial.multiple)
        if widest < width and widest <= overlap:
            continue
        columns = 1 if widest == width else -(-(width - overlap) // (widest - overlap))
        tile_w = _share(width, columns, overlap, spatial.multiple)
        plans.append((rows * columns * tile_h * tile_w, tile_h, tile_w))
    return min(plans)[1:]


def _overlap(halo: int, multiple: int) -> int:
    """By how many pixels neighbours overlap at least."""
    return _up(2 * halo, multiple)


def _share(length: int, count: int, overlap: int, multiple: int) -> int:
    """The least length of so many tiles that cover a length together."""
    return _up(-(-(length + (count - 1) * overlap) // count), multiple)


def _up(length: int, multiple: int) -> int:
    """The next multiple."""
    return length + -length % multiple


def _pad_to(plane: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Pad below and to the right by reflection; a contiguous plane of that size stays as it is."""
    below, right = size_hw[0] - plane.shape[0], size_hw[1] - plane.shape[1]
    if below or right:
        return cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(plane)


def _resize(image: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """Resize by area when shrinking and linearly when growing; an image of that size stays as it is."""
    height, width = size_hw
    if image.shape[:2] == size_hw:
        return np.ascontiguousarray(image)
    smaller = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)
