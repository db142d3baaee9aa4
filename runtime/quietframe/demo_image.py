"""The demonstration's before/after image, drawn with OpenCV."""

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
    """A digit: what it is, how it looks noisy and clean ((28, 28) uint8), and what was read in either image."""

    label: str
    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    read_noisy: str
    read_clean: str


def side_by_side(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two (H, W, 3) uint8 images with a thin white line between them: (H, 2·W + 4, 3)."""
    return cv2.hconcat([left, cv2.copyMakeBorder(right, 0, 0, _GAP, 0, cv2.BORDER_CONSTANT, value=_WHITE)])


def compose(
    photo: NDArray[np.uint8],
    noisy: NDArray[np.uint8],
    clean: NDArray[np.uint8],
    captions: tuple[str, str],
    digits: Sequence[DigitResult],
) -> NDArray[np.uint8]:
    """The whole image.

    From above: the noisy and the denoised photograph; two details of both and of the original, enlarged; the
    digits, noisy and denoised, each below what the classifier read in it, green where that is right.

    photo, noisy, clean: (512, 512, 3) uint8 BGR. Returns (H, 1028, 3) uint8 BGR.
    """
    width = 2 * photo.shape[1] + _GAP
    third, cell = (width - 2 * _GAP) // 3, width // len(digits) - 2 * _GAP
    rows = [_row([noisy, clean], captions, width)]
    for left, top, detail_width, height in _DETAILS_XYWH:
        area = np.s_[top : top + height, left : left + detail_width]
        details = [_enlarge(image[area], third) for image in (noisy, clean, photo)]
        rows.append(_row(details, ("noisy, enlarged", "denoised", "original"), width))
    rows.append(_row([], ("digits, each below what the classifier reads: noisy and denoised",), width))
    for kind in ("noisy", "clean"):
        images = [cv2.cvtColor(_enlarge(getattr(digit, kind), cell), cv2.COLOR_GRAY2BGR) for digit in digits]
        reads = [(getattr(digit, f"read_{kind}"), digit.label) for digit in digits]
        texts = [read if read == label else f"{read} not {label}" for read, label in reads]
        rows.append(_row(images, texts, width, [_GREEN if read == label else _RED for read, label in reads]))
    return np.vstack(rows)


def _row(
    images: Sequence[NDArray[np.uint8]],
    texts: Sequence[str],
    width: int,
    colours: Sequence[tuple[int, int, int]] | None = None,
) -> NDArray[np.uint8]:
    """Images of one size, spread over a dark row, and above it texts, each in the middle of an equal share."""
    height = images[0].shape[0] + _GAP if images else 0
    row = np.full((_CAPTION + height, width, 3), _BLACK, np.uint8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.6 if len(texts) < 4 else 0.5
    for index, text in enumerate(texts):
        (text_width, _), _ = cv2.getTextSize(text, font, scale, 1)
        left = ((2 * index + 1) * width // len(texts) - text_width) // 2
        colour = colours[index] if colours else _WHITE
        cv2.putText(row, text, (left, 23), font, scale, colour, 1, cv2.LINE_AA)
    for index, image in enumerate(images):
        left = round(index * (width - image.shape[1]) / (len(images) - 1))
        row[_CAPTION : _CAPTION + image.shape[0], left : left + image.shape[1]] = image
    return row


def _enlarge(image: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """An image of that width; pixels stay squares, so that noise looks as it is."""
    return cv2.resize(image, (width, width * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_NEAREST)
