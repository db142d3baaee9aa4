"""Measure a camera: the noise of frames of a still scene, and of frames in the dark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.camera import BGR, CameraProfile, to_light, to_srgb, tone_slopes
from quietframe.errors import SourceError, UsageError
from quietframe.images import check_frame

Frame = NDArray[np.uint8]
Floats = NDArray[np.floating]

FRAMES = 64
"""How many frames of a still scene are measured, unless stated: the noise is then known to some 2 % at each level."""

MIN_FRAMES = 16
_BLOCK = 16
_MIN_SIDE = 32
_LAGS = 5
_CORRELATED = 17  # frames whose noise's correlation is measured
_CROP = 512
_BIN = 8  # 8-bit levels
_LEAST_PIXELS = 200
_CLIPPED = (3, 252)
_DARK_MAX = 48
_MOVING_SHARE = 0.25
_DRIFT_255 = 1.0
_SPAN_255 = 80
_HOT_255 = 8.0
_HOT_DEVIATIONS = 8.0
_LEAST_OFFSET_255 = 0.1
_EVERY_SECOND = np.array([[1, 0] * 32 + [1]], np.float32) / 33
_RANGE = ((1e-6, 1e-9), (1.0, 0.1))  # of gain and read noise
_STEPS, _REFINEMENTS = 8, 7
_ROUNDING = 1 / 12  # variance of what rounding to whole levels adds
_LIGHT = np.append(to_light(np.linspace(0, 1, 33)), np.linspace(1.05, 2, 10))  # up to what is white without its noise
_NORMAL = np.linspace(-4, 4, 41)
_SHARES = np.exp(-np.square(_NORMAL) / 2) / np.exp(-np.square(_NORMAL) / 2).sum()

_TO_YCC = np.array(
    [[0.114, 0.587, 0.299], [-0.081, -0.419, 0.5], [0.5, -0.331, -0.169]], np.float32
)  # of BGR: Y, Cr, Cb


@dataclass(frozen=True)
class _Stack:
    """Sums over the frames of a scene.

    Attributes:
        mean, variance: of each value over time, (H, W, 3) float32.
        slope: mean slope of the tone curve at a frame's values, each channel's; 0 where they are clipped.
        successive: half of the mean square of the change from frame to frame, likewise.
        blocks: (frames, h, w, 3) float32, mean of each 16×16 block.
        columns, rows: variance over time of the mean of each column, (W, 3), and of each row, (H, 3).
        middles: of the first frames.
        count: how many frames.
    """

    mean: Floats
    variance: Floats
    successive: Floats
    slope: Floats
    blocks: Floats
    columns: Floats
    rows: Floats
    middles: Sequence[Frame]
    count: int


class _Grain(NamedTuple):
    """What the noise looks like.

    Attributes:
        correlation: (3, 5, 5), mean products of the noise of Y, Cr and Cb with itself so many pixels below and right.
        borders: mean square of the change of the noise of Y from pixel to pixel, (8,), by the place in eight.
        detail: mean square of the finest chroma detail, across and down, and of all chroma noise.
    """

    correlation: Floats
    borders: Floats
    detail: Floats


def calibrate(
    still: Iterable[Frame],
    dark: Iterable[Frame] | None = None,
    *,
    frames: int = FRAMES,
) -> CameraProfile:
    """Measure the noise of a camera.

    Args:
        still: frames of a scene where nothing moves, (H, W, 3) BGR or (H, W) gray, uint8, all of one size. A frame that
            repeats the one before is left out.
        dark: frames with the lens covered, at the same setting; None: hot pixels are looked for in the still scene, and
            the offsets of rows and columns are not measured.
        frames: how many of each to read, 16 at least.

    Raises:
        FrameError: something is not a frame.
        SourceError: too few frames, or of several sizes.
        UsageError: what was shown cannot be measured: it moves, its brightness drifts, it is clipped, or the lens was
            not covered.
    """
    if frames < MIN_FRAMES:
        raise UsageError(f"Expected frames of at least {MIN_FRAMES}. Received: {frames}")
    stack = _stack(_changing(islice(still, frames)), "still scene")
    warnings: list[str] = []
    steady = _steady(stack, warnings)
    in_dark = None if dark is None else _stack(islice(dark, frames), "dark frames")
    if in_dark is not None and in_dark.mean.shape != stack.mean.shape:
        raise SourceError("the dark frames and those of the still scene differ in size: take both at one setting")
    if in_dark is not None and float(in_dark.mean.mean()) > _DARK_MAX:
        raise UsageError(
            f"the dark frames have a mean brightness of {in_dark.mean.mean():.0f} of 255: cover the lens altogether"
        )
    hot = _hot_pixels(stack if in_dark is None else in_dark)
    bins = _curve(stack, steady, hot, in_dark)
    measured = _measured(bins)
    if measured[1] - measured[0] < _SPAN_255:
        warnings.append(
            f"the scene shows brightness from {measured[0]:.0f} to {measured[1]:.0f} of 255 alone: the noise of the "
            "rest is calculated; show dark and bright areas, both"
        )
    gain, read = _photon_transfer(bins)
    brightness, sigma = _filled(bins, gain, read)
    grain = _grain(stack, steady)
    luma, red, blue = np.sqrt(grain.correlation[:, 0, 0])
    correlation = grain.correlation / np.maximum(grain.correlation[:, :1, :1], 1e-9)
    correlation[:, 0, 0] = 1  # of a gray camera's colours, too, that have no noise
    across, down, chroma = grain.detail + 1e-9
    return CameraProfile(
        size_wh=(stack.mean.shape[1], stack.mean.shape[0]),
        brightness_255=brightness,
        sigma_255=sigma,
        measured_255=measured,
        gain=gain,
        read=read,
        autocorrelation=tuple(tuple(_rounded(row) for row in part) for part in correlation),
        ycc_sigma=(1.0, round(float(red / luma), 4), round(float(blue / luma), 4)),
        temporal_correlation=round(_temporal(stack, steady), 3),
        blockiness=round(float(grain.borders[7] / max(np.delete(grain.borders, 7).mean(), 1e-9)), 3),
        chroma_detail=(round(float(across / chroma), 3), round(float(down / chroma), 3)),
        black_255=None if in_dark is None else round(float(np.median(in_dark.mean)), 2),
        hot_pixels=tuple((int(x), int(y)) for y, x in zip(*np.nonzero(hot), strict=True)),
        columns=() if in_dark is None else _offsets(in_dark, hot, axis=0),
        rows=() if in_dark is None else _offsets(in_dark, hot, axis=1),
        frames=stack.count,
        warnings=tuple(warnings),
    )


def _changing(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Leave out frames that repeat the one before, as recordings and slow cameras do: their noise is no news."""
    before: Frame | None = None
    for frame in frames:
        if before is None or not np.array_equal(frame, before):
            yield frame
        before = frame


