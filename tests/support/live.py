"""Sources with a clock of their own, sinks that note what comes, and denoisers that take their time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quietframe import Denoiser
from quietframe.errors import OutputError
from quietframe.sinks import Sink
from quietframe.sources import Frame, Source


class Camera(Source):
    """A camera that gives small frames at a fixed rate, by the real clock; each pixel holds the frame's number.

    Its k-th frame is captured k periods after the first, whoever listens.
    """

    endless = True
    real_time = True

    def __init__(self, fps: float, frames: int | None = None, side: int = 16) -> None:
        super().__init__()
        self.fps, self._frames, self._side = fps, frames, side
        self.size_wh = (side, side)
        self.ended_by: BaseException | None = None

    def __iter__(self) -> Iterator[Frame]:
        start_ns = time.monotonic_ns()
        index = 0
        while self._frames is None or index < self._frames:
            due_ns = start_ns + round(index * 1e9 / self.fps)
            if self._cancelled.wait(max(0, due_ns - time.monotonic_ns()) / 1e9):
                return
            yield Frame(np.full((self._side, self._side, 3), index % 256, np.uint8), index, due_ns)
            index += 1
        if self.ended_by:
            raise self.ended_by


@dataclass
class Noted(Sink):
    """Notes what came and when; fails at a given frame."""

    fails_at: int | None = None
    stops_at: int | None = None
    frames: list[Frame] = field(default_factory=list)
    results: list[np.ndarray] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)
    ticks: list[int] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def write(self, frame: Frame, pixels: np.ndarray) -> None:
        if len(self.frames) == self.fails_at:
            raise OutputError("the disk is full")
        self.frames.append(frame)
        self.results.append(pixels)
        self.ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
        if len(self.frames) == self.stops_at:
            self.wants_more = False

    def tick(self, now_ns: int) -> None:
        self.ticks.append(now_ns)

    def close(self) -> None:
        self.ended.append("closed")

    def discard(self) -> None:
        self.ended.append("discarded")

    @property
    def indices(self) -> list[int]:
        return [frame.index for frame in self.frames]

    @property
    def added(self) -> list[int]:
        """By how much the first pixel of each frame became brighter."""
        pairs = zip(self.frames, self.results, strict=True)
        return [int(result[0, 0, 0]) - int(frame.pixels[0, 0, 0]) for frame, result in pairs]


class Slow(Denoiser):
    """A real model that takes so many milliseconds longer for every frame."""

    def __init__(self, model: Path, extra_ms: float) -> None:
        super().__init__(model)
        self.extra_ms = extra_ms

    def __call__(self, frame: np.ndarray, *, sigma_255: float | None = None) -> np.ndarray:
        time.sleep(self.extra_ms / 1000)
        return super().__call__(frame, sigma_255=sigma_255)
