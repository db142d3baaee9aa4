from __future__ import annotations

import time

import numpy as np
import pytest

from quietframe.pipeline.capture import paced
from quietframe.sources import Frame

PIXELS = np.zeros((2, 2, 3), np.uint8)


def wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def frames(count: int, times_s: list[float] | None = None):
    for index in range(count):
        yield Frame(PIXELS, index, time.monotonic_ns(), time_s=times_s[index] if times_s else None)


def arrivals_s(given) -> tuple[list[float], list[float]]:
    """When each frame came, and when it says that it was captured, both from the first one's capture."""
    came, captured = [], []
    for frame in given:
        came.append(time.monotonic_ns())
        captured.append(frame.captured_ns)
    return [(ns - captured[0]) / 1e9 for ns in came], [(ns - captured[0]) / 1e9 for ns in captured]


def test_frames_come_at_the_sources_rate() -> None:
    came, captured = arrivals_s(paced(frames(10), 25, wait))
    assert captured == pytest.approx([index / 25 for index in range(10)], abs=1e-6)
    assert all(0 <= late < 0.1 for late in np.subtract(came, captured))


def test_a_recordings_own_times_come_first() -> None:
    _, captured = arrivals_s(paced(frames(4, [0.0, 0.05, 0.06, 0.2]), 1, wait))
    assert captured == pytest.approx([0, 0.05, 0.06, 0.2], abs=1e-6)


def test_without_any_times_frames_come_at_once() -> None:
    start = time.monotonic()
    assert len(list(paced(frames(100), None, wait))) == 100
    assert time.monotonic() - start < 0.5


def test_after_a_long_stall_the_rest_keeps_its_pace() -> None:
    def stalling():
        for frame in frames(6):
            if frame.index == 3:
                time.sleep(1.3)
            yield frame

    _, captured = arrivals_s(paced(stalling(), 20, wait))
    steps = np.diff(captured)
    assert steps[2] > 1.2
    assert [*steps[:2], *steps[3:]] == pytest.approx([0.05] * 4, abs=1e-6)


def test_a_wait_that_says_stop_stops() -> None:
    assert [frame.index for frame in paced(frames(5), 10, lambda _seconds: True)] == [0]
