"""Find how a scene moved between two frames, and move what was seen before along with it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_STRIDE = 4  # frames are compared at a quarter of their size
_MIN_SIDE = 12  # of that, in pixels: DIS takes no less
_MAX_SIDE = (1 << 15) - 2  # of a frame: cv2.remap takes no more
_BLOCK = 5  # pixels of that size, in which errors are compared
_GAIN = 0.8  # moved pixels must match so much better than those in place
_CUT_255, _CUT_SHARE = 16.0, 0.6  # a cut: so large an error remains in so much of the frame


class Motion(NamedTuple):
    """How a frame came from the one before.

    Attributes:
        flow: (H / 4, W / 4, 2) float32, rounded up: where each pixel was before, relative to where it is now, x and y,
            in pixels of that size. None: nothing has moved.
        is_cut: it shows something else.
    """

    flow: NDArray[np.float32] | None
    is_cut: bool


class MotionEstimator:
    """Estimates dense optical flow at quarter size, with OpenCV's DIS (Kroeger et al. 2016), down to that size itself.

    Noise looks like motion, and to move what stands still would blur it: where moved pixels do not match clearly
    better than those in place, the flow is 0.
    """

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._dis.setFinestScale(0)
        self._dis.setPatchStride(6)  # hardly worse than 4, in half the time

    def __call__(self, frame: NDArray[np.uint8], before: NDArray[np.uint8], sigma_255: float) -> Motion:
        """Find where the pixels of a frame were in the one before.

        frame: (H, W, 3) BGR or (H, W) uint8, noisy. before: the same shape, the denoised frame before. sigma_255: noise
        level of `frame`, in 8-bit levels.
        """
        now, last = _small(frame), _small(before)
        still = _difference(now, last)
        threshold_255 = 1 + 0.2 * sigma_255  # the noise that is left at this size differs by an eighth of its level
        if not (still > threshold_255).any():
            return Motion(None, False)
        if min(now.shape) < _MIN_SIDE or max(frame.shape) > _MAX_SIDE:
            flow, moved = None, still
        else:
            flow = self._dis.calc(now, last, None)
            moved = _difference(now, warp(last, flow))
        moves = (moved < _GAIN * still) & (still > threshold_255)
        is_cut = bool(np.mean(np.minimum(still, moved) > _CUT_255 + threshold_255) > _CUT_SHARE)
        if flow is None or is_cut or not moves.any():
            return Motion(None, is_cut)
        share = cv2.blur(cv2.dilate(moves.astype(np.float32), np.ones((_BLOCK, _BLOCK), np.uint8)), (3, 3))
        return Motion(flow * share[:, :, None], False)


def warp(
    values: NDArray[Any],
    flow: NDArray[np.float32],
    out: NDArray[Any] | None = None,
    scratch: NDArray[np.float32] | None = None,
) -> NDArray[Any]:
    """Move an image along a flow of its size, interpolated linearly; beyond a border it repeats.

    out: where the result goes, of the same shape and dtype; None: a new array. scratch: an array like the flow to
    compute in, which may be the flow itself; None: a new one.
    """
    places = cv2.add(flow, _grid(*flow.shape[:2]), dst=scratch)
    return cv2.remap(values, places, None, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REPLICATE)


def at_size(
    flow: NDArray[np.float32], size_hw: tuple[int, int], stride: int = 1, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Enlarge the flow of a frame of that height and width to its size divided by `stride`, in pixels of that size.

    out: where the result goes; None: a new array.
    """
    size_wh = -(-size_hw[1] // stride), -(-size_hw[0] // stride)
    return cv2.resize(flow * np.float32(_STRIDE / stride), size_wh, dst=out, interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=8)
def _grid(height: int, width: int) -> NDArray[np.float32]:
    return np.dstack(np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)))


def _small(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gray at quarter size, each pixel the mean of sixteen."""
    half = _half(frame)
    return _half(cv2.cvtColor(half, cv2.COLOR_BGR2GRAY) if frame.ndim == 3 else half)


def _half(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(image, (-(-image.shape[1] // 2), -(-image.shape[0] // 2)), interpolation=cv2.INTER_AREA)


def _difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    return cv2.blur(cv2.absdiff(a, b).astype(np.float32), (_BLOCK, _BLOCK))
