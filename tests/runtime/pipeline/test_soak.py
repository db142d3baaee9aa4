"""Hours of work leave no trace in memory, threads or open files. A short soak; SOAK_FRAMES makes it longer."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.controls import Controls, Settings
from quietframe.pipeline.loop import Loop
from quietframe.pipeline.models import Models
from quietframe.pipeline.stats import FrameTimes
from quietframe.sinks import open_sink
from quietframe.sources import Frame, Source, open_source

FRAMES = int(os.environ.get("SOAK_FRAMES", "3000"))
WARM_UP = FRAMES // 4
MOST_MB = 5.0


def rss_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6


class Reel(Source):
    """The same few frames round and round, as fast as they are taken; each a copy of its own, as a camera's are."""

    def __init__(self, count: int) -> None:
        super().__init__()
        with open_source("test:?size=160x120&frames=20") as scene:
            self._frames = [frame.pixels for frame in scene]
        self.size_wh, self.fps, self._count = (160, 120), 30.0, count

    def __iter__(self):
        for index in range(self._count):
            yield Frame(self._frames[index % len(self._frames)].copy(), index, time.monotonic_ns())


@pytest.mark.long
def test_memory_threads_and_files_do_not_grow():
    noted: list[tuple[float, int, int]] = []

    def note(frame: Frame, _denoiser: Denoiser, _times: FrameTimes) -> None:
        if frame.index in (WARM_UP, FRAMES - 100):
            noted.append((rss_mb(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))))

    source = Reel(FRAMES)
    denoiser = Denoiser("camera-nano")
    with open_sink("null", source) as sink:
        models = Models({"camera-nano": denoiser}, fps=30)
        loop = Loop(
            source,
            models,
            sink,
            Controls(Settings(model="camera-nano"), ["camera-nano"]),
            every_frame=True,
            on_frame=note,
        )
        loop.run()
    (memory_mb, threads, files), (memory_after_mb, threads_after, files_after) = noted
    print(f"{FRAMES} frames: {memory_mb:.1f} MB after {WARM_UP}, {memory_after_mb:.1f} MB at the end")
    assert loop.stats.processed == FRAMES
    assert memory_after_mb - memory_mb <= MOST_MB
    assert (threads_after, files_after) == (threads, files)
    assert np.isfinite(loop.record()["age_p99_ms"])
