"""Frames at a lower rate than they come at."""

from __future__ import annotations


class Sampler:
    """Choose among frames by their times so that at most `fps` a second are taken, evenly, whatever rate they come at.

    Frames are due once a period. One that comes up to a quarter of it early is taken: the jitter of a camera that gives
    just this rate loses none. After a gap the next frame is due a period later: lost time is not made up.
    """

    def __init__(self, fps: float) -> None:
        self._period_ns = round(1e9 / fps)
        self._due_ns: int | None = None

    def __call__(self, captured_ns: int) -> bool:
        """Return whether to take the frame of that time. Call it once for each frame, in order."""
        if self._due_ns is None:
            self._due_ns = captured_ns
        if captured_ns < self._due_ns - self._period_ns // 4:
            return False
        self._due_ns += self._period_ns
        if self._due_ns <= captured_ns:
            self._due_ns = captured_ns + self._period_ns
        return True