def _stack(shots: Iterable[Frame], what: str) -> _Stack:
    """Sum frames up as they come, without keeping them."""
    taken = 0
    first: Floats | None = None
    for shot in shots:
        check_frame(shot)
        frame = shot if shot.ndim == 3 else cv2.cvtColor(shot, cv2.COLOR_GRAY2BGR)
        values = frame.astype(np.float32)
        if first is None:
            if min(values.shape[:2]) < _MIN_SIDE:
                raise SourceError(f"{what}: frames of {values.shape[1]}x{values.shape[0]}: too small to be measured")
            first = values.copy()  # sums of differences from it lose no digits
            total, squares, steps = (np.zeros_like(values) for _ in range(3))
            slopes = np.zeros(3)
            blocks: list[Floats] = []
            columns: list[Floats] = []
            rows: list[Floats] = []
            middles: list[Frame] = []
            before = values
        if values.shape != first.shape:
            raise SourceError(f"{what}: frames of several sizes: take all at one setting")
        blocks.append(_block_means(values))
        slopes += tone_slopes()[frame].mean(axis=(0, 1))
        if taken < _CORRELATED:
            middles.append(_middle(frame).copy())
        values -= first
        if taken:
            steps += np.square(values - before)
        columns.append(values.mean(axis=0))
        rows.append(values.mean(axis=1))
        total += values
        squares += np.square(values)
        before, taken = values, taken + 1
    if first is None or taken < MIN_FRAMES:
        raise SourceError(f"{what}: {taken} different frames: at least {MIN_FRAMES} are needed")
    mean = total / taken
    return _Stack(
        mean=mean + first,
        variance=np.maximum(squares - total * mean, 0) / (taken - 1),
        successive=steps / (2 * (taken - 1)),
        slope=slopes / taken,
        blocks=np.stack(blocks),
        columns=np.var(columns, axis=0, ddof=1),
        rows=np.var(rows, axis=0, ddof=1),
        middles=middles,
        count=taken,
    )


