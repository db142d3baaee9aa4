"""Whole images of a folder, brought to one size: with their classes, where each sub-folder is one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from quietframe.card import Spatial
from quietframe.errors import SourceError
from quietframe.tasks.fit import place
from quietframe_train.augmentation import Augmentation
from quietframe_train.data.base import Splits
from quietframe_train.data.images import ImageData, ImageSet, ImageSplits, even_indices
from quietframe_train.data.photos import image_files, read_each

if TYPE_CHECKING:
    from quietframe_train.recipe import Recipe

MIN_PICTURES = 4  # images: one to test, one to validate, two to train
MIN_OF_A_CLASS = 3  # then it trains in every fold, whichever of them test and validate


@dataclass(frozen=True)
class PictureData(ImageData):
    """A folder of images, each brought whole to one size; for classifiers each sub-folder is a class.

    Attributes:
        side: height and width in pixels that each image is resized to.
        folds: the images are dealt into so many parts, of which one tests.
        validation_share: share of the others that only validate.
        split: `content` keeps images with the same pixels on one side; `file` deals out files, twins or not.
        split_seed: of the shuffle before; the same for every training seed.
        augmentation: what is done to each training image at each showing.
        cross_validate: train once more for each of the other folds, to say how far the test figure depends on it.
    """

    side: int = 256
    folds: int = 4
    validation_share: float = 0.05
    split: Literal["content", "file"] = "content"
    split_seed: int = 42
    augmentation: Augmentation | None = None
    cross_validate: bool = False
    kind: ClassVar[str] = "pictures"
    frames_from: ClassVar[str] = "training images"

    def source(self, task: str) -> str:
        return "a folder for each class" if task == "classify" else "a folder of images"

    def load(
        self, path: str | Path | None, recipe: Recipe, *, seed: int = 0, limit: int | None = None, fold: int = 0
    ) -> ImageSplits:
        """Read every image below a folder and split them into training, validation and test.

        Images with the same pixels are one group, and a group falls on one side whole (unless `split` is `file`). The
        groups of each class are shuffled with `split_seed` and dealt out to as many folds as `folds` says.

        path: searched with its sub-folders; gray and 16-bit images and alpha are brought to 8-bit BGR. limit: use
        only so many images, taken evenly from all in the order of their paths.
        """
        folder, classify = self.required(path, recipe), "classify" in recipe.task
        paths = image_files(folder, "images")
        if limit is not None and limit < len(paths):
            paths = [paths[index] for index in even_indices(len(paths), limit)]
        classes = _classes(folder, paths) if classify else ()
        unreadable = [
            f"{file}: lies in no sub-folder, so it has no class" for file in paths if classify and file.parent == folder
        ]
        images, labels = [], []
        spatial = Spatial("fixed", size_hw=(self.side, self.side), fit="resize")
        for file, image in read_each([file for file in paths if not classify or file.parent != folder], unreadable):
            images.append(next(place(*image.shape[:2], spatial).cut(image)))
            labels.append(classes.index(file.relative_to(folder).parts[0]) if classify else 0)
        groups = _groups(images, by_content=self.split == "content")
        min_groups = max(self.folds, MIN_PICTURES)
        if len(groups) < min_groups:
            raise SourceError(
                f"{folder}: {len(groups)} different images ({len(unreadable)} files skipped), at least {min_groups} "
                "are needed to train, validate and test"
            )
        counts = Counter(labels[group[0]] for group in groups)
        for index, name in enumerate(classes):
            if counts[index] < MIN_OF_A_CLASS:
                raise SourceError(
                    f"{folder / name}: {counts[index]} different images that can be read, at least "
                    f"{MIN_OF_A_CLASS} of each class are needed"
                )
        test, validation, training = _deal(groups, labels, self, fold)

        def chosen(indices: Sequence[int]) -> ImageSet:
            return ImageSet(np.stack([images[i] for i in indices]), np.asarray([labels[i] for i in indices], np.int64))

        return ImageSplits(chosen(training), chosen(validation), chosen(test), classes=classes, unreadable=unreadable)

    def fit_to(self, recipe: Recipe, splits: Splits) -> Recipe:
        """Give a classifier a score for each class."""
        if not splits.classes:
            return recipe
        options = {**recipe.model.options, "classes": len(splits.classes)}
        return replace(recipe, model=replace(recipe.model, options=options))

    def other_folds(self) -> Sequence[int]:
        return range(1, self.folds) if self.cross_validate else ()

    def without_folds(self) -> Self:
        return replace(self, cross_validate=False)


def _classes(folder: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    names = sorted({path.relative_to(folder).parts[0] for path in paths if path.parent != folder})
    if len(names) < 2:
        raise SourceError(
            f"{folder}: {len(names)} sub-folders with images, at least 2 are needed: the name of each is a class"
        )
    return tuple(names)


def _groups(images: Sequence[NDArray[np.uint8]], *, by_content: bool) -> list[list[int]]:
    """Group the indices of images that must stay together: those with the same pixels, or each by itself."""
    groups: dict[object, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(hashlib.sha256(image.data).digest() if by_content else index, []).append(index)
    return list(groups.values())


def _deal(
    groups: Sequence[list[int]], labels: Sequence[int], data: PictureData, fold: int
) -> tuple[list[int], list[int], list[int]]:
    """Choose the indices that test, validate and train."""
    rng = np.random.default_rng(data.split_seed)
    shuffled = [groups[index] for index in rng.permutation(len(groups))]
    shuffled.sort(key=lambda group: labels[group[0]])  # stable: then each fold gets its share of each class
    test = shuffled[fold :: data.folds]
    rest = [group for index, group in enumerate(shuffled) if index % data.folds != fold]
    every = min(max(2, round(1 / data.validation_share)), len(rest))  # one at least validates
    validation = rest[every // 2 :: every]
    training = [group for index, group in enumerate(rest) if index % every != every // 2]
    test_, validation_, training_ = ([i for group in part for i in group] for part in (test, validation, training))
    return test_, validation_, training_
