"""Frames to measure with: real images, and a different frame at every call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.errors import UsageError

NOISE_SIGMA_255 = 25.0
"""Noise added to the bundled photograph, in 8-bit levels. A user's own frames are taken as they are."""

_MARGIN = 64
_POSITIONS = (_MARGIN + 1) ** 2
_IMAGE_STEP, _NOISE_STEP = 1009, 2003  # primes that do not divide _POSITIONS: every position comes up
_MAX_IMAGES = 16


class FrameFeed:
    """Frames of one size: a window that moves over images, under another window that moves over noise.

    No two of the first 17 million frames are alike.

    Args:
        images: (h, w, 3) uint8 BGR, any size; each is scaled to cover the window and its moves.
        size_wh: (width, height) of the frames.
        gray: give (H, W) frames in place of (H, W, 3).
        sigma_255: noise to add, in 8-bit levels; 0: none.
        video: move over the first image alone, two pixels a frame from side to side, as a video model needs it.
    """

    def __init__(
        self,
        images: Sequence[NDArray[np.uint8]],
        size_wh: tuple[int, int],
        *,
        gray: bool = False,
        sigma_255: float = 0.0,
        video: bool = False,
    ) -> None:
        self.size_wh, self.gray = size_wh, gray
        area_wh = size_wh[0] + _MARGIN, size_wh[1] + _MARGIN
        covers = [_cover(image, area_wh) for image in images]
        self._images = [cv2.cvtColor(cover, cv2.COLOR_BGR2GRAY) for cover in covers] if gray else covers
        self._video = video
        self._noise = _noise(self._images[0].shape, sigma_255) if sigma_255 else None

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return frame number `index`, ≥ 0, rounded and clipped to uint8. Contiguous, and the caller's own."""
        if self._video:
            window = self._window(self._images[0], 2 * abs(index % _MARGIN - _MARGIN // 2))
        else:
            window = self._window(self._images[index % len(self._images)], index * _IMAGE_STEP)
        if self._noise is None:
            return window.copy()
        noise = self._window(self._noise, index * _NOISE_STEP + index // _POSITIONS)
        return cv2.add(window, noise, dtype=cv2.CV_8U)

    def _window(self, area: NDArray[Any], position: int) -> NDArray[Any]:
        top, left = divmod(position % _POSITIONS, _MARGIN + 1)
        width, height = self.size_wh
        return area[top : top + height, left : left + width]


def open_feed(source: str | None, size_wh: tuple[int, int], *, gray: bool = False, video: bool = False) -> FrameFeed:
    """Open a feed of the bundled photograph with noise, or the first images of a folder or video as they are.

    source: a folder, a video or whatever `quietframe.open_source` takes; None: the bundled photograph.

    Raises SourceError if the source cannot be read, UsageError if it holds no images.
    """
    if source is None:
        from quietframe.assets import photo_bgr

        return FrameFeed([photo_bgr()], size_wh, gray=gray, sigma_255=NOISE_SIGMA_255, video=video)
    from quietframe.sources import open_source

    with open_source(source) as opened:
        images = [frame.bgr for frame in islice(opened, _MAX_IMAGES)]
    if not images:
        raise UsageError(f"{Path(source)}: holds no frames to measure with")
    return FrameFeed(images, size_wh, gray=gray, video=video)


def feed_for(card: ModelCard, source: str | None, size_wh: tuple[int, int]) -> FrameFeed:
    """Open a feed of the kind that a model takes: gray or in colour, in order if it remembers. See `open_feed`."""
    image = card.tensor("image", "inputs")
    return open_feed(source, size_wh, gray=image is not None and image.colour == "GRAY", video=card.has_state)


def _cover(image: NDArray[np.uint8], area_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale a image so that it covers an area, and cut its middle."""
    height, width = image.shape[:2]
    scale = max(area_wh[0] / width, area_wh[1] / height)
    scaled_wh = max(area_wh[0], round(width * scale)), max(area_wh[1], round(height * scale))
    scaled = cv2.resize(image, scaled_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (scaled_wh[0] - area_wh[0]) // 2, (scaled_wh[1] - area_wh[1]) // 2
    return np.ascontiguousarray(scaled[top : top + area_wh[1], left : left + area_wh[0]])


def _noise(shape: tuple[int, ...], sigma_255: float) -> NDArray[np.int16]:
    """Return white Gaussian noise, drawn row by row so that it does not show in the peak of memory."""
    rng = np.random.default_rng(0)
    noise = np.empty(shape, np.int16)
    for row in noise:
        row[...] = np.rint(rng.standard_normal(row.shape, dtype=np.float32) * np.float32(sigma_255))
    return noise
