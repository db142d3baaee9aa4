"""Draw batches ahead of the training: by a thread, or by processes where a step takes less time than one batch.

An ordered queue of futures does it, as each batch is known by its place. grain 0.2.18 would load JAX (1.1 s, beside
TensorFlow), and its processes start only once absl's flags are parsed.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import cv2

from quietframe.errors import QuietFrameError
from quietframe_train.data.base import Batch, Batches
from quietframe_train.signals import blocked

_AHEAD = 2  # batches of each worker that are drawn while the model computes


@contextmanager
def prefetched(batches: Batches, epochs: range, workers: int) -> Iterator[Iterator[Batch]]:
    """Iterate over all batches of some epochs in their order; the workers are gone when the block is left.

    workers: 1: a thread; more: so many processes. They change nothing of the batches.
    The iteration raises QuietFrameError if a process ended early.
    """
    pool: Executor
    if workers == 1:
        pool, draw = ThreadPoolExecutor(1), batches.draw
    else:
        context = multiprocessing.get_context("spawn")
        pool, draw = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(batches,)), _draw

    def submit(place: tuple[int, int]) -> Future[Batch]:
        with blocked():  # a training that is interrupted ends the processes that this may start
            return pool.submit(draw, *place)

    def drawn() -> Iterator[Batch]:
        places = itertools.product(epochs, range(len(batches)))
        try:
            waiting = deque(map(submit, itertools.islice(places, _AHEAD * workers)))
            while waiting:
                waiting.extend(map(submit, itertools.islice(places, 1)))
                yield waiting.popleft().result()
        except BrokenProcessPool as exc:
            raise QuietFrameError(f"a process that draws batches ended early ({exc})") from exc

    try:
        yield drawn()
    finally:
        pool.shutdown(cancel_futures=True)


_of_process: list[Batches] = []  # in a process that draws: what it draws from


def _start(batches: Batches) -> None:
    _of_process.append(batches)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _draw(epoch: int, step: int) -> Batch:
    return _of_process[0].draw(epoch, step)
