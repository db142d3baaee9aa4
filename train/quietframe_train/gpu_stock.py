"""The stock of a sensor's frames that a training on a GPU draws from; processes that make them renew it meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from queue import Empty, Queue
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.gpu_noise import STOCK_SIDE, Stock, empty_stock, stock_noise
from quietframe_train.makers import Order, made_by_processes
from quietframe_train.photo_batches import PhotoDraws, WeightedBatch

_CHUNK = 32  # frames that come together
_AHEAD = 150  # chunks that wait while a training compiles
_AT_ONCE = 8  # chunks of a renewal
_FOREVER = range(1_000_000)


class SensorStock:
    """Frames on the device, and those that come next.

    Attributes:
        frames: what a step draws from.
    """

    def __init__(self, size: int, chunks: Queue[Stock | None]) -> None:
        self.frames = empty_stock(size)
        self._chunks, self._size, self._place = chunks, size // _CHUNK * _CHUNK, 0
        self._put = jax.jit(_put, donate_argnums=(0,))

    def fill(self) -> None:
        """Leave no place empty: the frames of a quarter of the stock, again and again."""
        chunks = [self._next() for _ in range(max(1, min(_AHEAD, self._size // _CHUNK // 4)))]
        again = np.arange(len(self.frames.told_255)) % (len(chunks) * _CHUNK)
        self.frames = Stock(*(jnp.asarray(np.concatenate(each)[again]) for each in zip(*chunks, strict=True)))

    def renew(self) -> None:
        """Put the frames that have come since in the places of the oldest. Does not wait for any."""
        with contextlib.suppress(Empty):
            for _ in range(_AT_ONCE):
                self.frames = self._put(self.frames, self._next(wait=False), self._place)
                self._place = (self._place + _CHUNK) % self._size

    def _next(self, *, wait: bool = True) -> Stock:
        chunk = self._chunks.get(block=wait)
        if chunk is None:
            raise QuietFrameError("the processes that make frames ended")
        return chunk


@contextlib.contextmanager
def kept_stock(
    photos: Sequence[NDArray[np.uint8]], noise: CameraNoise, size: int, *, seed: int, workers: int
) -> Iterator[SensorStock]:
    """A stock of so many frames, empty at first, and the processes that renew it while the block lasts."""
    draws = PhotoDraws(photos, stock_noise(noise), STOCK_SIDE, _CHUNK, weighed=False)
    chunks: Queue[Stock | None] = Queue(_AHEAD)
    over = threading.Event()

    def read(made: Iterator[WeightedBatch]) -> None:
        with contextlib.suppress(QuietFrameError):
            for inputs, clean, _ in made:
                if over.is_set():
                    return
                chunks.put(Stock(_levels(clean), _levels(inputs["image"]), 255 * inputs["sigma"].ravel()))
        chunks.put(None)

    with made_by_processes(Order(draws, seed, _FOREVER, 1), workers) as made:
        reader = threading.Thread(target=read, args=(made,), daemon=True)
        reader.start()
        try:
            yield SensorStock(size, chunks)
        finally:
            over.set()
            with contextlib.suppress(Empty):
                while reader.is_alive():
                    chunks.get(timeout=1)
            reader.join()


def _levels(scaled: Any) -> NDArray[np.uint8]:
    return np.rint(255 * scaled).astype(np.uint8)


def _put(stock: Stock, chunk: Stock, place: Any) -> Stock:
    return Stock(
        *(
            jax.lax.dynamic_update_slice(frames, new, (place, *[0] * (frames.ndim - 1)))
            for frames, new in zip(stock, chunk, strict=True)
        )
    )
