"""The test images of a training, found again: the data count by content, wherever they lie now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quietframe.errors import QuietFrameError, SourceError

if TYPE_CHECKING:
    from quietframe_train.data.images import ImageSplits
    from quietframe_train.run_folder import Run


class TestSets:
    """Finds test images.

    Args:
        given: files and folders where data lie, tried after the place that a training names.

    Raises:
        SourceError: one of them does not exist.
    """

    __test__ = False  # not a test case for pytest

    def __init__(self, given: Sequence[Path] = ()) -> None:
        for path in given:
            if not path.exists():
                raise SourceError(f"{path}: no such file or folder; --data names mnist.npz or a folder of pictures")
        self._given = list(given)

    def find(self, run: Run) -> ImageSplits | None:
        """The images of a training on digits or whole pictures, split as it did; None if none has its content."""
        from quietframe_train.data.images import ImageSplits

        for path in self._places(run):
            try:
                splits = run.recipe.data.load(path, run.recipe, seed=run.seed, limit=run.limit)
            except QuietFrameError:
                continue
            if isinstance(splits, ImageSplits) and splits.sha256 == run.data_sha256:
                return splits
        return None

    def _places(self, run: Run) -> Iterator[Path]:
        if run.data_path and run.data_path.exists():
            yield run.data_path
        yield from self._given
        if run.recipe.kind == "digits":
            from quietframe_train.data.digits import FILE_NAME

            home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
            cached = home / "datasets" / FILE_NAME  # where Keras puts it; nothing is downloaded here
            if cached.is_file():
                yield cached
