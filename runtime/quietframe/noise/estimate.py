"""Estimate the noise level of a frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.deep import to_8_bits
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
_BLACK, _WHITE = 3, 252  # codecs ripple
_DEAD_SHARE, _DEAD_SPAN = 0.4, 0.2  # of a block: from the first on it does not count, below their difference fully
_LEAST_SHARE = 0.12  # of the blocks: two tiles of nine are 0.22
_GRID, _POINTS = 16, 32  # at least so many pixels from point to point, and at most twice so many points a side
_APART = 3
_PLATE_SHARE, _PLATE_SPAN = 0.02, 0.04  # of the points: a smaller plate spares all quantiles
_TEXT_SHARE = 0.15  # of the points that show something in the row, or the column, with the most
_FILLED = 0.4


class Weights(NamedTuple):
    """A network from readings to a level: (inputs, outputs) matrices and (outputs,) biases, float32."""

    matrices: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]


def estimate_noise(frame: NDArray[Any]) -> float:
    """The noise level of a frame: standard deviation in 8-bit levels.

    A small network reads it from `read_noise`. It has learned on photographs with white noise, and with that of a
    simulated sensor, demosaiced and compressed, which spreads over neighbouring pixels (docs/camera-models.md).

    frame: (H, W, 3) BGR or (H, W) gray, uint8 or uint16. Returns a value in [0, 75], for uint16 too; 0 for frames below
    3×3. Raises FrameError if the array is not a frame.
    """
    check_frame(frame, deep=True)
    if frame.dtype == np.uint16:
        frame = to_8_bits(frame)
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
    """Compute the readings that the noise level is estimated from: (READINGS,) float32.

    All but two are the deviation of white noise, in 8-bit levels, that would read so by Immerkær's second-difference
    mask (1996) over blocks of some strips: three quantiles over the blocks, as texture fills some and spares others; at
    whole, half and quarter size, as noise that a camera has spread over its neighbourhood is small in fine detail; of
    green, and of red minus blue, where the image's edges mostly cancel and noise does not (0 for gray frames, also as
    three equal planes). The last two are how many percent of the pixels are black and white: there noise is clipped.

    Only what shows something counts: neither strips nor blocks of black bars, of a white page or of a plate of one
    colour, as far as there are others (`_live`).

    frame: (H, W, 3) BGR or (H, W) gray, uint8, at least 3×3.
    """
    sample, table = _sample(frame)
    planes = [sample] if sample.ndim == 2 else [cv2.extractChannel(sample, 1), _opponent(sample)]
    weights = _live(planes[0], table)
    clipped = [_means(cv2.compare(planes[0], value, cv2.CMP_EQ), 0) for value in (0, 255)]
    noise = []
    for level in range(_LEVELS):
        noise.append([_noise(plane, level) for plane in planes])
        planes = [_halved(plane) for plane in planes]
    # With hardly anything left everything counts: what remains of a page or a drawing are its edges.
    share = min(float(weights.mean()) / _LEAST_SHARE, 1.0)
    readings = np.zeros(READINGS, np.float32)
    for part, counts in ((share, weights), (1 - share, np.ones_like(weights))):
        if part > 0:
            readings += part * _summary(noise, clipped, counts)
    return readings


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


def _sample(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Strips of the frame, one below the other: (strips · 32, width, …), contiguous, width a multiple of 4.

    They lie evenly in the part of the frame that shows something; if it is narrow, there are more of them. Also
    returns what `_dead_values` does.
    """
    missing = [max(0, _STRIP - size) for size in frame.shape[:2]]
    if any(missing):
        frame = cv2.copyMakeBorder(np.ascontiguousarray(frame), 0, missing[0], 0, missing[1], cv2.BORDER_REFLECT)
    steps = [max(_GRID, size // _POINTS) for size in frame.shape[:2]]
    table = _dead_values(frame, steps)
    (top, bottom), (left, right) = _shown(table[_points(frame, steps)] < 128, steps, frame.shape)
    wide = min(_WIDTH, right - left) // 4 * 4
    count = min(_STRIPS * min(_WIDTH, frame.shape[1]) // wide, (bottom - top) // _STRIP)
    tops = np.linspace(top, bottom - _STRIP, count).astype(int)
    lefts = (left + np.arange(count) * _GOLDEN % 1 * (right - left - wide)).astype(int)
    sample = np.concatenate([frame[y : y + _STRIP, x : x + wide] for y, x in zip(tops, lefts, strict=True)])
    return sample, table


def _points(frame: NDArray[np.uint8], steps: Sequence[int], down: int = 0, right: int = 0) -> NDArray[np.uint8]:
    """Green in the middle of each cell of a coarse grid, or as far from it as stated."""
    rows, columns = (
        slice(step // 2 + shift, size // step * step, step)
        for step, shift, size in zip(steps, (down, right), frame.shape, strict=False)
    )
    return np.ascontiguousarray(frame[rows, columns, 1] if frame.ndim == 3 else frame[rows, columns])


def _dead_values(frame: NDArray[np.uint8], steps: Sequence[int]) -> NDArray[np.uint8]:
    """Which values are dead, (256,), from 0 to 255: black, white, and that of a plate of one colour.

    A plate is a good part of the frame that has one value wherever one looks, beside it and below.
    """
    points = _points(frame, steps)
    even = (points == _points(frame, steps, right=_APART)) & (points == _points(frame, steps, down=_APART))
    counts = np.bincount(points[even], minlength=256)
    value = int(counts.argmax())
    share = counts[value] / points.size
    table = np.zeros(256, np.uint8)
    table[max(value - _BLACK, 0) : value + _BLACK + 1] = 255 * min(max((share - _PLATE_SHARE) / _PLATE_SPAN, 0), 1)
    table[: _BLACK + 1] = table[_WHITE:] = 255
    return table


def _shown(shows: NDArray[np.bool_], steps: Sequence[int], shape: Sequence[int]) -> list[tuple[int, int]]:
    """From where to where rows and columns show something, by which points of the grid do: each at least 32 pixels."""
    spans, ends = [], []
    for axis, step in enumerate(steps):
        counts = shows.sum(axis=1 - axis)
        found = np.flatnonzero(counts > _TEXT_SHARE * counts.max())
        if not len(found):
            return [(0, shape[0]), (0, shape[1])]
        # Nearer to a bar than the last point that shows something there may be none of it; without one all is kept.
        low = int(found[0]) * step + step // 2 if found[0] > 0 else 0
        high = int(found[-1]) * step + step // 2 if found[-1] < len(counts) - 1 else shape[axis]
        low = max(0, min(low, (low + high - _STRIP) // 2, shape[axis] - _STRIP))
        spans.append((low, max(high, low + _STRIP)))
        ends.append(slice(found[0], found[-1] + 1))
    # Of a page or a drawing hardly a point shows anything: that is no part of the frame.
    return spans if shows[ends[0], ends[1]].mean() > _FILLED else [(0, shape[0]), (0, shape[1])]


def _live(plane: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much each block of the strips counts, by how many of the pixels about it are dead: (strips, columns)."""
    count, columns = plane.shape[0] // _STRIP, (plane.shape[1] - 2) // _BLOCK
    dead = cv2.LUT(plane[:, 1 : 1 + columns * _BLOCK], table)
    shares = cv2.resize(dead, (columns, count), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    # A line of text or a drawing leaves no block of a page empty: its neighbours say what it is.
    around = cv2.blur(shares, (3, 1), borderType=cv2.BORDER_REPLICATE)
    return np.clip((_DEAD_SHARE - around) / _DEAD_SPAN, 0, 1)


def _summary(
    noise: Sequence[Sequence[NDArray[np.int16]]], clipped: Sequence[NDArray[np.uint8]], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The readings, from what each block reads at each level in each plane, and how clipped it is."""
    quantiles = np.zeros((2, _LEVELS, len(_QUANTILES)), np.float32)
    for level, planes in enumerate(noise):
        for index, means in enumerate(planes):
            quantiles[index, level] = _quantiles(means, weights[:, : means.shape[1]])
    percent = [float((means * weights).sum() / weights.sum()) / 2.55 for means in clipped]
    return np.append(quantiles, percent).astype(np.float32)


def _halved(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(plane, (plane.shape[1] // 2, plane.shape[0] // 2), interpolation=cv2.INTER_AREA)


def _opponent(sample: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half of red minus blue, about 128."""
    red, blue = cv2.extractChannel(sample, 2), cv2.extractChannel(sample, 0)
    return cv2.addWeighted(red, 0.5, blue, -0.5, 128)


def _means(plane: NDArray[Any], level: int) -> NDArray[Any]:
    """Means over blocks, rounded: (strips, columns), one row of blocks in each strip."""
    block, strip = _BLOCK >> level, _STRIP >> level
    count, columns = plane.shape[0] // strip, (plane.shape[1] - 2) // block
    inner = plane.reshape(count, strip, -1)[:, 1 : 1 + block, 1 : 1 + columns * block]
    return cv2.resize(inner.reshape(count * block, -1), (columns, count), interpolation=cv2.INTER_AREA)


def _noise(plane: NDArray[np.uint8], level: int) -> NDArray[np.int16]:
    """The mean magnitude of the mask's answer in each block."""
    second = cv2.sepFilter2D(plane, cv2.CV_16S, _KERNEL, _KERNEL)
    return _means(np.abs(second, out=second), level)


def _quantiles(means: NDArray[np.int16], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Quantiles of the noise that blocks read."""
    order = np.argsort(means, axis=None)
    sums = np.cumsum(weights.ravel()[order])
    first = sums[0]  # so that equal weights give what np.quantile does, which takes as long as all the rest
    return np.interp(first + np.multiply(_QUANTILES, sums[-1] - first), sums, means.ravel()[order]) * _TO_SIGMA
