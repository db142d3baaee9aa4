"""What is shown of a pipeline: its newest frame before and after, in the forms that clients take."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.controls import Controls
from quietframe.sinks import Sink
from quietframe.sources import Frame

Record = Callable[[], Mapping[str, Any]]
Form = Literal["message", "tile", "after_jpeg", "png_pair"]

_JPEG_QUALITY = 80
_TILE_WIDTH = 480
_ENCODER_NICENESS = 10


class Pair:
    """Hold a frame before and after, in the forms that clients take. Each is made once, in the one encoder thread.

    Args:
        frame: as captured.
        after: (H, W, 3) or (H, W) uint8, the result.
    """

    def __init__(self, frame: Frame, after: NDArray[np.uint8]) -> None:
        self.index = frame.index
        self._before = frame.pixels
        self._after = after

    @cached_property
    def after_jpeg(self) -> bytes:
        """The clean frame as JPEG."""
        return _encode(".jpg", self._after)

    @cached_property
    def tile(self) -> bytes:
        """The clean frame as JPEG for a wall of many: at most `_TILE_WIDTH` wide."""
        height, width = self._after.shape[:2]
        if width <= _TILE_WIDTH:
            return self.after_jpeg
        size_wh = _TILE_WIDTH, max(1, round(height * _TILE_WIDTH / width))
        return _encode(".jpg", cv2.resize(self._after, size_wh, interpolation=cv2.INTER_AREA))

    @cached_property
    def message(self) -> bytes:
        """For the page: frame index and length of the first JPEG (uint32, big-endian), JPEG before, JPEG after."""
        before = _encode(".jpg", self._before)
        return struct.pack(">II", self.index & 0xFFFFFFFF, len(before)) + before + self.after_jpeg

    @cached_property
    def png_pair(self) -> bytes:
        """A ZIP of two PNG files: the pixels as they were."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:  # stored: PNG is compressed already
            for name, pixels in (("before", self._before), ("after", self._after)):
                archive.writestr(f"frame-{self.index:06d}-{name}.png", _encode(".png", pixels))
        return packed.getvalue()


class Frames:
    """Hold the newest pair. `put` is for the loop's thread; `newer` and `encoded` are for the server's event loop.

    Args:
        encoder: makes the forms.
    """

    def __init__(self, encoder: ThreadPoolExecutor) -> None:
        self.newest: Pair | None = None
        self._ended = False
        self._waiting = 0
        self._bell = Bell()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._encoder = encoder

    def put(self, pair: Pair) -> None:
        """Replace the newest. Wakes the server if a client waits; otherwise it costs an assignment."""
        self.newest = pair
        self._wake()

    async def newer(self, seen: Pair | None) -> bool:
        """Wait until the newest is another than `seen`. False: there will be none, the server ends."""
        self._loop = asyncio.get_running_loop()
        self._waiting += 1  # before the look: a `put` after it wakes
        try:
            while self.newest is seen and not self._ended:
                await self._bell.wait()
        finally:
            self._waiting -= 1
        return not self._ended

    async def encoded(self, form: Form) -> tuple[Pair, bytes]:
        """Return the newest pair when the encoder turns to it, and a form of it."""
        return await asyncio.get_running_loop().run_in_executor(self._encoder, self._encode_newest, form)

    def end(self) -> None:
        """Wake all that wait, from any thread: there will be no more."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._bell.ring)

    def _encode_newest(self, form: Form) -> tuple[Pair, bytes]:
        pair = self.newest
        assert pair is not None  # clients ask after `newer`, or after they looked
        return pair, getattr(pair, form)


class Bell:
    """Wake all tasks that wait, in one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Wait until it rings."""
        await self._rung.wait()

    def ring(self) -> None:
        """Wake the tasks that wait now."""
        self._rung.set()
        self._rung = asyncio.Event()


class Stream:
    """What a server shows of one pipeline.

    Args:
        name: in addresses, on the wall and in metrics.
        encoder: as of `Frames`.
        record: its figures for JSON, from any thread; None: those of the loop that a `View` of it sees begin.

    Attributes:
        frames: the newest one.
        controls: what may be changed, once a loop runs.
    """

    def __init__(self, name: str, encoder: ThreadPoolExecutor, record: Record | None = None) -> None:
        self.name = name
        self.frames = Frames(encoder)
        self.controls: Controls | None = None
        self._record = record

    def begin(self, record: Record, controls: Controls) -> None:
        """Show a loop that begins."""
        self._record = self._record or record
        self.controls = controls

    def record(self) -> Mapping[str, Any]:
        """Return the figures as they are now."""
        return self._record() if self._record else {}


class View(Sink):
    """Hand a pipeline's frames to a stream of a server, which goes on without it.

    `write` keeps references and no more; frames are encoded where a client watches, in another thread, once for all.
    """

    interactive = True
    keeps_16bit = False

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self.stream = stream

    def begin(self, record: Record, controls: Controls) -> None:
        """See `Sink`."""
        self.stream.begin(record, controls)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`. Neither the frame nor the pixels may be changed afterwards."""
        self.stream.frames.put(Pair(frame, pixels))


def new_encoder() -> ThreadPoolExecutor:
    """Return one thread of low priority that encodes for all clients of a server.

    However many watch, it takes at most one core, and gives way to the model there.
    """
    return ThreadPoolExecutor(1, "preview-encoder", _be_nice)


def _encode(suffix: str, pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _be_nice() -> None:
    """Let the model go first. Elsewhere than on Linux it would be the whole process that gives way."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a system that forbids it: frames matter more
            os.nice(_ENCODER_NICENESS)
