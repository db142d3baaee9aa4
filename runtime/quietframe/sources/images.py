"""Images: a file, a folder with all below it, or a glob; one by one, or as the frames of a video."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

from quietframe.decoding import is_image
from quietframe.errors import SourceError
from quietframe.images import IMAGE_SUFFIXES, read_image
from quietframe.sources.base import Frame, Options, Source

_SEQUENCE = "sequence:"
_EXAMPLE = "sequence:25:shots/*.png, 25 being frames a second"


def is_images(spec: str) -> bool:
    """A folder, a glob, or a file that is an image by its content or at least by its name."""
    path = Path(spec)
    if not spec:  # which pathlib takes for the current folder
        return False
    if path.is_dir() or _is_glob(spec):
        return True
    return path.is_file() and (path.suffix.lower() in IMAGE_SUFFIXES or _holds_image(path))


def is_sequence(spec: str) -> bool:
    """`sequence:` with a frame rate and images behind it."""
    return spec.startswith(_SEQUENCE)


class ImageSource(Source):
    """Reads images one by one, sorted by path; in a folder or glob one that cannot be read is passed over.

    Hidden files and files with other suffixes than `IMAGE_SUFFIXES` are left out of folders and globs.

    Raises:
        SourceError: a folder or glob without an image; while iterating, a single file that cannot be read.
    """

    moving = False

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        self._to_8bit, self._max_pixels = options.to_8bit, options.limit.max_pixels
        self._single = False
        path = Path(spec)
        if path.is_dir():
            self.path, root = path, path
            files, self.failures = files_below(path, IMAGE_SUFFIXES)
        elif path.is_file():
            self.path, root, files, self._single = path, path.parent, [path], True
        else:
            root, files = _glob(spec)
        if not files and self.failures:
            raise SourceError(self.failures[0])
        if not files:
            raise SourceError(f"{spec}: no images there ({' '.join(sorted(IMAGE_SUFFIXES))})")
        self.files = files
        self.names = [file.relative_to(root).as_posix() for file in files]
        self.frame_count = len(files)
        self._is_done: Callable[[str], bool] = lambda _name: False

    def skip(self, is_done: Callable[[str], bool]) -> None:
        """Leave out the images of which `is_done(name)` says so when their turn comes: others may work on them too."""
        self._is_done = is_done
        self.frame_count = sum(not is_done(name) for name in self.names)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        for file, name in zip(self.files, self.names, strict=True):
            if self._is_done(name):
                self.skipped += 1
                continue
            try:
                image = read_image(file, to_8bit=self._to_8bit, keep_16bit=self.keep_16bit, max_pixels=self._max_pixels)
            except SourceError as exc:
                if self._single:
                    raise
                self.failures.append(str(exc))
                continue
            now_ns = time.monotonic_ns()
            yield Frame(image.pixels, index, now_ns, name=name, alpha=image.alpha, metadata=image.metadata)
            index += 1


def files_below(folder: Path, suffixes: Collection[str]) -> tuple[list[Path], list[str]]:
    """All files with these suffixes in a folder and below, sorted, and what could not be read, a line each.

    Hidden files and folders are left out, and symbolic links to folders not followed. suffixes: in lower case.
    """
    found, failures = [], []

    def note(exc: OSError) -> None:
        failures.append(f"{exc.filename}: cannot be read ({exc.strerror or exc})")

    for where, folders, names in os.walk(folder, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in names if is_wanted(name, suffixes)]
    return sorted(found), failures


def is_wanted(name: str, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Whether a file of that name is taken from a folder: it is not hidden and has one of the suffixes."""
    return not name.startswith(".") and Path(name).suffix.lower() in suffixes


class SequenceSource(Source):
    """Gives the images of a folder or glob, sorted by path, as a moving source. Transparency is left out.

    Raises:
        SourceError: no frame rate, or no images; those that cannot be read are passed over, and `failures` says so.
    """

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        rate, _, images = spec.removeprefix(_SEQUENCE).partition(":")
        try:
            self.fps = float(rate)
        except ValueError:
            self.fps = 0.0
        if not 0.1 <= self.fps <= 1000:
            raise SourceError(f"{spec}: expected a frame rate in [0.1, 1000] first, as in {_EXAMPLE}")
        if not is_images(images):
            raise SourceError(f"{spec}: no such folder or images: expected {_EXAMPLE}")
        self._images = ImageSource(images, options)
        self.files = self._images.files
        self.frame_count = self._images.frame_count
        self.failures = self._images.failures

    def __iter__(self) -> Iterator[Frame]:
        self._images.keep_16bit = self.keep_16bit
        for index, frame in enumerate(self._images):
            yield replace(frame, index=index, name="", alpha=None, metadata=None, captured_ns=time.monotonic_ns())


def _holds_image(path: Path) -> bool:
    # A stream of JPEGs (.mjpeg) begins as a JPEG does.
    return path.suffix.lower() not in (".mjpeg", ".mjpg") and is_image(path)


def _is_glob(spec: str) -> bool:
    return glob.has_magic(spec) and not Path(spec).exists()


def _glob(pattern: str) -> tuple[Path, list[Path]]:
    """The images that a pattern matches, sorted, and the folder that their names are relative to."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    matches = map(Path, glob.iglob(pattern, recursive=True))  # noqa: PTH207  Path.glob enters hidden folders
    return Path(*parts[:fixed]), sorted({match for match in matches if is_wanted(match.name) and match.is_file()})
