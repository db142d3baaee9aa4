"""Image files: those of images, and the frames of a moving source as numbered images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError, OutputExistsError
from quietframe.images import WRITERS, Image, write_image
from quietframe.metadata import Metadata
from quietframe.sinks.base import Sink, SinkOptions, check_folder, check_targets, make_folder
from quietframe.sinks.video import SUFFIXES
from quietframe.sources import Frame, Source

_KNOWN = " ".join(sorted(WRITERS))
_NUMBER = re.compile(r"%(0\d)?d")


class ImageSink(Sink):
    """Writes each image to a file of its own: whole, or not at all. Images that are done stay.

    A single image goes to `out`, or into it under the same name if it is a folder; those of a folder or glob go
    below the folder `out` under their own names. Folders that are missing are made. With `skip_existing` a file that
    is there, since the start or by now, stays and counts as skipped.

    Raises:
        OutputError: a file exists (without `overwrite`), a source would be replaced, two images would share a name,
            or a place takes no file.
    """

    def __init__(self, out: Path, source: Source, options: SinkOptions) -> None:
        super().__init__()
        self.path = out
        self._source, self._options = source, options
        self._targets = _targets(out, source, options)
        self.heeds = {"skip_existing", "image_format", *heeded_by_images(self._targets.values())}
        check_targets(self._targets.values(), source.files, overwrite=options.overwrite or options.skip_existing)
        for folder in {
            self._targets[name].parent for name in source.names if not (options.skip_existing and self.has(name))
        }:
            check_folder(folder)

    def has(self, name: str) -> bool:
        """Whether there is a file in the place of an image's result."""
        return self._targets[name].exists()

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        try:
            _write(self._targets[frame.name], Image(pixels, frame.alpha, frame.metadata), self._options)
        except OutputExistsError:
            if not self._options.skip_existing:
                raise
            self._source.skipped += 1


class NumberedSink(Sink):
    """Writes each frame to an image of its own, numbered from 0 without gaps; those that are done stay.

    Raises:
        OutputError: not an image's name, a place that takes no file, or an image that is there already (without
            `overwrite`): the first one beforehand, others when their turn comes.
    """

    def __init__(self, out: Path, options: SinkOptions) -> None:
        super().__init__()
        check_numbered(out)
        self.path: Path = out
        self._options = options
        self.heeds = heeded_by_images([out])
        self._count = 0
        check_targets([self._target()], [], overwrite=options.overwrite)
        check_folder(out.parent)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        _write(self._target(), Image(pixels), self._options)
        self._count += 1

    def _target(self) -> Path:
        return self.path.with_name(self.path.name % self._count)


def renamed(path: Path, image_format: str | None) -> Path:
    """A path with the suffix of the format to write: the one that is named, else its own, or .png if none is written.

    image_format: as of `open_sink`.
    """
    if image_format:
        return path.with_suffix(f".{image_format}")
    return path if path.suffix.lower() in WRITERS else path.with_suffix(".png")


def is_numbered(out: str) -> bool:
    """A name with a place for the number, as in `shots/%06d.png`, and not of a video."""
    path = Path(out)
    return _NUMBER.search(path.name) is not None and path.suffix.lower() not in SUFFIXES


def check_numbered(out: Path) -> None:
    """Raise OutputError for a name that is none for numbered images."""
    if len(_NUMBER.findall(out.name)) != 1 or out.name.count("%") != 1:
        raise OutputError(f"{out}: expected one place for the number, as in %06d")
    if out.suffix.lower() not in WRITERS:
        raise OutputError(f"{out}: an image needs a file name with one of {_KNOWN}")


def _write(path: Path, image: Image, options: SinkOptions) -> None:
    """Write an image, and make its folder. Raises OutputError."""
    make_folder(path.parent)
    if options.strip_metadata and image.metadata:
        image = Image(image.pixels, image.alpha, Metadata(subsampling=image.metadata.subsampling))
    write_image(path, image, quality=options.quality or 95, overwrite=options.overwrite)


def heeded_by_images(targets: Iterable[Path]) -> set[str]:
    """Names of the options that make a difference to images in these places."""
    return {"strip_metadata"} | {"quality" for path in targets if WRITERS.get(path.suffix.lower()) == "JPEG"}


def _targets(out: Path, source: Source, options: SinkOptions) -> Mapping[str, Path]:
    """Where the image of each name goes."""
    if options.image_format and f".{options.image_format}" not in WRITERS:
        raise OutputError(f"{out}: --format {options.image_format} is for standard output: expected {_KNOWN}")
    single = source.path is not None and source.path.is_file()
    if single and not out.is_dir():
        if out.suffix.lower() not in WRITERS:
            raise OutputError(f"{out}: an image needs a file name with one of {_KNOWN}, or an existing folder")
        if out != renamed(out, options.image_format):
            raise OutputError(f"{out}: is another format than --format {options.image_format}: leave that out")
        return {source.names[0]: out}
    if not single and out.suffix.lower() in {*WRITERS, ".mp4", ".mkv", ".avi"} and not out.is_dir():
        raise OutputError(f"{out}: several images need a folder to go to")
    if source.path is not None and source.path.is_dir() and source.path.resolve() in (out / "x").resolve().parents:
        raise OutputError(f"{out}: lies inside the folder that is read: write to another place")
    targets = {name: renamed(out / name, options.image_format) for name in source.names}
    names: dict[Path, str] = {}
    for name, target in targets.items():
        if (other := names.setdefault(target, name)) != name:
            raise OutputError(f"{target}: {other} and {name} would both go there: denoise them one by one, with -o")
    return targets
