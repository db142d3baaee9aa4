"""Random changes to training images that leave what they show the same. Drawn anew at every call."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Augmentation:
    """What is done at random to a training image each time it is shown, clean, before any noise.

    Attributes:
        flip: left to right, in half of the cases.
        rotate_degrees, shift_share, zoom_share: turned, moved (as a share of the side) and scaled by up to this much,
            either way, in one interpolation; what comes in from outside repeats the edge.
        gain_share: brightness multiplied by up to this much more or less.
    """

    flip: bool = False
    rotate_degrees: float = 0.0
    shift_share: float = 0.0
    zoom_share: float = 0.0
    gain_share: float = 0.0


def augmented(images: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    """images: (N, height, width, channels) uint8. Returns new images of that shape, each changed in its own way."""
    return np.stack([_changed(image, how, rng).reshape(images.shape[1:]) for image in images])


def _changed(image: NDArray[np.uint8], how: Augmentation, rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if how.rotate_degrees or how.shift_share or how.zoom_share:
        matrix = cv2.getRotationMatrix2D(
            ((width - 1) / 2, (height - 1) / 2),
            rng.uniform(-how.rotate_degrees, how.rotate_degrees),
            rng.uniform(1 - how.zoom_share, 1 + how.zoom_share),
        )
        matrix[:, 2] += rng.uniform(-how.shift_share, how.shift_share, 2) * (width, height)
        image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if how.gain_share:
        image = cv2.convertScaleAbs(image, alpha=rng.uniform(1 - how.gain_share, 1 + how.gain_share))
    return image[:, ::-1] if how.flip and rng.random() < 0.5 else image
