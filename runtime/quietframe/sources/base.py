"""What every source is: an open thing that gives frames until it ends."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quietframe.decoding import PixelLimit
from quietframe.errors import SourceError
from quietframe.images import Pixels
from quietframe.metadata import Metadata
from quietframe.sources.container import Container, UnreadableError
from quietframe.sources.sampler import Sampler


@dataclass(frozen=True, eq=False, repr=False)
class Frame(Pixels):
    """One frame of a video or stream, or one image. Equal only to itself; `np.asarray(frame)` gives its pixels.

    Attributes:
        pixels: (H, W, 3) BGR, or (H, W) gray; uint8, of an image that is to keep its 16 bits a channel uint16.
        index: its place in the source, from 0; images that could not be read leave no gap.
        captured_ns: `time.monotonic_ns()` when it was there.
        name: of an image, its path relative to the folder or glob that was opened; "" for moving sources.
        alpha: (H, W) opacity, where an image has it, of the same type.
        clean: the frame without noise, where it is known (`test:`).
        time_s: its time in a recording, in seconds, where the recording tells.
        metadata: what else an image file holds, for a sink to keep.
    """

    pixels: NDArray[Any]
    index: int
    captured_ns: int
    name: str = ""
    alpha: NDArray[Any] | None = None
    clean: NDArray[np.uint8] | None = None
    time_s: float | None = None
    metadata: Metadata | None = None


@dataclass(frozen=True)
class Options:
    """What a caller may ask of a source, as of `open_source`; each kind heeds what concerns it."""

    to_8bit: bool = False
    timeout_s: float = 10.0
    input_fps: float | None = None
    limit: PixelLimit = field(default_factory=PixelLimit)


class Source(ABC):
    """Gives frames until it ends. Use it in a `with` statement and iterate over it once.

    Attributes:
        moving: the frames follow each other in time (a video, a camera); else they are separate images.
        endless: it goes on until it is stopped.
        real_time: its frames come when they happen (a camera, a stream); else they are read as soon as one asks.
        skips: it asks `wants` itself, before it spends time on a frame; else whoever reads it does.
        path: the file or folder that it reads, if it is one.
        files: the files that it reads, as far as they are known.
        names: of images, the `Frame.name` of each, in order.
        fps: frames per second, where known.
        max_fps: at most so many frames a second are taken of it, and the others skipped; None: all.
        size_wh: (width, height) of every frame, where it is one size.
        frame_count: how many frames there should be, where known.
        failures: what could not be read while the rest went on, a line each.
        skipped: images that were left out as their results were there.
        reconnects: how often a stream that broke was open again.
        notes: what was changed or assumed when it was opened, a line each.
        video: of a video, what PyAV reads of it: times, colours, sound and so on, for a sink to keep.
        limit: the most pixels of a frame, and how many frames were left out for it.
        trouble: while a stream is broken, what is wrong, in a line without its password; else None.
        keep_16bit: give images of 16 bits a channel as they are, unless they are to be reduced; else they are refused.
    """

    moving = True
    endless = False
    real_time = False
    skips = False

    def __init__(self) -> None:
        self.path: Path | None = None
        self.files: Sequence[Path] = ()
        self.names: Sequence[str] = ()
        self.fps: float | None = None
        self.max_fps: float | None = None
        self._sampler: Sampler | None = None
        self.size_wh: tuple[int, int] | None = None
        self.frame_count: int | None = None
        self.failures: list[str] = []
        self._left_out = 0
        self.limit = PixelLimit()
        self.skipped = 0
        self.reconnects = 0
        self.trouble: str | None = None
        self.keep_16bit = False
        self.notes: list[str] = []
        self.video: Container | None = None
        self._cancelled = threading.Event()

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames. Raises SourceError when the source breaks."""

    def _open_video(self, file: Any, shown: str, **how: Any) -> None:
        """Open a video as `Container` does, with its settings. Raises SourceError."""
        try:
            self.adopt(Container(file, **how), shown)
        except UnreadableError as exc:
            raise SourceError(f"{shown}: {exc}") from exc

    def adopt(self, video: Container, shown: str) -> None:
        """Take over what a video says of itself. shown: its name, for notes."""
        self.video = video
        self.fps = float(video.rate) if video.rate else None
        self.frame_count, self.size_wh = video.frame_count, video.size_wh
        self.notes = [f"{shown}: {note}" for note in video.notes]

    @property
    def taken_fps(self) -> float | None:
        """Frames per second that are taken of it, where known: `fps`, or `max_fps` where that is less."""
        return min(filter(None, (self.fps, self.max_fps)), default=None)

    def wants(self, captured_ns: int) -> bool:
        """Return whether to take the frame of that time, as `max_fps` says. Call it once for each frame, in order."""
        if self.max_fps is None:
            return True
        if self._sampler is None:
            self._sampler = Sampler(self.max_fps)
        return self._sampler(captured_ns)

    @property
    def damaged(self) -> int:
        """Frames that came broken and were left out by now: what a source counts in `_left_out`, and its video's."""
        return self._left_out + (self.video.damaged if self.video else 0)

    def cancel(self) -> None:
        """Ask an iteration that runs in another thread to end soon: waits on `_cancelled` return at once."""
        self._cancelled.set()

    def close(self) -> None:
        """Give the file or device back."""
        if self.video:
            self.video.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
