"""Measure a running loop: frame times, counts, percentiles, and a file of them."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quietframe.errors import OutputError
from quietframe.log import log
from quietframe.sinks.base import check_targets

_KEPT_FRAMES = 4096  # more than two minutes at 30 a second
_FPS_SPAN_NS = 3 * 10**9
_FILE_PERIOD_S = 1.0
PERCENTS = (50, 95, 99)
STAGES = ("wait", "denoise", "sinks")


class FrameTimes(NamedTuple):
    """When a frame passed each point, by `time.monotonic_ns()`.

    Attributes:
        captured_ns, taken_ns, denoised_ns, done_ns: it was captured; the loop turned to it; its result was there; all
            sinks had taken the result.
    """

    captured_ns: int
    taken_ns: int
    denoised_ns: int
    done_ns: int

    @property
    def age_ms(self) -> float:
        """The latency from capture to the last sink."""
        return (self.done_ns - self.captured_ns) / 1e6

    @property
    def busy_ms(self) -> float:
        """The time that the loop spent on the frame."""
        return (self.done_ns - self.taken_ns) / 1e6


class Stats:
    """Collect counts and times in bounded memory: times are of the latest 4,096 frames.

    Attributes:
        processed: frames whose results the sinks have.
        started_ns: when it was made, by `time.monotonic_ns()`.
    """

    def __init__(self) -> None:
        self.processed = 0
        self.started_ns = time.monotonic_ns()
        self._frames: deque[FrameTimes] = deque(maxlen=_KEPT_FRAMES)
        self._levels: deque[float] = deque(maxlen=_KEPT_FRAMES)
        self._by_model: dict[str, tuple[int, int]] = {}

    def add(self, times: FrameTimes, level_255: float | None, model: str) -> None:
        """Add one frame, the noise level that was found in it, and the name of the model that ran."""
        frames, denoise_ns = self._by_model.get(model, (0, 0))
        self._by_model[model] = frames + 1, denoise_ns + times.denoised_ns - times.taken_ns
        self.processed += 1
        self._frames.append(times)
        if level_255 is not None:
            self._levels.append(level_255)

    @property
    def fps(self) -> float | None:
        """Results a second over the last three seconds; None before the first one."""
        now_ns = time.monotonic_ns()
        recent = [times.done_ns for times in tuple(self._frames) if now_ns - times.done_ns < _FPS_SPAN_NS]
        if len(recent) < 2:
            return 0.0 if self.processed else None
        # To now, not to the last result: a loop that hangs shows.
        return len(recent) * 1e9 / min(_FPS_SPAN_NS, now_ns - recent[0] + (recent[-1] - recent[0]) / (len(recent) - 1))

    @property
    def median_level_255(self) -> float | None:
        """The median noise level of the latest frames."""
        return float(np.median(self._levels)) if self._levels else None

    @property
    def wall_s(self) -> float:
        """Seconds since it was made."""
        return round((time.monotonic_ns() - self.started_ns) / 1e9, 3)

    def percentiles(self) -> Mapping[str, float | None]:
        """Return `age_p50_ms` and so on, and the same of every stage: `wait` in the slot, `denoise`, `sinks`."""
        points_ns = np.array(tuple(self._frames)).reshape(-1, 4)
        spans_ms = np.column_stack([points_ns[:, 3] - points_ns[:, 0], np.diff(points_ns, axis=1)]) / 1e6
        found = np.percentile(spans_ms, PERCENTS, axis=0) if len(spans_ms) else [[None] * 4] * len(PERCENTS)
        return {
            f"{span}_p{percent}_ms": _rounded(value, 3)
            for place, span in enumerate(("age", *STAGES))
            for percent, value in zip(PERCENTS, (row[place] for row in found), strict=True)
        }

    def record(self) -> dict[str, Any]:
        """Return all figures for JSON, with units in the keys; None where there is none yet."""
        return {
            "processed": self.processed,
            "by_model": {
                model: {"frames": frames, "denoise_s": round(denoise_ns / 1e9, 6)}
                for model, (frames, denoise_ns) in tuple(self._by_model.items())
            },
            "fps": _rounded(self.fps, 2),
            **self.percentiles(),
            "sigma_255": _rounded(self._levels[-1] if self._levels else None, 2),
            "uptime_s": self.wall_s,
        }


@contextmanager
def stats_file(
    path: str | Path | None, record: Callable[[], Mapping[str, Any]], *, overwrite: bool
) -> Iterator[Callable[[], None]]:
    """Write a record to a file, if any, as a JSON line each second, and once more at the end.

    Yields the function to call several times a second. Raises OutputError if the file exists or cannot be opened; if it
    cannot be written later, that is logged and the run goes on.
    """
    if path is None:
        yield lambda: None
        return
    check_targets([Path(path)], [], overwrite=overwrite)
    try:
        file = Path(path).open("w" if overwrite else "x", encoding="utf-8")  # noqa: SIM115  closed below
    except OSError as exc:
        raise OutputError(f"{path}: cannot be written ({exc.strerror or exc})") from exc
    next_s = time.monotonic()

    def write() -> None:
        nonlocal next_s
        try:
            file.write(json.dumps({"time": round(time.time(), 3), **record()}) + "\n")
            file.flush()
        except OSError as exc:
            log.error("%s: cannot be written (%s): no more statistics", path, exc.strerror or exc)
            next_s = math.inf

    def tick() -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s = time.monotonic() + _FILE_PERIOD_S
            write()

    try:
        yield tick
    finally:
        if next_s < math.inf:
            write()
        with suppress(OSError):  # what could not be written is still buffered
            file.close()


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
