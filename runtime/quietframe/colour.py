"""Colours of videos: planes of YUV to BGR and back, exactly as ITU-T H.273 defines it; gray stays gray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

BT709, UNKNOWN, BT601_625, BT601_525 = 1, 2, 5, 6
HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics that 8 bits of BGR cannot hold."""

_WEIGHTS = {  # of red and blue in luma
    BT709: (0.2126, 0.0722),
    4: (0.30, 0.11),
    BT601_625: (0.299, 0.114),
    BT601_525: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_HD_HEIGHT, _HD_WIDTH = 720, 1280


@dataclass(frozen=True)
class Colour:
    """How a video's levels stand for colours: the code points of H.273.

    Attributes:
        matrix: how luma and chroma are made of red, green and blue.
        primaries: which red, green and blue.
        transfer: their curve.
        full_range: luma uses all levels from 0 to 255, not 16 to 235.
    """

    matrix: int = UNKNOWN
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN
    full_range: bool = False

    def for_size(self, width: int, height: int) -> Colour:
        """Return it with a matrix that is known: where none is named, BT.709 for HD and BT.601 below, as players do."""
        if self.matrix in _WEIGHTS:
            return self
        if width < _HD_WIDTH and height < _HD_HEIGHT:
            return replace(self, matrix=BT601_525)
        others = BT709 if (self.primaries, self.transfer) == (UNKNOWN, UNKNOWN) else None
        return replace(self, matrix=BT709, primaries=others or self.primaries, transfer=others or self.transfer)


def _exact(linear: NDArray[np.float64], zero: Sequence[float], black: Sequence[float]) -> NDArray[np.float64]:
    """Make the (3, 4) matrix by which `zero` becomes `black`, to the last bit of OpenCV's fixed point: no tint."""
    linear = np.rint(linear * 1024) / 1024
    return np.hstack([linear, (black - linear @ zero)[:, None]])


@cache
def _to_yuv(matrix: int, full_range: bool) -> NDArray[np.float64]:
    """(3, 4): what makes (Y, U, V) of (B, G, R, 1)."""
    inverse = np.linalg.inv(_from_yuv(matrix, full_range)[:, :3])
    inverse = np.rint(inverse * 1024) / 1024
    inverse[1:, 1] = -inverse[1:, 0] - inverse[1:, 2]  # gray has no chroma
    return _exact(inverse, [0, 0, 0], [0 if full_range else 16, 128, 128])


@cache
def _from_yuv(matrix: int, full_range: bool) -> NDArray[np.float64]:
    """(3, 4): what makes (B, G, R) of (Y, U, V, 1)."""
    red, blue = _WEIGHTS[matrix]
    green = 1 - red - blue
    low, luma, chroma = (0.0, 1.0, 1.0) if full_range else (16.0, 255 / 219, 255 / 224)
    linear = np.array(
        [
            [luma, 2 * (1 - blue) * chroma, 0],
            [luma, -2 * blue * (1 - blue) / green * chroma, -2 * red * (1 - red) / green * chroma],
            [luma, 0, 2 * (1 - red) * chroma],
        ]
    )
    return _exact(linear, [low, 128, 128], [0, 0, 0])


@cache
def _gray(matrix: int, full_range: bool, *, to_luma: bool) -> NDArray[np.uint8]:
    """(256,): the gray of each luma or the luma of each gray, as of three equal channels."""
    levels = np.arange(256, dtype=np.uint8)[None]
    if to_luma:
        return cv2.transform(cv2.merge([levels] * 3), _to_yuv(matrix, full_range))[0, :, 0]
    neutral = np.full_like(levels, 128)
    return cv2.transform(cv2.merge([levels, neutral, neutral]), _from_yuv(matrix, full_range))[0, :, 0]


def bgr_from_planes(planes: Sequence[NDArray[np.uint8]], colour: Colour) -> NDArray[np.uint8]:
    """Convert luma alone to (H, W) gray, or luma and chroma of any subsampling to (H, W, 3) BGR.

    planes: (H, W) uint8 and none or two smaller ones. colour: with a matrix that is known.
    """
    luma, *chroma = planes
    if not chroma:
        return cv2.LUT(luma, _gray(colour.matrix, colour.full_range, to_luma=False))
    size_wh = luma.shape[1::-1]
    whole = [cv2.resize(plane, size_wh, interpolation=cv2.INTER_NEAREST) for plane in chroma]
    return cv2.transform(cv2.merge([luma, *whole]), _from_yuv(colour.matrix, colour.full_range))


def planes_from_bgr(pixels: NDArray[np.uint8], colour: Colour) -> tuple[NDArray[np.uint8], ...]:
    """Convert (H, W, 3) BGR or (H, W) gray to luma and chroma of half the size, as 4:2:0 has them.

    colour: with a matrix that is known. H and W are even.
    """
    height, width = pixels.shape[:2]
    if pixels.ndim == 2:
        neutral = np.full((height // 2, width // 2), 128, np.uint8)
        return cv2.LUT(pixels, _gray(colour.matrix, colour.full_range, to_luma=True)), neutral, neutral
    luma, *chroma = cv2.split(cv2.transform(pixels, _to_yuv(colour.matrix, colour.full_range)))
    half_wh = (width // 2, height // 2)
    return luma, *(cv2.resize(plane, half_wh, interpolation=cv2.INTER_AREA) for plane in chroma)
