"""What every sink is: a place for results that are whole or not there."""

from __future__ import annotations

import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError
from quietframe.sources import Frame


class Sink(ABC):
    """Takes results. Leaving its `with` statement in peace keeps them, leaving it by an exception discards it.

    Attributes:
        path: the file or folder that it writes, if any.
        wants_more: False when the user has closed the window.
    """

    def __init__(self) -> None:
        self.path: Path | None = None
        self.wants_more = True

    @abstractmethod
    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """Take the result for a frame: (H, W, 3) uint8 BGR or (H, W) uint8 gray. Raises OutputError."""

    def close(self) -> None:  # noqa: B027  to do nothing is an answer
        """Finish: what was written is in its place. Raises OutputError."""

    def discard(self) -> None:  # noqa: B027
        """Give up: nothing half-written stays."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        if exc_type is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise


class NullSink(Sink):
    """Drops everything."""

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""


class Tee(Sink):
    """Several sinks at once; it wants more as long as all of them do."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        super().__init__()
        self._sinks = sinks
        self.path = next((sink.path for sink in sinks if sink.path), None)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.write(frame, pixels)
        self.wants_more = all(sink.wants_more for sink in self._sinks)

    def close(self) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.close()

    def discard(self) -> None:
        """See `Sink`."""
        for sink in self._sinks:
            sink.discard()


def check_targets(targets: Iterable[Path], sources: Iterable[Path], *, overwrite: bool) -> None:
    """Raise OutputError before any work is done if a result would replace a source or, unasked, another file."""
    read = {_identity(path) for path in sources}
    existing = [path for path in targets if path.exists() or path.is_symlink()]
    for path in existing:
        if path.exists() and _identity(path) in read:
            raise OutputError(f"{path}: is the source itself: write to another file")
        if path.is_dir():
            raise OutputError(f"{path}: is a folder, expected a file")
    if existing and not overwrite:
        others = f" (and {len(existing) - 1} more)" if len(existing) > 1 else ""
        raise OutputError(f"{existing[0]}: exists already{others}: pass --overwrite to replace it")


def check_folder(folder: Path) -> None:
    """Raise OutputError unless files can be written in a folder, or in the one that it will be made in."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
                raise OutputError(f"{folder}: cannot be written to (no permission)")
            return
        if place.exists():
            raise OutputError(f"{place}: is a file, expected a folder")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be made ({exc.strerror or exc})") from exc


def part_path(path: Path) -> Path:
    """A hidden name beside `path`, of the same suffix, for a file in the making."""
    return path.with_name(f".{secrets.token_hex(6)}.part{path.suffix}")


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
