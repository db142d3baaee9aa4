"""The data of a recipe, split; the same from the same path, seed and limit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeAlias

import numpy as np

from quietframe.card import DataTerms
from quietframe.errors import UsageError
from quietframe_train.digits import load_digits
from quietframe_train.image_set import ImageSet, ImageSplits
from quietframe_train.photos import PhotoSet, load_photos
from quietframe_train.pictures import load_pictures
from quietframe_train.recipe import DigitData, PictureData, Recipe

Splits: TypeAlias = ImageSplits | PhotoSet

_SMALLEST_PHOTO = 96  # side in pixels

UNKNOWN_TERMS = "unknown: not stated when the model was trained"


def load_splits(
    recipe: Recipe, data_path: str | Path | None, *, seed: int, limit: int | None = None, fold: int = 0
) -> Splits:
    """Read the recipe's data and split it.

    Args:
        recipe: its `data` says how.
        data_path: for digits an `.npz` file of MNIST's layout or a folder that holds `mnist.npz`, or None to let
            Keras download MNIST; for photographs and pictures a folder.
        seed: of the digits' shuffle; photographs and pictures are split by their content.
        limit: use only so many training images (those for validation included); of a folder so many pictures.
        fold: which part of a folder of pictures tests.

    Raises:
        SourceError: the data cannot be read.
        UsageError: photographs without a folder, or a limit that leaves nothing to train or validate on.
    """
    share = recipe.data.validation_share
    if isinstance(recipe.data, DigitData):
        return load_digits(data_path, validation_share=share, seed=seed, limit=limit)
    if data_path is None:
        of_classes = ", with a sub-folder for each class" if "classify" in recipe.task else ""
        raise UsageError(f"{recipe.name} trains on pictures of yours: pass --data FOLDER{of_classes}")
    if isinstance(recipe.data, PictureData):
        return load_pictures(data_path, recipe.data, fold=fold, classify="classify" in recipe.task, limit=limit)
    largest = max(recipe.data.patch, recipe.settling.patch if recipe.settling else 0)
    return load_photos(data_path, validation_share=share, limit=limit, smallest=max(_SMALLEST_PHOTO, largest))


def describe_data(splits: Splits, data_path: str | Path | None, name: str | None, terms: str | None) -> DataTerms:
    """What the model card says of the data: as stated, as known by content, or unknown; never guessed."""
    known = splits.terms if isinstance(splits, ImageSplits) else None
    fallback = known or DataTerms(Path(data_path).resolve().name if data_path else "MNIST", UNKNOWN_TERMS)
    return DataTerms(name or fallback.name, terms or fallback.terms)


def fingerprint(splits: Splits) -> str:
    """SHA-256 of everything that trains or validates, so that a resumed training notices other data."""
    digest = hashlib.sha256()
    for part in (splits.training, splits.validation):
        arrays = (part.images, part.labels) if isinstance(part, ImageSet) else part
        for array in arrays:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
