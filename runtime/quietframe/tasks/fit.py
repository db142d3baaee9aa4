"""How a frame of any size meets a model: padding, resizing or tiles, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.card import Spatial


class Placement(Protocol):
    """One way to fit frames of one size to a model. `cut` gives `count` parts, `join` undoes it."""

    @property
    def count(self) -> int:
        """How many parts there are."""
        ...

    @property
    def part_hw(self) -> tuple[int, int]:
        """Height and width of each part, and of the model's result for it."""
        ...

    def cut(self, plane: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
        """(H, W) or (H, W, 3) in; contiguous parts of a size that the model takes out."""
        ...

    def join(self, parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """The model's results for the parts in; one picture of the frame's size out."""
        ...


@dataclass(frozen=True)
class Pad:
    """Pad below and to the right by reflection to the multiple that the model needs; crop afterwards."""

    height: int
    width: int
    multiple: int
    count: int = 1

    @property
    def part_hw(self) -> tuple[int, int]:
        """The frame's size, padded."""
        return self.height + -self.height % self.multiple, self.width + -self.width % self.multiple

    def cut(self, plane: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
        """See `Placement`."""
        return [_pad_to(plane, self.part_hw)]

    def join(self, parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """See `Placement`."""
        part = parts[0]
        if part.shape[:2] == (self.height, self.width):
            return part
        return np.ascontiguousarray(part[: self.height, : self.width])


@dataclass(frozen=True)
class Resize:
    """Resize the whole frame to the model's size, and its result back."""

    height: int
    width: int
    part_hw: tuple[int, int]
    count: int = 1

    def cut(self, plane: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
        """See `Placement`."""
        return [_resize(plane, self.part_hw)]

    def join(self, parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """See `Placement`."""
        return _resize(parts[0], (self.height, self.width))


@dataclass(frozen=True)
class Tile:
    """Cut the frame into tiles of the model's size that overlap by twice the halo; keep each one's middle."""

    height: int
    width: int
    part_hw: tuple[int, int]
    halo: int

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self._starts(0)) * len(self._starts(1))

    def cut(self, plane: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
        """See `Placement`."""
        tile_h, tile_w = self.part_hw
        plane = _pad_to(plane, (max(tile_h, self.height), max(tile_w, self.width)))
        return [
            np.ascontiguousarray(plane[top : top + tile_h, left : left + tile_w])
            for top in self._starts(0)
            for left in self._starts(1)
        ]

    def join(self, parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """See `Placement`."""
        whole = np.empty((self.height, self.width, *parts[0].shape[2:]), np.uint8)
        rows, columns = self._spans(0), self._spans(1)
        tops, lefts = self._starts(0), self._starts(1)
        remaining = iter(parts)
        for (row, row_end), top in zip(rows, tops, strict=True):
            for (column, column_end), left in zip(columns, lefts, strict=True):
                part = next(remaining)
                whole[row:row_end, column:column_end] = part[
                    row - top : row_end - top, column - left : column_end - left
                ]
        return whole

    def _starts(self, axis: int) -> list[int]:
        """Where the tiles begin along an axis; the last one ends at the frame's edge."""
        length, tile = (self.height, self.width)[axis], self.part_hw[axis]
        if length <= tile:
            return [0]
        return [*range(0, length - tile, tile - 2 * self.halo), length - tile]

    def _spans(self, axis: int) -> list[tuple[int, int]]:
        """The part of the frame that each tile answers for: borders lie in the middle of the overlaps."""
        length, tile = (self.height, self.width)[axis], self.part_hw[axis]
        starts = self._starts(axis)
        borders = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), length]
        return list(pairwise(borders))


def is_resized(spatial: Spatial) -> bool:
    """Whether a model with that card takes whole pictures of one size, so that others are resized."""
    return spatial.kind == "fixed" and spatial.fit == "resize"


@lru_cache(maxsize=8)
def place(height: int, width: int, spatial: Spatial) -> Placement:
    """The placement of a frame of that size for a model with that card."""
    if spatial.kind == "any":
        return Pad(height, width, spatial.multiple)
    assert spatial.size_hw is not None  # the card was checked when it was built
    if is_resized(spatial):
        return Resize(height, width, spatial.size_hw)
    return Tile(height, width, spatial.size_hw, spatial.halo)


def _pad_to(plane: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Pad below and to the right by reflection; a contiguous plane of that size stays as it is."""
    below, right = size_hw[0] - plane.shape[0], size_hw[1] - plane.shape[1]
    if below or right:
        return cv2.copyMakeBorder(plane, 0, below, 0, right, cv2.BORDER_REFLECT_101)
    return np.ascontiguousarray(plane)


def _resize(image: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize by area when shrinking and linearly when growing; a picture of that size stays as it is."""
    height, width = size_hw
    if image.shape[:2] == size_hw:
        return np.ascontiguousarray(image)
    smaller = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)
