"""The processor's cores, shared by the pipelines of one process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable

from quietframe.cpu import physical_cores

HEADROOM = 0.8
"""Models are chosen so that they take at most this share of the time there is: the rest is for sinks and others."""

_NEW_SHARE = 0.1  # of a frame's time in the mean
_SILENT_NS = 10 * 10**9


class Cores:
    """Let so many pipelines denoise at once, first come first served, and tell `auto` models what there is for each.

    Args:
        count: how many at once; None: as many as there are physical cores.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = physical_cores() if count is None else count
        self.shares: list[Share] = []
        self._free = self.count
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()
        self._measuring = threading.Lock()
        self._times_ms: dict[Hashable, float] = {}

    def share(self) -> Share:
        """Return the share of one more pipeline."""
        self.shares.append(Share(self))
        return self.shares[-1]

    def measured_ms(self, what: Hashable, measure: Callable[[], float]) -> float:
        """Return what `measure` gave for the same thing before, or else call it: one measures at a time."""
        with self._measuring:
            if what not in self._times_ms:
                self._times_ms[what] = measure()
            return self._times_ms[what]

    def take(self) -> None:
        """Wait for a core. Who waits longest is served first."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()

    def give(self) -> None:
        """Give the core to who waits, or back."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class Share:
    """One pipeline's share of the cores. Its `with` statement is a turn on one of them, and is timed.

    Attributes:
        fps: frames a second that the pipeline is to denoise.
        can_yield: it runs `auto`, and there is a faster model.
        is_measuring: models are measured for it, which may take a minute.
    """

    def __init__(self, cores: Cores) -> None:
        self.fps = 0.0
        self.can_yield = self.is_measuring = False
        self._cores = cores
        self._ms: float | None = None
        self._start_ns = self._latest_ns = 0

    def __enter__(self) -> None:
        self._cores.take()
        self._start_ns = time.monotonic_ns()

    def __exit__(self, *exc_info: object) -> None:
        self._latest_ns = time.monotonic_ns()
        ms = (self._latest_ns - self._start_ns) / 1e6
        self._ms = ms if self._ms is None else self._ms + _NEW_SHARE * (ms - self._ms)
        self._cores.give()

    def expect(self, ms: float, *, can_yield: bool) -> None:
        """Note that a frame should take so long from now on: another model was chosen."""
        self._ms, self.can_yield, self._latest_ns = ms, can_yield, time.monotonic_ns()

    def measured_ms(self, what: Hashable, measure: Callable[[], float]) -> float:
        """See `Cores`."""
        self.is_measuring = True
        try:
            return self._cores.measured_ms(what, measure)
        finally:
            self.is_measuring = False

    @property
    def need(self) -> float | None:
        """The cores that it needs: time of a frame by frames a second, 0 while none comes; None: not known yet."""
        if self._ms is None:
            return None
        return 0.0 if time.monotonic_ns() - self._latest_ns > _SILENT_NS else self._ms * self.fps / 1000

    @property
    def fair(self) -> float:
        """The cores that it may choose a model for: an equal part of all, or of what the others leave if that is more.

        Of those that never ran, each is left its part.
        """
        shares, all_cores = self._cores.shares, HEADROOM * self._cores.count
        others = [share.need for share in shares if share is not self]
        left = all_cores - sum(need for need in others if need is not None)
        return max(left / (1 + others.count(None)), all_cores / len(shares))

    @property
    def left(self) -> float:
        """The cores that the others leave now."""
        needs = [share.need for share in self._cores.shares if share is not self]
        return HEADROOM * self._cores.count - sum(filter(None, needs))

    @property
    def is_to_yield(self) -> bool:
        """Whether all together need more than there is, and it the most of those that can take a faster model."""
        shares = self._cores.shares
        if sum(share.need or 0.0 for share in shares) <= self._cores.count:
            return False
        able = [share for share in shares if share.can_yield]
        return self is max(able, key=lambda share: share.need or 0.0, default=None)
