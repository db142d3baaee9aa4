"""The demonstration's before/after picture, drawn with OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_GAP = 4
_WHITE, _BLACK = (255, 255, 255), (24, 24, 24)
_GREEN, _RED = (110, 200, 90), (80, 80, 235)
_CAPTION = 34
_DETAILS_XYWH = ((172, 82, 116, 87), (258, 318, 116, 87))
"""The parts of the photograph that are enlarged: the face, and the name tag and helmet's rim."""


@dataclass(frozen=True)
class DigitResult:
    """A digit: what it is, how it looks noisy and clean ((28, 28) uint8), and what was read in either picture."""

    label: str
    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    read_noisy: str
    read_clean: str


def side_by_side(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two (H, W, 3) uint8 pictures with a thin white line between them: (H, 2·W + 4, 3)."""
    line = np.full((left.shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([left, line, right])


def compose(
    photo: NDArray[np.uint8],
    noisy: NDArray[np.uint8],
    clean: NDArray[np.uint8],
    captions: tuple[str, str],
    digits: Sequence[DigitResult],
) -> NDArray[np.uint8]:
    """The whole picture.

    From above: the noisy and the denoised photograph; two details of both and of the original, enlarged; the
    digits, noisy and denoised, each with what the classifier read in it, green where that is right.

    photo, noisy, clean: (512, 512, 3) uint8 BGR. Returns (H, 1028, 3) uint8 BGR.
    """
    width = 2 * photo.shape[1] + _GAP
    details = [
        _in_row([_enlarge(picture, box, width) for picture in (noisy, clean, photo)], width) for box in _DETAILS_XYWH
    ]
    parts = [
        _captions(captions, width),
        side_by_side(noisy, clean),
        _captions(("noisy, enlarged", "denoised", "original"), width),
        *(np.vstack([detail, np.full((_GAP, width, 3), _BLACK, np.uint8)]) for detail in details),
        _captions(("digits as the classifier reads them: noisy above, denoised below",), width),
        _digits(digits, width),
    ]
    return np.vstack(parts)


def _captions(texts: Sequence[str], width: int) -> NDArray[np.uint8]:
    """A dark band with texts, each in the middle of an equal share of it."""
    band = np.full((_CAPTION, width, 3), _BLACK, np.uint8)
    for index, text in enumerate(texts):
        _write(band, text, ((2 * index + 1) * width // (2 * len(texts)), 23), 0.6, _WHITE)
    return band


def _write(
    canvas: NDArray[np.uint8], text: str, middle_xy: tuple[int, int], scale: float, colour: Sequence[int]
) -> None:
    """Write a text in place, centred on x, its baseline on y."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, _), _ = cv2.getTextSize(text, font, scale, 1)
    cv2.putText(canvas, text, (middle_xy[0] - width // 2, middle_xy[1]), font, scale, colour, 1, cv2.LINE_AA)


def _enlarge(picture: NDArray[np.uint8], box_xywh: tuple[int, int, int, int], width: int) -> NDArray[np.uint8]:
    """A detail, a third of the whole picture wide; pixels stay squares, so that noise looks as it is."""
    x, y, box_width, box_height = box_xywh
    wide = (width - 2 * _GAP) // 3
    size_wh = (wide, wide * box_height // box_width)
    return cv2.resize(picture[y : y + box_height, x : x + box_width], size_wh, interpolation=cv2.INTER_NEAREST)


def _in_row(pictures: Sequence[NDArray[np.uint8]], width: int) -> NDArray[np.uint8]:
    """Pictures of one size, spread over a dark row."""
    row = np.full((pictures[0].shape[0], width, 3), _BLACK, np.uint8)
    step = (width - pictures[0].shape[1]) / (len(pictures) - 1)
    for index, picture in enumerate(pictures):
        left = round(index * step)
        row[:, left : left + picture.shape[1]] = picture
    return row


def _digits(digits: Sequence[DigitResult], width: int) -> NDArray[np.uint8]:
    """Two rows of digits with what was read below each."""
    cell = width // len(digits)
    side = cell - 2 * _GAP
    rows = []
    for pictures, reads in (
        ([digit.noisy for digit in digits], [digit.read_noisy for digit in digits]),
        ([digit.clean for digit in digits], [digit.read_clean for digit in digits]),
    ):
        row = np.full((side + 2 * _GAP + 24, width, 3), _BLACK, np.uint8)
        for index, (digit, picture, read) in enumerate(zip(digits, pictures, reads, strict=True)):
            left = index * cell + (width - cell * len(digits)) // 2 + _GAP
            large = cv2.resize(picture, (side, side), interpolation=cv2.INTER_NEAREST)
            row[_GAP : _GAP + side, left : left + side] = large[:, :, None]
            right = read == digit.label
            text = read if right else f"{read} not {digit.label}"
            _write(row, text, (left + side // 2, side + 20), 0.5, _GREEN if right else _RED)
        rows.append(row)
    return np.vstack(rows)
