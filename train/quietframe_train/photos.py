"""Photographs for training: any folder of pictures, split by content, cut into patches."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import SourceError
from quietframe.images import IMAGE_SUFFIXES, read_image


@dataclass(frozen=True)
class PhotoSet:
    """Photographs in memory.

    Attributes:
        training, validation: (H, W, 3) uint8 BGR each, of many sizes.
        unreadable: one line for each file that was skipped, with the reason.
    """

    training: Sequence[NDArray[np.uint8]]
    validation: Sequence[NDArray[np.uint8]]
    unreadable: Sequence[str] = ()


def load_photos(
    folder: str | Path, *, validation_share: float, limit: int | None = None, smallest: int = 96
) -> PhotoSet:
    """Read every picture below a folder and set some aside for validation.

    The split goes by a hash of each file's content, so that identical files fall on the same side and it does not
    depend on names or order.

    Args:
        folder: searched with its subfolders; gray and 16-bit pictures and alpha are brought to 8-bit BGR.
        validation_share: share of the pictures that only validate, in (0, 1); at least one does.
        limit: use only so many pictures (in order of path).
        smallest: pictures with a side below this, in pixels, are skipped and named.

    Raises:
        SourceError: no such folder, or fewer than two readable pictures in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder of photographs")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    photos: list[tuple[str, NDArray[np.uint8]]] = []
    unreadable: list[str] = []
    for path in paths[:limit]:
        try:
            photo = read_image(path, to_8bit=True).bgr
        except SourceError as exc:
            unreadable.append(str(exc))
            continue
        if min(photo.shape[:2]) < smallest:
            unreadable.append(f"{path}: {photo.shape[1]}x{photo.shape[0]} is smaller than {smallest} pixels")
            continue
        photos.append((hashlib.sha256(path.read_bytes()).hexdigest(), photo))
    digests = sorted({digest for digest, _ in photos})
    if len(digests) < 2:
        raise SourceError(
            f"{folder}: {len(digests)} usable pictures ({len(unreadable)} skipped), "
            "at least 2 different ones are needed"
        )
    held_out = set(digests[: max(1, round(validation_share * len(digests)))])
    return PhotoSet(
        training=[photo for digest, photo in photos if digest not in held_out],
        validation=[photo for digest, photo in photos if digest in held_out],
        unreadable=unreadable,
    )


def cut_patches(
    photos: Sequence[NDArray[np.uint8]], count: int, side: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut random square patches from random photographs, each flipped and turned at random.

    Returns (count, side, side, 3) uint8.
    """
    patches = np.empty((count, side, side, 3), np.uint8)
    for index in range(count):
        photo = photos[int(rng.integers(len(photos)))]
        top, left = rng.integers(photo.shape[0] - side + 1), rng.integers(photo.shape[1] - side + 1)
        patch = np.rot90(photo[top : top + side, left : left + side], int(rng.integers(4)))
        patches[index] = patch[:, ::-1] if rng.random() < 0.5 else patch
    return patches
