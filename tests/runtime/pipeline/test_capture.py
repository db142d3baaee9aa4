from __future__ import annotations

import time

import numpy as np
import pytest

from quietframe.pipeline.capture import Capture, paced
from quietframe.sources import Frame
from quietframe.sources.sampler import Sampler
from support.live import Camera

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


@pytest.mark.parametrize("jitter", [0.0, 0.2])
@pytest.mark.parametrize(
    ("fps", "max_fps", "taken"), [(30, 5, 5), (25, 5, 5), (12, 5, 5), (30, 25, 25), (5, 5, 5), (4, 5, 4), (50, 50, 50)]
)
def test_a_rate_is_held_whatever_rate_the_frames_come_at(fps, max_fps, taken, jitter) -> None:
    """A minute of frames: no more than that rate, no less, and evenly."""
    rng = np.random.default_rng(1)
    times_s = (np.arange(60 * fps) + rng.uniform(-jitter, jitter, 60 * fps)) / fps
    wanted = Sampler(max_fps)
    kept_s = [time_s for time_s in times_s if wanted(round((time_s + 100) * 1e9))]
    assert len(kept_s) == pytest.approx(60 * taken, abs=2)
    assert max(np.diff(kept_s)) <= 1 / max_fps + (1.3 + 2 * jitter) / fps
    assert min(np.diff(kept_s)) >= (1 - 2 * jitter) / fps - 1e-9


def test_after_a_gap_nothing_is_made_up() -> None:
    wanted = Sampler(5)
    times_s = [0, 0.2, 10, 10.04, 10.08, 10.2, 10.24, 10.4]
    assert [time_s for time_s in times_s if wanted(round(time_s * 1e9))] == [0, 0.2, 10, 10.2, 10.4]


def test_frames_that_are_skipped_are_neither_captured_nor_dropped() -> None:
    source = Camera(100, frames=101)
    source.max_fps = 10
    taken = []
    with Capture(source) as capture:
        while not capture.ended:
            taken.append(capture.take(0.5))
        taken.append(capture.take(0))
        assert capture.captured == 11
        assert capture.captured == len([frame for frame in taken if frame]) + capture.dropped
    assert source.taken_fps == 10
