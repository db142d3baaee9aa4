"""Photographs for training: any folder of images, split by content, cut into patches."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms
from quietframe.errors import SourceError
from quietframe.images import IMAGE_SUFFIXES, read_image
from quietframe_train.data.base import Splits
from quietframe_train.signals import check_interrupted

_MANIFEST, _LICENCE = "manifest.csv", "licence"


class PhotoSet(Splits):
    """Parts that are a list of photographs each, (H, W, 3) uint8 BGR, of many sizes; there is no test set."""

    def arrays(self) -> Iterator[NDArray[Any]]:
        yield from self.training
        yield from self.validation


def image_files(folder: Path, what: str) -> list[Path]:
    """List the image files below a folder. Raises SourceError if there is no such folder of `what`."""
    if not folder.is_dir():
        wrong = "is a file, expected a folder" if folder.exists() else "no such folder"
        raise SourceError(f"{folder}: {wrong} of {what}")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def read_each(paths: Sequence[Path], unreadable: list[str]) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    """Read images as 8-bit BGR; those that cannot be read are skipped, with a line in `unreadable`."""
    for path in paths:
        check_interrupted()
        try:
            yield path, read_image(path, to_8bit=True).bgr
        except SourceError as exc:
            unreadable.append(str(exc))


def load_photos(
    folder: str | Path,
    *,
    validation_share: float,
    validation_list: str | None = None,
    limit: int | None = None,
    smallest: int = 96,
) -> PhotoSet:
    """Read every image below a folder and set some aside for validation.

    The split goes by a hash of each file's content, so that identical files fall on the same side and it does not
    depend on names or order.

    Args:
        folder: searched with its subfolders; gray and 16-bit images and alpha are brought to 8-bit BGR. A column
            `licence` of a `manifest.csv` in it gives the data's terms.
        validation_share: share of the images that only validate, in (0, 1); at least one does.
        validation_list: name of a list of file hashes in this package: those in the folder validate, not a share.
        limit: use only so many images (in order of path).
        smallest: images with a side below this, in pixels, are skipped and named.

    Raises SourceError: no such folder, or fewer than two readable images in it.
    """
    folder, photos, unreadable = Path(folder), list[tuple[str, NDArray[np.uint8]]](), list[str]()
    for path, photo in read_each(image_files(folder, "photographs")[:limit], unreadable):
        if min(photo.shape[:2]) < smallest:
            unreadable.append(f"{path}: {photo.shape[1]}x{photo.shape[0]} is smaller than {smallest} pixels")
        else:
            photos.append((hashlib.sha256(path.read_bytes()).hexdigest(), photo))
    digests = sorted({digest for digest, _ in photos})
    if len(digests) < 2:
        raise SourceError(
            f"{folder}: {len(digests)} usable images ({len(unreadable)} skipped), at least 2 different ones are needed"
        )
    held_out = _listed(validation_list) & set(digests)
    if not held_out or len(held_out) == len(digests):
        held_out = set(digests[: max(1, round(validation_share * len(digests)))])
    training = [photo for digest, photo in photos if digest not in held_out]
    validation = [photo for digest, photo in photos if digest in held_out]
    return PhotoSet(training, validation, (), terms=_licences(folder), unreadable=unreadable)


def _listed(name: str | None) -> set[str]:
    """Read the file hashes of a list in this package; lines that begin with # say what it is."""
    if name is None:
        return set()
    lines = resources.files("quietframe_train.data").joinpath(name).read_text(encoding="ascii").splitlines()
    return {line for line in lines if not line.startswith("#")}


def _licences(folder: Path) -> DataTerms | None:
    """Count how many files have which licence, by the folder's manifest; None without one."""
    try:
        with (folder / _MANIFEST).open(newline="", encoding="utf-8") as file:
            counts = Counter(row[_LICENCE] for row in csv.DictReader(file))
    except (OSError, KeyError, ValueError):
        return None
    return DataTerms(folder.resolve().name, ", ".join(f"{name} ({count})" for name, count in counts.most_common()))


def read_photos(folder: str | Path) -> Sequence[NDArray[np.uint8]]:
    """Read all images of a folder. Raises SourceError for fewer than two."""
    photos = load_photos(folder, validation_share=0.5, smallest=32)
    return [*photos.validation, *photos.training]


def smallest_side(photos: Sequence[NDArray[np.uint8]]) -> int:
    """Find the smallest height or width of all photographs, in pixels."""
    return min(min(photo.shape[:2]) for photo in photos)


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
