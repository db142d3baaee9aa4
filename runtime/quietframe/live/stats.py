"""What the loop measures about itself."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

_KEPT = 4096  # frames: more than two minutes at 30 a second
_FPS_SPAN_NS = 3 * 10**9
PERCENTS = (50, 95, 99)
STAGES = ("wait", "denoise", "sinks")


@dataclass(frozen=True)
class FrameTimes:
    """When a frame passed each point, by `time.monotonic_ns()`.

    Attributes:
        captured_ns, taken_ns, denoised_ns, done_ns: it was there; the loop took it; its result was there; all sinks
            had taken that.
    """

    captured_ns: int
    taken_ns: int
    denoised_ns: int
    done_ns: int

    @property
    def age_ms(self) -> float:
        """From capture to the last sink."""
        return (self.done_ns - self.captured_ns) / 1e6

    @property
    def busy_ms(self) -> float:
        """What the loop was busy with it."""
        return (self.done_ns - self.taken_ns) / 1e6

    @property
    def stages_ms(self) -> tuple[float, ...]:
        """By `STAGES`."""
        points = (self.captured_ns, self.taken_ns, self.denoised_ns, self.done_ns)
        return tuple((end - start) / 1e6 for start, end in pairwise(points))


class Stats:
    """Counts and times of a running loop, in bounded memory: times are of the latest 4,096 frames.

    Attributes:
        processed: frames whose results the sinks have.
        started_ns: when the loop began, by `time.monotonic_ns()`.
    """

    def __init__(self) -> None:
        self.processed = 0
        self.started_ns = time.monotonic_ns()
        self._ages: deque[float] = deque(maxlen=_KEPT)
        self._stages: deque[tuple[float, ...]] = deque(maxlen=_KEPT)
        self._done_ns: deque[int] = deque(maxlen=_KEPT)
        self._levels: deque[float] = deque(maxlen=_KEPT)

    def add(self, times: FrameTimes, level_255: float | None) -> None:
        """Note one frame, and the noise level that was found in it."""
        self.processed += 1
        self._ages.append(times.age_ms)
        self._stages.append(times.stages_ms)
        self._done_ns.append(times.done_ns)
        if level_255 is not None:
            self._levels.append(level_255)

    @property
    def fps(self) -> float | None:
        """Results a second over the last three seconds; None before there are two."""
        now_ns = time.monotonic_ns()
        recent = [done_ns for done_ns in tuple(self._done_ns) if now_ns - done_ns < _FPS_SPAN_NS]
        if len(recent) < 2:
            return 0.0 if self.processed else None
        # To now, not to the last result: a loop that hangs is seen to.
        return len(recent) * 1e9 / min(_FPS_SPAN_NS, now_ns - recent[0] + (recent[-1] - recent[0]) / (len(recent) - 1))

    @property
    def level_255(self) -> float | None:
        """The noise level of the latest frame."""
        return self._levels[-1] if self._levels else None

    @property
    def median_level_255(self) -> float | None:
        """The median noise level of the latest frames."""
        return float(np.median(self._levels)) if self._levels else None

    def percentiles(self) -> Mapping[str, float | None]:
        """`age_p50_ms` and so on, and the same of every stage: `wait` in the slot, `denoise`, `sinks`."""
        found = _percentiles("age", tuple(self._ages))
        stages = tuple(self._stages)
        for place, stage in enumerate(STAGES):
            found |= _percentiles(stage, [times[place] for times in stages])
        return found

    def record(self) -> dict[str, Any]:
        """All of it for JSON, with units in the keys; None where there is nothing to tell yet."""
        return {
            "processed": self.processed,
            "fps": _rounded(self.fps, 2),
            **self.percentiles(),
            "sigma_255": _rounded(self.level_255, 2),
            "uptime_s": round((time.monotonic_ns() - self.started_ns) / 1e9, 3),
        }


def _percentiles(name: str, values_ms: Sequence[float]) -> dict[str, float | None]:
    found = np.percentile(values_ms, PERCENTS) if values_ms else [None] * len(PERCENTS)
    return {f"{name}_p{percent}_ms": _rounded(value, 3) for percent, value in zip(PERCENTS, found, strict=True)}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
