"""Picture files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError
from quietframe.images import IMAGE_SUFFIXES, Image, write_image
from quietframe.sinks.base import Sink, check_folder, check_targets, make_folder
from quietframe.sources import Frame, Source


class PictureSink(Sink):
    """Writes each picture to a file of its own: whole, or not at all. Pictures that are done stay.

    A single picture goes to `out`, or into it under the same name if it is a folder; those of a folder or glob go
    below the folder `out` under their own names. Folders that are missing are made.

    Raises:
        OutputError: a file exists (without `overwrite`), a source would be replaced, or a place takes no file.
    """

    def __init__(self, out: Path, source: Source, *, overwrite: bool) -> None:
        super().__init__()
        self.path = out
        self._targets = _targets(out, source)
        check_targets(self._targets.values(), source.files, overwrite=overwrite)
        for folder in {target.parent for target in self._targets.values()}:
            check_folder(folder)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        target = self._targets[frame.name]
        make_folder(target.parent)
        write_image(target, Image(pixels, frame.alpha))


def _targets(out: Path, source: Source) -> Mapping[str, Path]:
    """Where the picture of each name goes."""
    single = source.path is not None and source.path.is_file()
    if single and not out.is_dir():
        if out.suffix.lower() not in IMAGE_SUFFIXES:
            known = " ".join(sorted(IMAGE_SUFFIXES))
            raise OutputError(f"{out}: a picture needs a file name with one of {known}, or an existing folder")
        return {source.names[0]: out}
    if not single and out.suffix.lower() in IMAGE_SUFFIXES | {".mp4", ".mkv", ".avi"} and not out.is_dir():
        raise OutputError(f"{out}: several pictures need a folder to go to")
    if source.path is not None and source.path.is_dir() and source.path.resolve() in (out / "x").resolve().parents:
        raise OutputError(f"{out}: lies inside the folder that is read: write to another place")
    return {name: out / name for name in source.names}
