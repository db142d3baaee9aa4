"""The frames of a moving source as numbered pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError
from quietframe.images import IMAGE_SUFFIXES, Image, write_image
from quietframe.sinks.base import Sink, check_folder, check_targets, make_folder
from quietframe.sources import Frame

_NUMBER = re.compile(r"%(0\d)?d")


def is_numbered(out: str) -> bool:
    """A name with a place for the number, as in `shots/%06d.png`."""
    return _NUMBER.search(Path(out).name) is not None


class NumberedSink(Sink):
    """Writes each frame to a picture of its own, numbered from 0 without gaps; those that are done stay.

    Raises:
        OutputError: not a picture's name, a place that takes no file, or a picture that is there already (without
            `overwrite`): the first one beforehand, others when their turn comes.
    """

    def __init__(self, out: Path, *, overwrite: bool) -> None:
        super().__init__()
        if len(_NUMBER.findall(out.name)) != 1 or out.name.count("%") != 1:
            raise OutputError(f"{out}: expected one place for the number, as in %06d")
        if out.suffix.lower() not in IMAGE_SUFFIXES:
            raise OutputError(f"{out}: a picture needs a file name with one of {' '.join(sorted(IMAGE_SUFFIXES))}")
        self.path = out
        self._overwrite = overwrite
        self._count = 0
        check_targets([self._target(0)], [], overwrite=overwrite)
        check_folder(out.parent)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        target = self._target(self._count)
        check_targets([target], [], overwrite=self._overwrite)
        make_folder(target.parent)
        write_image(target, Image(pixels))
        self._count += 1

    def _target(self, index: int) -> Path:
        assert self.path is not None
        return self.path.with_name(self.path.name % index)
