"""MNIST and data sets of its layout: read, checked, split."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms
from quietframe.errors import SourceError, UsageError
from quietframe_train.augmentation import Augmentation
from quietframe_train.data.images import ImageData, ImageSet, ImageSplits

if TYPE_CHECKING:
    from quietframe_train.recipe import Recipe

FILE_NAME = "mnist.npz"
CLASSES = 10

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MNIST = DataTerms("MNIST", "Y. LeCun et al., CC BY-SA 3.0")
# Of the arrays' bytes, in the order of _KEYS: copies of one content differ in their compression.
_MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"


@dataclass(frozen=True)
class DigitData(ImageData):
    """MNIST; the last `validation_share` of the training images, after a seeded shuffle, validates."""

    validation_share: float = 0.1
    augmentation: Augmentation | None = None
    kind: ClassVar[str] = "digits"
    frames_from: ClassVar[str] = "training digits"

    def source(self, task: str) -> str:
        return "MNIST"

    def load(
        self, path: str | Path | None, recipe: Recipe, *, seed: int = 0, limit: int | None = None, fold: int = 0
    ) -> ImageSplits:
        """Read MNIST, or a file of its layout, and set some training images aside for validation.

        path: an `.npz` file, or a folder that holds `mnist.npz`; None: MNIST through `keras.datasets`, which downloads
        it into Keras' cache where it is not there yet. limit: of the training images, those for validation included.
        """
        if limit is not None and limit < 2:
            raise UsageError(f"limit is {limit}, at least 2 images are needed: one to train, one to validate")
        arrays, origin = (_download(), "keras.datasets.mnist") if path is None else _read(Path(path))
        known, test = (ImageSet(*_checked(arrays, part, origin)) for part in ("train", "test"))
        order = np.random.default_rng(seed).permutation(len(known))[:limit]
        if len(order) < 2:
            raise SourceError(f"{origin}: {len(order)} training images, at least 2 are needed")
        held_out = min(max(1, round(self.validation_share * len(order))), len(order) - 1)
        return ImageSplits(
            known.chosen(order[:-held_out]),
            known.chosen(order[-held_out:]),
            test,
            classes=tuple(str(digit) for digit in range(CLASSES)),
            terms=_MNIST if _is_mnist(arrays) else None,
        )


def _is_mnist(arrays: dict[str, NDArray[Any]]) -> bool:
    digest = hashlib.sha256()
    for key in _KEYS:
        digest.update(np.ascontiguousarray(arrays[key], np.uint8).data)
    return digest.hexdigest() == _MNIST_SHA256


def _download() -> dict[str, NDArray[Any]]:
    from quietframe_train.backend import load_backend

    load_backend()
    import keras

    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints the download's progress
            (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    except Exception as exc:
        raise SourceError(
            f"MNIST could not be downloaded ({exc}): fetch {FILE_NAME} elsewhere and pass it as --data"
        ) from exc
    return dict(zip(_KEYS, (x_train, y_train, x_test, y_test), strict=True))


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    if path.is_dir():
        path /= FILE_NAME
    if not path.is_file():
        raise SourceError(f"{path}: no such file; expected {FILE_NAME} in the layout of keras.datasets.mnist")
    try:
        with path.open("rb") as raw:  # np.load leaves a file that it cannot read open
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise SourceError(f"{path}: a single array, expected an .npz file with {', '.join(_KEYS)}")
            missing = [key for key in _KEYS if key not in file]
            if missing:
                raise SourceError(f"{path}: has no array {', '.join(missing)}; expected {', '.join(_KEYS)}")
            return {key: file[key] for key in _KEYS}, str(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as exc:
        raise SourceError(f"{path}: not an .npz file that can be read ({exc})") from exc


def _checked(arrays: dict[str, NDArray[Any]], part: str, origin: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    found, wrong = f"{labels.dtype} of shape {labels.shape}", ""
    if images.dtype != np.uint8 or images.shape[1:] != (28, 28) or len(images) == 0:
        wrong = f"x_{part} is {images.dtype} of shape {images.shape}, expected uint8 of shape (N, 28, 28)"
    elif not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),):
        wrong = f"y_{part} is {found}, expected integers of shape ({len(images)},)"
    elif labels.min() < 0 or labels.max() >= CLASSES:
        wrong = f"y_{part} holds classes {labels.min()} to {labels.max()}, expected 0 to {CLASSES - 1}"
    if wrong:
        raise SourceError(f"{origin}: {wrong}")
    return images[..., None], labels.astype(np.int64)
