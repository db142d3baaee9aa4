"""Which of several models holds a frame rate on this machine, now: measured at the start, and watched from then on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quietframe.noise.estimate import estimate_noise
from quietframe.tasks import Denoiser

ROOM = 0.8
"""A model is chosen if its frames take at most this share of their period: the rest is for sinks and for others."""

_MEASURED_S = 0.4
_LEAST_FRAMES = 5
_MISSES_NS = 2 * 10**9
_ROOM_NS = 10 * 10**9
_SOON_NS = 60 * 10**9
_LONGEST_NS = 600 * 10**9
_FEWEST = 3  # frames, to judge by


def measure_ms(denoise: Denoiser, frame: NDArray[np.uint8], seconds: float = _MEASURED_S) -> float:
    """The time that a frame takes, everything included: the 95th percentile in milliseconds.

    The noise level is estimated once before, as in a video, and the first frame is not counted.

    Args:
        denoise: the model.
        frame: (H, W, 3) or (H, W) uint8.
        seconds: how long to measure, or for five frames.
    """
    level_255 = estimate_noise(frame) if denoise.estimates else None
    denoise(frame, sigma_255=level_255)
    samples: list[int] = []
    end_ns = time.monotonic_ns() + round(seconds * 1e9)
    while len(samples) < _LEAST_FRAMES or time.monotonic_ns() < end_ns:
        start_ns = time.perf_counter_ns()
        denoise(frame, sigma_255=level_255)
        samples.append(time.perf_counter_ns() - start_ns)
    return float(np.percentile(samples, 95)) / 1e6


@dataclass(frozen=True)
class Step:
    """A change of model.

    Attributes:
        model: its name.
        why: in words, with figures.
        holds: whether it should hold the rate.
    """

    model: str
    why: str
    holds: bool = True


class Deadline:
    """Chooses, frame after frame, the best model that holds a frame rate.

    Down: when frames took longer than their period, on average over two seconds. Up: when for ten seconds there was
    room to spare for what the next better model took longer at the start. That is a guess: if the machine is slower
    now, two seconds will show it. Whoever steps down within a minute of a step up waits twice as long before the next
    one, up to ten minutes: a machine at the edge does not flap.

    Args:
        times_ms: what a frame takes with each model, measured at the start. A model that takes longer is a better one.
        fps: the rate to hold.
    """

    def __init__(self, times_ms: Mapping[str, float], fps: float) -> None:
        self._names = sorted(times_ms, key=lambda name: times_ms[name])
        self._times_ms: Sequence[float] = [times_ms[name] for name in self._names]
        self._fps = fps
        self._period_ms = 1000 / fps
        fitting = [place for place, ms in enumerate(self._times_ms) if ms <= ROOM * self._period_ms]
        self._place = fitting[-1] if fitting else 0
        self._busy: deque[tuple[int, float]] = deque()  # (when, ms) of the frames since the last step
        self._since_ns: int | None = None
        self._wait_ns = _ROOM_NS
        self._stepped_up_ns: int | None = None

    @property
    def model(self) -> str:
        """The name of the model to run."""
        return self._names[self._place]

    @property
    def first(self) -> Step:
        """The choice at the start."""
        measured = ", ".join(f"{name} {ms:.1f} ms" for name, ms in zip(self._names, self._times_ms, strict=True))
        holds = self._times_ms[self._place] <= ROOM * self._period_ms
        verdict = "holds" if holds else "is the fastest, yet does not hold"
        return Step(self.model, f"{verdict} {self._fps:g} fps ({self._period_ms:.1f} ms a frame): {measured}", holds)

    def add(self, busy_ms: float, now_ns: int) -> Step | None:
        """Note how long the loop was busy with a frame of the present model; a step, where it is time for one.

        now_ns: when, by `time.monotonic_ns()`.
        """
        if self._since_ns is None:
            self._since_ns = now_ns
        self._busy.append((now_ns, busy_ms))
        while self._busy and now_ns - self._busy[0][0] > _ROOM_NS:
            self._busy.popleft()
        return self._down(now_ns) or self._up(now_ns)

    def _down(self, now_ns: int) -> Step | None:
        assert self._since_ns is not None
        if self._place == 0 or now_ns - self._since_ns < _MISSES_NS:
            return None
        recent = [ms for when_ns, ms in self._busy if now_ns - when_ns <= _MISSES_NS]
        mean_ms = float(np.mean(recent))
        if len(recent) < _FEWEST or mean_ms <= self._period_ms:
            return None
        soon = self._stepped_up_ns is not None and now_ns - self._stepped_up_ns < _SOON_NS
        self._wait_ns = min(2 * self._wait_ns, _LONGEST_NS) if soon else _ROOM_NS
        why = (
            f"{self.model} took {mean_ms:.1f} ms a frame for two seconds: {self._fps:g} fps leave {self._period_ms:.1f}"
        )
        return self._step(-1, why, now_ns)

    def _up(self, now_ns: int) -> Step | None:
        assert self._since_ns is not None
        if self._place == len(self._names) - 1 or now_ns - self._since_ns < self._wait_ns:
            return None
        p95_ms = float(np.percentile([ms for _, ms in self._busy], 95))
        if len(self._busy) < _FEWEST:
            return None
        better_ms = p95_ms + self._times_ms[self._place + 1] - self._times_ms[self._place]
        if better_ms > ROOM * self._period_ms:
            return None
        better = self._names[self._place + 1]
        self._stepped_up_ns = now_ns
        why = (
            f"{self.model} took {p95_ms:.1f} ms a frame (p95): {better} should take {better_ms:.1f} "
            f"of {self._period_ms:.1f}"
        )
        return self._step(1, why, now_ns)

    def _step(self, by: int, why: str, now_ns: int) -> Step:
        self._place += by
        self._busy.clear()
        self._since_ns = now_ns
        return Step(self.model, why)
