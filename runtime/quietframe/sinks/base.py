"""What every sink is: a place for results that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quietframe.controls import Controls
from quietframe.errors import OutputError, UsageError
from quietframe.log import log
from quietframe.sources import Frame

CODECS: Mapping[str, str] = {"h264": "libx264", "hevc": "libx265", "ffv1": "ffv1", "mjpeg": "mjpeg"}
"""The codecs, and FFmpeg's encoder of each: small; smaller and slow; lossless and large; a JPEG for each frame."""


@dataclass(frozen=True)
class SinkOptions:
    """What a caller may ask of a sink, as of `open_sink`; each kind heeds what concerns it.

    Raises:
        UsageError: a codec that there is not, or both a codec and an encoder.
    """

    overwrite: bool = False
    skip_existing: bool = False
    image_format: str | None = None
    quality: int | None = None
    strip_metadata: bool = False
    codec: str | None = None
    encoder: str | None = None
    crf: int | None = None
    audio: bool = True
    patient: bool = False

    def __post_init__(self) -> None:
        if self.codec is not None and self.codec not in CODECS:
            raise UsageError(f"Expected codec to be one of {' '.join(CODECS)}. Received: {self.codec!r}")
        if self.codec and self.encoder:
            raise UsageError("codec and encoder exclude each other: an encoder has its codec")


class Sink(ABC):
    """Takes results. Leaving its `with` statement in peace keeps them, leaving it by an exception discards it.

    Attributes:
        path: the file or folder that it writes, if any.
        wants_more: False when the user has closed the window.
        interactive: someone watches: frames come in real time, and another model may be chosen.
        heeds: names of `SinkOptions` that make a difference to it.
        keeps_16bit: it takes uint16 pixels, too.
    """

    interactive = False
    heeds: Collection[str] = ()
    keeps_16bit = True

    def __init__(self) -> None:
        self.path: Path | None = None
        self.wants_more = True

    @property
    def places(self) -> tuple[str, ...]:
        """Where results go, for messages; empty: nowhere that stays."""
        return (str(self.path),) if self.path else ()

    def begin(self, record: Callable[[], Mapping[str, Any]], controls: Controls) -> None:  # noqa: B027
        """Get ready: a loop begins. `record()` gives its state for JSON, from any thread. Raises OutputError."""

    @abstractmethod
    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """Take the result for a frame, of its shape and type: (H, W, 3) BGR or (H, W) gray. Raises OutputError."""

    def tick(self, now_ns: int) -> None:  # noqa: B027  to do nothing is an answer
        """A live source's time goes on, with or without frames: `time.monotonic_ns()`. Raises OutputError."""

    def close(self) -> None:  # noqa: B027
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


class Guarded(Sink):
    """Several sinks at once, none of which can stop the others: one that fails is given up, and `failures` says why.

    It wants more as long as all that did not fail do, and while there is one. With a single sink or none it fails with
    it, as there is nothing left to go on for.

    Args:
        sinks: by the names that failures are logged under.
    """

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        super().__init__()
        self._sinks = dict(sinks)
        self._alone = len(sinks) < 2
        self.keeps_16bit = all(sink.keeps_16bit for sink in sinks.values())
        self.failures: list[str] = []
        self._find_path()

    @property
    def places(self) -> tuple[str, ...]:
        """See `Sink`."""
        return tuple(place for sink in self._sinks.values() for place in sink.places)

    def begin(self, record: Callable[[], Mapping[str, Any]], controls: Controls) -> None:
        """See `Sink`. One that cannot begin fails at once: nothing is lost by that."""
        for sink in self._sinks.values():
            sink.begin(record, controls)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        self._each(lambda sink: sink.write(frame, pixels))

    def tick(self, now_ns: int) -> None:
        """See `Sink`."""
        self._each(lambda sink: sink.tick(now_ns))

    def close(self) -> None:
        """See `Sink`."""
        self._each(lambda sink: sink.close())

    def discard(self) -> None:
        """See `Sink`."""
        self._each(lambda sink: sink.discard())

    def _each(self, act: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                act(sink)
            except Exception as exc:
                if self._alone:
                    raise
                self._give_up(name, exc)
        self.wants_more = bool(self._sinks or self._alone) and all(sink.wants_more for sink in self._sinks.values())

    def _give_up(self, name: str, exc: Exception) -> None:
        line = str(exc) if isinstance(exc, OutputError) else f"{name}: {type(exc).__name__}: {exc}"
        self.failures.append(line)
        log.error("%s", line)
        with contextlib.suppress(Exception):
            self._sinks.pop(name).discard()
        self._find_path()

    def _find_path(self) -> None:
        """Let `path` be that of the first sink that did not fail."""
        self.path = next((sink.path for sink in self._sinks.values() if sink.path), None)


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


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
