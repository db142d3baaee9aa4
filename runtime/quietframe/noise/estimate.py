"""Estimate the noise level of a frame."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.images import check_frame
from quietframe.noise.synthesis import MAX_SIGMA_255

WEIGHTS = Path(__file__).parents[1] / "assets" / "noise_level.npz"
"""The estimator's weights; `python -m quietframe_train.estimator` makes them."""

READINGS = 20
"""How many numbers `read_noise` gives."""

_LEVELS = 3  # of the pyramid: whole, half and quarter size
_STRIP = 32  # rows; at quarter size still a block of 4 and its neighbours
_STRIPS = 5  # ten take twice as long: docs/camera-models.md
_WIDTH = 1024
_GOLDEN = 0.618
_BLOCK = 16
_QUANTILES = (0.1, 0.3, 0.6)
_KERNEL = np.array([2.0, -4.0, 2.0])  # twice Immerkær's, each way: block means are rounded to integers
_KERNEL_NORM = 24.0  # deviation of the answer to noise of deviation 1
_TO_SIGMA = math.sqrt(math.pi / 2) / _KERNEL_NORM  # a Gaussian's mean magnitude is sqrt(2/pi) of its deviation
_FAINT_READING = 0.25
FAINT_255 = 1.0
_SMALLEST = 3


class Weights(NamedTuple):
    """A network from readings to a level: (inputs, outputs) matrices and (outputs,) biases, float32."""

    matrices: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]


def estimate_noise(frame: NDArray[np.uint8]) -> float:
    """The noise level of a frame: standard deviation in 8-bit levels.

    A small network reads it from `read_noise`. It has learned on photographs with white noise, and with that of a
    simulated sensor, demosaiced and compressed, which spreads over neighbouring pixels (docs/camera-models.md).

    frame: (H, W, 3) BGR or (H, W) gray, uint8. Returns a value in [0, 75]; 0 for frames below 3×3.
    Raises FrameError if the array is not a frame.
    """
    check_frame(frame)
    if min(frame.shape[:2]) < _SMALLEST:
        return 0.0
    values = to_features(read_noise(frame))
    matrices, biases = _weights()
    for index, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
        values = values @ matrix + bias
        if index < len(matrices) - 1:
            values = np.maximum(values, 0)
    return min(max(from_answer(float(values[0])), 0.0), MAX_SIGMA_255)


def read_noise(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Readings from which the noise level can be told: (READINGS,) float32.

    All but two are the deviation of white noise, in 8-bit levels, that would read so by Immerkær's second-difference
    mask (1996) over blocks of up to five strips: three quantiles over the blocks, as texture fills some and spares
    others; at whole, half and quarter size, as noise that a camera has spread over its neighbourhood is small in fine
    detail; of green, and of red minus blue, where the picture's edges mostly cancel and noise does not (0 for gray
    frames). The last two are how many percent of the pixels are black and white: there noise is clipped.

    frame: (H, W, 3) BGR or (H, W) gray, uint8, at least 3×3.
    """
    sample = _sample(frame)
    planes = [sample] if sample.ndim == 2 else [cv2.extractChannel(sample, 1), _opponent(sample)]
    readings = np.zeros((2, _LEVELS, len(_QUANTILES)), np.float32)
    clipped = [100 - _percent(planes[0]), _percent(cv2.compare(planes[0], 255, cv2.CMP_EQ))]
    for level in range(_LEVELS):
        for index, plane in enumerate(planes):
            readings[index, level] = _quantiles(plane, level)
        planes = [_halved(plane) for plane in planes]
    return np.append(readings, clipped).astype(np.float32)


def to_features(readings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Readings as the network takes them: logarithms, so that it errs by a share of the level."""
    return np.log(readings + np.float32(_FAINT_READING))


def to_answer(sigma_255: NDArray[np.floating]) -> NDArray[np.float32]:
    """Levels as the network gives them; the inverse of `from_answer`."""
    return np.log(np.asarray(sigma_255, np.float32) + np.float32(FAINT_255))


def from_answer(answer: float) -> float:
    """The level in 8-bit levels that an answer of the network stands for, not clipped."""
    return math.exp(min(answer, 10.0)) - FAINT_255


def read_weights(path: Path) -> Weights:
    """Read what `write_weights` in training wrote: `matrix0`, `bias0`, `matrix1`, …"""
    with np.load(path) as stored:
        count = len(stored.files) // 2
        return Weights(
            tuple(stored[f"matrix{index}"] for index in range(count)),
            tuple(stored[f"bias{index}"] for index in range(count)),
        )


@cache
def _weights() -> Weights:
    return read_weights(WEIGHTS)


def _sample(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Strips of the frame, one below the other: (strips · 32, width, …), contiguous, width a multiple of 4."""
    missing = [max(0, _STRIP - size) for size in frame.shape[:2]]
    if any(missing):
        frame = cv2.copyMakeBorder(np.ascontiguousarray(frame), 0, missing[0], 0, missing[1], cv2.BORDER_REFLECT)
    height, width = frame.shape[:2]
    count, wide = min(_STRIPS, height // _STRIP), min(_WIDTH, width) // 4 * 4
    tops = np.linspace(0, height - _STRIP, count).astype(int)
    lefts = (np.arange(count) * _GOLDEN % 1 * (width - wide)).astype(int)
    return np.concatenate(
        [frame[top : top + _STRIP, left : left + wide] for top, left in zip(tops, lefts, strict=True)]
    )


def _percent(plane: NDArray[np.uint8]) -> float:
    """How many percent of the pixels are not 0."""
    return 100 * cv2.countNonZero(plane) / plane.size


def _halved(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _opponent(sample: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half of red minus blue, about 128."""
    red, blue = cv2.extractChannel(sample, 2), cv2.extractChannel(sample, 0)
    return cv2.addWeighted(red, 0.5, blue, -0.5, 128)


def _quantiles(plane: NDArray[np.uint8], level: int) -> NDArray[np.float64]:
    """Quantiles of the noise that blocks read, one row of blocks in each strip."""
    block, strip = _BLOCK >> level, _STRIP >> level
    count, columns = plane.shape[0] // strip, (plane.shape[1] - 2) // block
    second = cv2.sepFilter2D(plane, cv2.CV_16S, _KERNEL, _KERNEL)
    inner = np.abs(second, out=second).reshape(count, strip, -1)[:, 1 : 1 + block, 1 : 1 + columns * block]
    means = cv2.resize(inner.reshape(count * block, -1), (columns, count), interpolation=cv2.INTER_AREA)
    ranked = np.sort(means, axis=None)  # np.quantile takes as long as all the rest
    return np.interp(np.multiply(_QUANTILES, len(ranked) - 1), np.arange(len(ranked)), ranked) * _TO_SIGMA
