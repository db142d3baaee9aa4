"""Batches of photographs made by several processes: for a training whose steps take less time than one core needs for
a batch.

The processes load no Keras, and what they make is the same, in the same order, as one alone would make.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError
from quietframe_train.photo_batches import PhotoDraws, WeightedBatch

_SLOTS = 2  # batches that a process is ahead, beside the one in the making
_PATIENCE_SECS = 1.0  # between looks at whether a process that owes a batch is alive


@dataclass(frozen=True)
class Order:
    """Which batches a training wants: batch `index` of `steps` in each epoch, drawn from (seed, epoch, index)."""

    draws: PhotoDraws
    seed: int
    epochs: range
    steps: int

    def __len__(self) -> int:
        return len(self.epochs) * self.steps

    def make(self, number: int) -> WeightedBatch:
        """Batch `number` of all."""
        epoch, index = divmod(number, self.steps)
        return self.draws(np.random.default_rng((self.seed, self.epochs[epoch], index)))


@dataclass(frozen=True)
class _Maker:
    """What one process and the training share: a ring of slots for batches, each a block of bytes for each array."""

    slots: list[list[Any]]
    free: Any
    filled: Any


@contextlib.contextmanager
def made_by_processes(order: Order, processes: int) -> Iterator[Iterator[WeightedBatch]]:
    """All batches of an order; the processes are gone when the block is left.

    Process n of N makes the batches n, n + N, n + 2N, …, into memory of its own that the training reads.
    What is iterated raises QuietFrameError if one of them ended early.
    """
    example = order.make(0)
    context = multiprocessing.get_context("spawn")
    makers = [
        _Maker(
            [[context.RawArray("b", array.nbytes) for array in _arrays(example)] for _ in range(_SLOTS)],
            context.Semaphore(_SLOTS),
            context.Semaphore(0),
        )
        for _ in range(processes)
    ]
    running = [
        context.Process(target=_make, args=(order, maker, range(first, len(order), processes)), daemon=True)
        for first, maker in enumerate(makers)
    ]
    try:
        for process in running:
            process.start()
        yield _collected(example, makers, running, len(order))
    finally:
        for process in running:
            if process.pid is not None:
                process.terminate()
                process.join()


def _make(order: Order, maker: _Maker, numbers: range) -> None:
    """The life of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted training ends its processes itself
    cv2.setNumThreads(1)
    for turn, number in enumerate(numbers):
        made = _arrays(order.make(number))
        maker.free.acquire()
        for block, array in zip(maker.slots[turn % _SLOTS], made, strict=True):
            np.frombuffer(block, array.dtype).reshape(array.shape)[:] = array
        maker.filled.release()


def _collected(example: WeightedBatch, makers: list[_Maker], running: list[Any], count: int) -> Iterator[WeightedBatch]:
    """The batches in their order; the next one is copied while the training has the last."""

    def take(number: int) -> WeightedBatch:
        turn, which = divmod(number, len(makers))
        maker = makers[which]
        while not maker.filled.acquire(timeout=_PATIENCE_SECS):
            if not running[which].is_alive():
                raise QuietFrameError(f"a process that makes batches ended with {running[which].exitcode}")
        blocks = maker.slots[turn % _SLOTS]
        batch = _like(example, [np.frombuffer(block, np.int8).copy() for block in blocks])
        maker.free.release()
        return batch

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(take, 0)
        for number in range(1, count):
            batch = ahead.result()
            ahead = reader.submit(take, number)
            yield batch
        yield ahead.result()


def _arrays(batch: WeightedBatch) -> list[NDArray[Any]]:
    inputs, targets, weights = batch
    return [*inputs.values(), targets, weights]


def _like(example: WeightedBatch, blocks: list[NDArray[np.int8]]) -> WeightedBatch:
    """A batch of these bytes, in the shapes and types of the example."""
    pairs = zip(blocks, _arrays(example), strict=True)
    *inputs, targets, weights = (block.view(array.dtype).reshape(array.shape) for block, array in pairs)
    return dict(zip(example[0], inputs, strict=True)), targets, weights
