"""Frames of a recording at the times at which they were taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from quietframe.sources import Frame

_STALL_NS = 10**9


def paced(frames: Iterable[Frame], fps: float | None, wait: Callable[[float], bool]) -> Iterator[Frame]:
    """Give each frame when its time has come: that of the recording, or else that of its place at so many a second.

    `captured_ns` becomes the time at which the frame was due. After a stall of more than a second, the rest follows at
    its own pace: lost time is not made up.

    Args:
        frames: of one source.
        fps: frames per second; None: those without a time of their own come at once.
        wait: waits for so many seconds and says whether to stop.
    """
    start_ns = time.monotonic_ns()
    for frame in frames:
        seconds = frame.time_s if frame.time_s is not None else frame.index / fps if fps else None
        if seconds is None:
            yield frame
            continue
        due_ns = start_ns + round(seconds * 1e9)
        late_ns = time.monotonic_ns() - due_ns
        if late_ns > _STALL_NS:
            start_ns += late_ns
            due_ns += late_ns
        elif late_ns < 0 and wait(-late_ns / 1e9):
            return
        yield replace(frame, captured_ns=due_ns)
