"""Four sources, each with a preview and two clients, for as many frames as one likes: nothing grows."""

from __future__ import annotations

import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe import Denoiser
from quietframe.pipeline import Pipeline, PipelineConfig
from quietframe.preview import Preview
from quietframe.sources import Frame, Source
from support.images import random_frame

SOURCES, CLIENTS = 4, 2
MAX_GROWTH_MB = 5.0
_BATCH = 500  # frames between two looks
_WARM_UP = 4200  # of each source: statistics keep the times of 4,096


def rss_mb() -> float:
    """The memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Reel(Source):
    """Twenty noisy frames round and round, until it is cancelled."""

    endless = real_time = True

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._frames: list[NDArray[np.uint8]] = [random_frame(48, 64, 3, seed=seed + index) for index in range(20)]
        self.size_wh, self.fps = (64, 48), 100.0

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._cancelled.wait(0.002):
            yield Frame(self._frames[index % 20].copy(), index, time.monotonic_ns())
            index += 1


def soak(seeds: Iterator[int]) -> Iterator[dict[str, Any]]:
    """Run until so many frames are done; a look every few hundred, the first ones as a warm-up."""
    config = PipelineConfig(drop_frames=False)
    previews = [Preview("127.0.0.1:0") for _ in range(SOURCES)]
    pipelines = [
        Pipeline(Reel(number), Denoiser("camera-nano", threads=1), [preview], config)
        for number, preview in enumerate(previews)
    ]
    ended = threading.Event()
    received = [0] * SOURCES * CLIENTS

    def look(number: int) -> None:
        preview = previews[number % SOURCES]
        address = preview.url.replace("/?", "/stream.mjpg?") if "?" in preview.url else preview.url + "stream.mjpg"
        with urllib.request.urlopen(address, timeout=30) as answer:
            while not ended.is_set() and (data := answer.read1(65536)):
                received[number] += data.count(b"\xff\xd8\xff")

    with ExitStack() as stack:
        threads = [threading.Thread(target=pipeline.run, daemon=True) for pipeline in pipelines]
        for thread in threads:
            thread.start()
        while not all(pipeline.record().get("processed") for pipeline in pipelines):
            time.sleep(0.05)
        clients = [threading.Thread(target=look, args=(number,), daemon=True) for number in range(SOURCES * CLIENTS)]
        for client in clients:
            client.start()

        def stop() -> None:
            for pipeline in pipelines:
                pipeline.stop()
            ended.set()
            for thread in threads:
                thread.join(10)

        stack.callback(stop)
        before: tuple[float, int, int] | None = None
        done = first = 0
        while batch := list(islice(seeds, _BATCH)):
            done += len(batch)
            while sum(pipeline.record()["processed"] for pipeline in pipelines) < done:
                time.sleep(0.02)
            now = rss_mb(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
            outcome, notes = "done", [f"{sum(received):,} frames received by {len(clients)} clients"]
            if min(pipeline.record()["processed"] for pipeline in pipelines) >= _WARM_UP:
                if before is None:
                    before, first = now, done
                growth = [after - earlier for after, earlier in zip(now, before, strict=True)]
                notes.append(
                    "from frame {:,} on memory {:+.1f} MB, threads {:+d}, descriptors {:+d}".format(first, *growth)
                )
                if growth[0] > MAX_GROWTH_MB or growth[1] > 0 or growth[2] > 0 or not all(received):
                    outcome = "wrong"
            yield {"outcome": outcome, "text": "; ".join(notes), "trials": len(batch), "notes": notes}