def _middle(frame: NDArray[Any]) -> NDArray[Any]:
    """The middle of a frame, from the border of an 8×8 block on."""
    top, left = ((max(0, size - _CROP) // 2) // 8 * 8 for size in frame.shape[:2])
    return frame[top : top + _CROP, left : left + _CROP]


def _block_means(values: Floats) -> Floats:
    height, width = (max(1, size // _BLOCK) for size in values.shape[:2])
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)


def _grain(stack: _Stack, steady: NDArray[np.bool_]) -> _Grain:
    """Measure the noise between the middles of successive frames; where something moves it is taken for 0."""
    correlation, borders, detail, still = np.zeros((3, _LAGS, _LAGS)), np.zeros(8), np.zeros(3), _middle(steady)
    for before, after in pairwise(stack.middles):
        noise = cv2.transform(cv2.subtract(after, before, dtype=cv2.CV_32F), _TO_YCC).transpose(2, 0, 1)
        noise = np.where(still, noise - noise.mean(axis=(1, 2), where=still, keepdims=True), 0)
        correlation += _products(noise)
        borders += _border_steps(noise[0])
        detail += _chroma_detail(noise[1:])
    return _Grain(correlation, borders, detail)


def _products(noise: Floats) -> Floats:
    height, width = noise.shape[1] - _LAGS + 1, noise.shape[2] - _LAGS + 1
    here = noise[:, :height, :width]
    products = np.empty((3, _LAGS, _LAGS))
    for down, right in np.ndindex(_LAGS, _LAGS):
        products[:, down, right] = (here * noise[:, down : down + height, right : right + width]).mean(axis=(1, 2))
    return products


def _border_steps(luma: Floats) -> Floats:
    """Mean square of the change from column to column and from row to row, by the place in eight."""
    across, down = (np.square(np.diff(luma, axis=axis)).mean(axis=1 - axis) for axis in (1, 0))
    return np.array([(across[place::8].mean() + down[place::8].mean()) / 2 for place in range(8)])


def _chroma_detail(chroma: Floats) -> Floats:
    """Mean squares of the second difference across and down, as of white noise, and of the noise."""
    across = np.square(np.diff(chroma, 2, axis=2)).mean() / 6
    down = np.square(np.diff(chroma, 2, axis=1)).mean() / 6
    return np.array([across, down, np.square(chroma).mean()])


def _steady(stack: _Stack, warnings: list[str]) -> NDArray[np.bool_]:
    """Which pixels do not move, (H, W). Raises UsageError if the scene cannot be measured."""
    middle = stack.mean.mean(axis=2)
    clipped = float(((middle < _CLIPPED[0]) | (middle > _CLIPPED[1])).mean())
    if clipped > 0.5:
        raise UsageError(
            f"{100 * clipped:.0f} % of the still scene are black or white: change exposure or scene, and try again"
        )
    whole = np.median(stack.blocks - stack.blocks.mean(axis=0), axis=(1, 2, 3))
    spread = (stack.blocks - whole[:, None, None, None]).std(axis=0).max(axis=2)
    # The mean of a block has a sixteenth of the noise of a pixel, and some times that where noise is correlated.
    moving = spread > max(0.5 * float(np.sqrt(np.median(stack.successive))), 1.5)
    share = float(moving.mean())
    if share > _MOVING_SHARE and float(np.median(spread)) > float(whole.std()):
        raise UsageError(
            f"{100 * share:.0f} % of the scene move: point the camera at something still, on a firm stand, and try "
            "again"
        )
    quarter = max(1, len(whole) // 4)
    drift = abs(float(whole[-quarter:].mean() - whole[:quarter].mean()))
    if drift > _DRIFT_255:
        raise UsageError(
            f"the brightness drifts by {drift:.1f} levels: switch automatic exposure and gain off, or wait until they "
            "have come to rest, and try again"
        )
    if float(whole.std()) > _DRIFT_255:
        raise UsageError(
            f"the light flickers by {whole.std():.1f} levels: use daylight, or an exposure of a whole period of the "
            "mains"
        )
    if share > 0:
        warnings.append(f"{100 * share:.1f} % of the scene moved and were left out")
    around = cv2.dilate(moving.astype(np.uint8), np.ones((3, 3), np.uint8))
    return cv2.resize(around, middle.shape[::-1], interpolation=cv2.INTER_NEAREST) == 0


def _hot_pixels(stack: _Stack) -> NDArray[np.bool_]:
    """Pixels that are always far brighter than all around, (H, W)."""
    brightest = stack.mean.max(axis=2)
    around = cv2.medianBlur(brightest, 5)
    noise = np.sqrt(np.median(stack.variance) / stack.count)
    excess = brightest - around
    spread = float(np.median(np.abs(excess))) * 1.4826  # texture of a scene; of dark frames next to none
    high = excess > max(_HOT_255, _HOT_DEVIATIONS * float(noise), _HOT_DEVIATIONS * spread)
    # One place for each: the brightest of its neighbourhood, which demosaicing has made brighter, too.
    return high & (brightest >= cv2.dilate(brightest, np.ones((3, 3), np.uint8)))


def _around(hot: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Hot pixels, and those that demosaicing and smoothing may have spoilt."""
    return cv2.dilate(hot.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0


class _Bin(NamedTuple):
    """Noise at one brightness: mean 8-bit level, variance, how many pixels, and whether there was no light."""

    level_255: float
    variance: float
    pixels: int
    is_dark: bool = False


def _curve(stack: _Stack, steady: NDArray[np.bool_], hot: NDArray[np.bool_], dark: _Stack | None) -> list[list[_Bin]]:
    """The variance of each channel by brightness, dark frames included."""
    spoilt = _around(hot)
    bins: list[list[_Bin]] = []
    for channel in range(3):
        found = _binned(stack, channel, steady & ~spoilt)
        if dark is not None:
            mean, variance = (each[:, :, channel][~spoilt].mean() for each in (dark.mean, dark.variance))
            black = _Bin(float(mean), max(float(variance), _ROUNDING), int((~spoilt).sum()), is_dark=True)
            found = [black, *(each for each in found if each.level_255 > black.level_255 + _BIN / 2)]
        if not found:
            raise UsageError("the still scene has no area that could be measured: show one with dark and bright areas")
        bins.append(found)
    return bins


def _binned(stack: _Stack, channel: int, usable: NDArray[np.bool_]) -> list[_Bin]:
    # A mean that happens to be low comes with a variance that is, where noise is clipped: those around tell the level.
    own, variances = stack.mean[:, :, channel], stack.variance[:, :, channel]
    around = cv2.blur(own, (3, 3))
    even = usable & (np.abs(own - around) < 1 + 3 * np.sqrt(variances / stack.count))
    means, variances = around[even], variances[even]
    index = (means / _BIN).astype(int)
    found = []
    for each in np.unique(index):
        inside = index == each
        if (pixels := int(inside.sum())) >= _LEAST_PIXELS:
            variance = max(float(variances[inside].mean()), _ROUNDING)
            found.append(_Bin(float(means[inside].mean()), variance, pixels))
    return found


def _measured(bins: Sequence[Sequence[_Bin]]) -> tuple[float, float]:
    return (
        round(min(channel[0].level_255 for channel in bins), 1),
        round(max(channel[-1].level_255 for channel in bins), 1),
    )


def _photon_transfer(bins: Sequence[Sequence[_Bin]]) -> tuple[BGR, BGR]:
    """Fit variance = a·x + b in linear light to each channel, by what tone curve and clipping make of it."""
    (gain, read) = zip(*map(_fit, bins), strict=True)
    return gain, read


def _fit(channel: Sequence[_Bin]) -> tuple[float, float]:
    level, variance, pixels, is_dark = (np.array(column) for column in zip(*channel, strict=True))
    weights = np.sqrt(np.minimum(pixels, 10_000))

    def misfit(a: float, b: float) -> float:
        mean, sigma = _predicted(a, b)
        expected = np.square(np.where(is_dark, sigma[0], np.interp(level, mean, sigma)))
        return float((weights * np.square(np.log(expected / variance))).sum())

    low, high = np.log(_RANGE)
    for _ in range(_REFINEMENTS):
        grid = [np.exp(np.linspace(low[index], high[index], _STEPS)) for index in range(2)]
        errors = np.array([[misfit(a, b) for b in grid[1]] for a in grid[0]])
        best = np.unravel_index(np.argmin(errors), errors.shape)
        step = (high - low) / (_STEPS - 1)
        middle = low + best * step
        low, high = middle - step, middle + step
    a, b = (float(f"{np.exp(value):.4g}") for value in middle)
    return a, b


def _predicted(a: float, b: float) -> tuple[Floats, Floats]:
    """Return mean and deviation, in 8-bit levels, of light with noise of variance a·x + b on an sRGB frame.

    For light from black to beyond white; the mean rises.
    """
    x = _LIGHT[:, None]
    values = 255 * to_srgb(np.clip(x + np.sqrt(a * x + b) * _NORMAL, 0, 1))
    mean = (values * _SHARES).sum(axis=1)
    variance = (np.square(values - mean[:, None]) * _SHARES).sum(axis=1) + _ROUNDING
    return mean, np.sqrt(variance)


def _filled(bins: Sequence[Sequence[_Bin]], gain: BGR, read: BGR) -> tuple[tuple[float, ...], tuple[BGR, ...]]:
    """Curves at even steps: as measured between measured levels, beyond them as calculated, joined at the ends."""
    brightness = np.append(np.arange(0, 256, _BIN), 255).astype(float)
    columns = []
    for channel, a, b in zip(bins, gain, read, strict=True):
        level, variance, *_ = (np.array(column) for column in zip(*channel, strict=True))
        calculated = np.interp(brightness, *_predicted(a, b))
        ratio = np.sqrt(variance) / np.interp(level, *_predicted(a, b))
        columns.append(np.clip(calculated * np.interp(brightness, level, ratio), 0, 255))
    return tuple(map(float, brightness)), tuple(_three(row) for row in np.stack(columns, axis=1))


def _temporal(stack: _Stack, steady: NDArray[np.bool_]) -> float:
    """Correlation of the noise of a frame with that of the next one."""
    variance, successive = (float(np.median(each[steady])) for each in (stack.variance, stack.successive))
    return float(np.clip(1 - successive / max(variance, 1e-9), -1, 1)) if variance > 0.05 else 0.0


def _offsets(dark: _Stack, hot: NDArray[np.bool_], axis: int) -> tuple[BGR, ...]:
    """Offsets of columns (axis 0) or rows (axis 1) from their neighbours, 0 in colours where they are chance.

    Returns an empty tuple if there are none.
    """
    spoilt, variance = _around(hot), (dark.columns, dark.rows)[axis]
    mean = np.where(spoilt[:, :, None], cv2.medianBlur(dark.mean, 5), dark.mean)
    lines = mean.mean(axis=axis)
    # From every second neighbour: in a mosaic's demosaiced dark those between have less noise, and so another mean.
    offsets = lines - cv2.filter2D(lines[None], -1, _EVERY_SECOND, borderType=cv2.BORDER_REFLECT_101)[0]
    chance = np.sqrt(variance.mean(axis=0) / dark.count)
    real = offsets.std(axis=0) > np.maximum(_LEAST_OFFSET_255, 3 * chance)
    if not real.any():
        return ()
    light = np.where(real, offsets, 0) / np.where(real, 255 * dark.slope, 1)
    return tuple(_three(row) for row in np.clip(light, -1, 1))


def _rounded(values: Iterable[Any]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)


def _three(values: Iterable[Any]) -> BGR:
    blue, green, red = (float(f"{value:.4g}") for value in values)
    return blue, green, red
