"""`test:`, a drawn moving scene with noise, for machines without a camera."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import count

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.noise import add_gaussian
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.settings import Spec, frames_per_second, number, size_wh

_SHIFT = 4  # OpenCV draws at 1/16 of a pixel


SCENE = Spec(
    r"test:(?P<query>.*)",
    {
        "size": ((640, 480), size_wh),
        "fps": (30.0, frames_per_second),
        "frames": (90, number(int, 0, 10**9)),
        "sigma": (25.0, number(float, 0, 255)),
        "seed": (0, number(int, 0, 2**63)),
    },
    "test:?size=640x480&fps=30&frames=90&sigma=25&seed=0",
)
"""`test:`, alone or with settings."""


class SceneSource(Source):
    """Draws a panning background with moving discs and a frame number, and adds white noise (`Frame.clean` lacks it).

    `test:?size=640x480&fps=30&frames=90&sigma=25&seed=0` names every setting with its default; `frames=0` goes on
    for ever. One seed gives the same frames each time.

    Raises:
        SourceError: an unknown setting or a value out of range.
    """

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        _, settings = SCENE.read(spec)
        self.size_wh = settings["size"]
        self.fps = settings["fps"]
        self.frame_count = settings["frames"] or None
        self.endless = self.frame_count is None
        self._sigma_255: float = settings["sigma"]
        self._seed: int = settings["seed"]
        self._background = _background(*settings["size"])

    def __iter__(self) -> Iterator[Frame]:
        rng = np.random.default_rng(self._seed)
        for index in range(self.frame_count) if self.frame_count else count():
            clean = self._draw(index)
            noisy = add_gaussian(clean, self._sigma_255, rng)
            yield Frame(noisy, index, time.monotonic_ns(), clean=clean)

    def _draw(self, index: int) -> NDArray[np.uint8]:
        assert self.size_wh is not None and self.fps is not None
        width, height = self.size_wh
        seconds = index / self.fps
        left = round((1 - math.cos(seconds)) / 2 * (self._background.shape[1] - width))
        frame = np.ascontiguousarray(self._background[:, left : left + width])
        radius = min(width, height) / 8
        for turn, colour in enumerate(((60, 90, 220), (80, 200, 120), (230, 160, 70))):
            phase = seconds * (1.1 + 0.3 * turn) + 2.1 * turn
            centre = (width * (0.5 + 0.35 * math.cos(phase)), height * (0.5 + 0.35 * math.sin(1.3 * phase)))
            scaled = [round(value * 2**_SHIFT) for value in (*centre, radius)]
            cv2.circle(frame, (scaled[0], scaled[1]), scaled[2], colour, -1, cv2.LINE_AA, _SHIFT)
        scale = height / 400
        origin = (round(12 * scale), round(28 * scale))
        cv2.putText(frame, str(index), origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (245, 245, 245), 1, cv2.LINE_AA)
        return frame


def _background(width: int, height: int) -> NDArray[np.uint8]:
    """(height, about 1.25 · width, 3) uint8: soft shades, and bars and squares with sharp edges."""
    x, y = np.meshgrid(np.arange(width + width // 4), np.arange(height))
    image = np.empty((height, x.shape[1], 3), np.uint8)
    image[..., 0] = 70 + 90 * y / height
    image[..., 1] = 80 + 70 * x / x.shape[1]
    image[..., 2] = 60 + 50 * (1 + np.sin(x / width * 9 + y / height * 4))
    side = max(2, height // 16)
    squares = ((x // side + y // side) % 2).astype(bool) & (y > 0.7 * height)
    image[squares] = 200
    bars = ((x // max(1, side // 4)) % 2).astype(bool) & (y > 0.15 * height) & (y < 0.3 * height)
    image[bars] = 30
    return image
