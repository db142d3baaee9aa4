"""From the loop's thread to the server's: the newest pair of pictures, encoded when someone looks, and once."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.sources import Frame

_JPEG_QUALITY = 80
_ENCODER_NICENESS = 10

Form = Literal["message", "after_jpeg", "png_pair"]


class Pair:
    """A frame before and after, in the forms that clients take. Each is made once, in the encoder's one thread.

    Args:
        frame: as captured.
        after: (H, W, 3) or (H, W) uint8, what was made of it.
    """

    def __init__(self, frame: Frame, after: NDArray[np.uint8]) -> None:
        self.index = frame.index
        self._before = frame.pixels
        self._after = after

    @cached_property
    def after_jpeg(self) -> bytes:
        """The clean picture."""
        return _encode(".jpg", self._after)

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


class Pictures:
    """The newest pair. `put` is the loop's; `newer` and `encoded` are the server's, in its event loop.

    One encoder thread of low priority serves all clients: however many look, the preview takes at most one core, and
    gives way to the model there.
    """

    def __init__(self) -> None:
        self.newest: Pair | None = None
        self._ended = False
        self._waiting = 0
        self._bell = Bell()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._encoder = ThreadPoolExecutor(1, "preview-encoder", _be_nice)

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
        """The newest pair, and a form of it; the newest when the encoder turns to it, not when it was asked for."""
        return await asyncio.get_running_loop().run_in_executor(self._encoder, self._encode_newest, form)

    def end(self) -> None:
        """End all waiting, from any thread."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """End the encoder; after this nobody may ask for a form."""
        self._encoder.shutdown(wait=False, cancel_futures=True)

    def _wake(self) -> None:
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._bell.ring)

    def _encode_newest(self, form: Form) -> tuple[Pair, bytes]:
        pair = self.newest
        assert pair is not None  # clients ask after `newer`, or after they looked
        return pair, getattr(pair, form)


class Bell:
    """Wakes all who wait. For one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Until it rings."""
        await self._rung.wait()

    def ring(self) -> None:
        """Wake those who wait now."""
        self._rung.set()
        self._rung = asyncio.Event()


def _encode(suffix: str, pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _be_nice() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, _ENCODER_NICENESS)  # on Linux of this thread alone
