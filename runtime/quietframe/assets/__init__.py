"""The bundled test pictures: one photograph and forty handwritten digits. CREDITS.md says whose they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietframe.images import read_image

_FOLDER = Path(__file__).parent


def photo_bgr() -> NDArray[np.uint8]:
    """The bundled photograph: (512, 512, 3) uint8 BGR, with smooth areas, fine texture, skin and small print."""
    return read_image(_FOLDER / "astronaut.jpg").bgr


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Handwritten digits brought to MNIST's form: white on black, 20 pixels long, four of each class; not from MNIST.

    Returns (images, labels): (40, 28, 28) uint8 and (40,) int64; the first ten are 0 to 9 in order.
    """
    with np.load(_FOLDER / "digits.npz") as stored:
        return stored["images"], stored["labels"].astype(np.int64)
