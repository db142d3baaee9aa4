"""Track the noise level of a video."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from quietframe.noise.estimate import FAINT_255, estimate_noise, from_answer
from quietframe.noise.synthesis import MAX_SIGMA_255


class NoiseTracker:
    """The noise level of a video: estimated now and then, smoothed, and quick to follow a jump.

    Args:
        fps: frames a second; None: not known, every frame is looked at.
    """

    _LOOKS_PER_SECOND = 5.0  # a jump is followed within a fifth of a second
    _SHARE = 0.3  # of a new estimate in the level
    _JUMP = math.log(1.3)  # an estimate that is further off is a change of light or gain, not an error

    def __init__(self, fps: float | None = None) -> None:
        self._every = max(1, int((fps or 0) / self._LOOKS_PER_SECOND))
        self._count = 0
        self._answer = 0.0

    def __call__(self, frame: NDArray[np.uint8]) -> float:
        """The level at this frame, the next one of the video, in 8-bit levels. See `estimate_noise`."""
        if self._count % self._every == 0:
            new = math.log(estimate_noise(frame) + FAINT_255)
            difference = new - self._answer
            follow = self._count == 0 or abs(difference) > self._JUMP
            self._answer = new if follow else self._answer + self._SHARE * difference
        self._count += 1
        return min(max(from_answer(self._answer), 0.0), MAX_SIGMA_255)
