"""Simulate a camera: light to a raw mosaic, its noise, and back to a frame.

The steps are those of Brooks et al., *Unprocessing Images for Learned Raw Denoising* (CVPR 2019). Colour matrices,
white balance and the tone curve are fits to the 65 Raspberry Pi sensor tunings of libcamera (BSD-2-Clause); the
noise levels to those and to darktable's 6,555 measured camera profiles. Frames are BGR; NumPy and OpenCV only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.noise import to_uint8
from quietframe.noise.formats import Frame

Linear = NDArray[np.float32]
"""(height, width, 3) float32 in [0, 1], proportional to light, BGR or a camera's own three colours in that order."""

Demosaic = Literal["bilinear", "edge-aware", "malvar"]
DEMOSAICS: tuple[Demosaic, ...] = ("bilinear", "edge-aware", "malvar")

_WHITE = 65535.0

# Camera RGB, white-balanced, to linear sRGB: centres of six clusters of the tunings' 427 matrices.
_TO_RGB = np.array(
    [
        [[1.87, -0.39, -0.47], [-0.62, 2.07, -0.44], [-0.07, -1.55, 2.61]],
        [[1.58, -0.41, -0.17], [-0.34, 1.67, -0.32], [-0.02, -0.58, 1.60]],
        [[1.59, -0.24, -0.35], [-0.45, 1.78, -0.33], [0.03, -1.04, 2.00]],
        [[1.95, -0.66, -0.29], [-0.48, 2.09, -0.61], [-0.05, -0.74, 1.79]],
        [[2.04, -0.95, -0.08], [-0.29, 1.67, -0.39], [-0.01, -0.63, 1.63]],
        [[2.20, -0.69, -0.51], [-0.56, 2.67, -1.11], [-0.22, -0.72, 1.94]],
    ]
)
# Gains of red and blue from lamplight to daylight, medians of the tunings; they vary by about 15 %.
_RED_GAINS, _BLUE_GAINS, _GAIN_SPREAD = (1.3, 2.3), (2.6, 1.5), 0.15
# The tunings' median tone curve, at equal steps of linear light; sRGB's is the other end of the mixture.
_TONE = np.array(
    [0.0, 0.234, 0.393, 0.518, 0.620, 0.698, 0.757, 0.804, 0.837, 0.870, 0.895, 0.915, 0.934, 0.951, 0.968, 0.984, 1.0]
)
# variance = a·x + b of a raw value x in [0, 1]. The tunings' a is 0.6e-4 to 7e-4 at gain 1; gains go to 16, digital
# ones beyond. A fit to darktable's profiles: log10 b = 1.24·log10 a - 1.38, deviation 0.46.
_SHOT = (1e-4, 1.5e-2)
_READ_SLOPE, _READ_OFFSET, _READ_SPREAD = 1.24, -1.38, 0.46

_LUMA = np.array([[0.114, 0.587, 0.299]], np.float32)  # of BGR
_FAINT_255 = 0.1


@dataclass(frozen=True)
class Sensor:
    """One camera under one light.

    Attributes:
        to_camera, to_bgr: (3, 3), linear BGR to the camera's own colours, and its inverse.
        gains_bgr: (3,), what white balance and exposure multiply the camera's colours by.
        tone, light: (65536,) uint8, 16-bit linear light to 8-bit display values, and its inverse, (256,) float32.
        shot, read: a and b of the noise's variance a·x + b, x in [0, 1].
        row, column: deviation of the offset of each row (new in every frame) and column (the same in all), as a share
            of the read noise's deviation.
        hot_pixels: share of pixels that are stuck at a high value.
        clips_black: whether raw values below black are cut off before demosaicing.
        demosaic: one of `DEMOSAICS`.
    """

    to_camera: NDArray[np.float32]
    to_bgr: NDArray[np.float32]
    gains_bgr: NDArray[np.float32]
    tone: NDArray[np.uint8]
    light: NDArray[np.float32]
    shot: float
    read: float
    row: float
    column: float
    hot_pixels: float
    clips_black: bool
    demosaic: Demosaic


@dataclass(frozen=True)
class Processing:
    """A camera's own denoising and sharpening.

    Attributes:
        luma_radius, chroma_radius: of the Gaussians that smooth the noise, in pixels; 0: none.
        chroma_share: deviation of the chroma noise, as a share of the luma noise's; None: as it comes.
        gain: on what is left of the noise.
        edge_preserving: range of a bilateral filter before, as a multiple of the noise's deviation: what is left of the
            noise then lies on edges and texture. 0: none.
        sharpening: amount of an unsharp mask, 0: none, and its radius in pixels.
    """

    luma_radius: float = 0.0
    chroma_radius: float = 0.0
    chroma_share: float | None = None
    gain: float = 1.0
    edge_preserving: float = 0.0
    sharpening: tuple[float, float] = (0.0, 1.0)


def random_sensor(rng: np.random.Generator) -> Sensor:
    """Draw a camera, its light and its gain: mixtures and ranges of measured ones."""
    weights = rng.dirichlet(np.ones(len(_TO_RGB)))
    to_rgb = np.tensordot(weights, _TO_RGB, 1)
    to_bgr = (to_rgb / to_rgb.sum(axis=1, keepdims=True))[::-1, ::-1]
    daylight = rng.random()
    red, blue = (low + (high - low) * daylight for low, high in (_RED_GAINS, _BLUE_GAINS))
    gains = np.array([blue, 1.0, red]) * np.exp(rng.normal(0, _GAIN_SPREAD, 3) * (1, 0, 1)) / rng.normal(0.85, 0.08)
    curve, light = _tone_curve(round(rng.random(), 1))
    shot = float(np.exp(rng.uniform(*np.log(_SHOT))))
    read = 10 ** (_READ_SLOPE * np.log10(shot) + _READ_OFFSET + rng.normal(0, _READ_SPREAD))
    return Sensor(
        to_camera=np.linalg.inv(to_bgr).astype(np.float32),
        to_bgr=np.ascontiguousarray(to_bgr, np.float32),
        gains_bgr=gains.astype(np.float32),
        tone=curve,
        light=light,
        shot=shot,
        read=float(read),
        row=float(rng.uniform(0, 0.5) * (rng.random() < 0.2)),
        column=float(rng.uniform(0, 0.3) * (rng.random() < 0.2)),
        hot_pixels=float(10 ** rng.uniform(-5, -3) * (rng.random() < 0.1)),
        clips_black=bool(rng.random() < 0.5),
        demosaic=DEMOSAICS[rng.integers(len(DEMOSAICS))],
    )


def random_processing(rng: np.random.Generator) -> Processing:
    """Draw a camera's denoising (in 70 of 100 cameras) and sharpening (in 40).

    Cameras remove more of the chroma noise than of the luma noise, as the eye does. Of real JPEG photographs (`polyu`)
    chroma noise (blue minus luma) is 0.8 times as strong as luma noise, and as correlated four pixels apart (0.5) as
    the other is one pixel apart (0.6). Straight from a sensor it is twice as strong.
    """
    sharpening = (float(rng.uniform(0.2, 1.0)), float(rng.uniform(0.7, 1.5))) if rng.random() < 0.4 else (0.0, 1.0)
    if rng.random() > 0.7:
        return Processing(sharpening=sharpening)
    return Processing(
        luma_radius=float(rng.uniform(0, 1.3)),
        chroma_radius=float(rng.uniform(0.8, 4.5)),
        chroma_share=float(rng.uniform(0.3, 0.9)),
        gain=float(rng.uniform(1.0, 2.5)),
        edge_preserving=float(rng.uniform(1.0, 3.0) * (rng.random() < 0.5)),
        sharpening=sharpening,
    )


def to_sensor(frame: Frame, sensor: Sensor) -> Linear:
    """Undo tone curve, colour matrix and white balance; near white the gains fade, so that white stays white."""
    camera = cv2.transform(sensor.light[frame], sensor.to_camera)
    gray = camera.mean(axis=2, keepdims=True)
    fade = np.square(np.maximum(gray - 0.9, 0) / 0.1)
    gains = 1 / sensor.gains_bgr
    return np.clip(camera * np.maximum(fade + (1 - fade) * gains, gains), 0, 1)


def from_sensor(camera: Linear, sensor: Sensor) -> Frame:
    """Apply colour matrix and tone curve to white-balanced colours, round and clip. Returns (H, W, 3) uint8."""
    light = cv2.transform(camera, sensor.to_bgr)
    return sensor.tone[np.rint(np.clip(light, 0, 1) * _WHITE).astype(np.uint16)]


def mosaic(camera: Linear) -> NDArray[np.float32]:
    """Return what a sensor behind an RGGB colour filter sees: one colour for each pixel, (height, width)."""
    raw = np.empty(camera.shape[:2], np.float32)
    for row, column in np.ndindex(2, 2):
        raw[row::2, column::2] = camera[row::2, column::2, 2 - row - column]
    return raw


def add_noise(
    raw: NDArray[np.float32], sensor: Sensor, fixed: np.random.Generator, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add shot and read noise (Gaussian of variance a·x + b, Foi et al. 2008), row noise, column offsets, hot pixels.

    fixed: draws what is the same in every frame of a clip. rng: draws what is new. Not clipped.
    """
    noise: NDArray[np.float32] = rng.standard_normal(raw.shape, dtype=np.float32)
    noisy: NDArray[np.float32] = raw + noise * np.sqrt(np.float32(sensor.shot) * raw + np.float32(sensor.read))
    deviation = float(np.sqrt(sensor.read))
    if sensor.row:
        noisy += np.float32(sensor.row * deviation) * rng.standard_normal((len(raw), 1), dtype=np.float32)
    if sensor.column:
        noisy += np.float32(sensor.column * deviation) * fixed.standard_normal((1, raw.shape[1]), dtype=np.float32)
    if sensor.hot_pixels:
        hot = fixed.integers(raw.size, size=fixed.poisson(sensor.hot_pixels * raw.size))
        noisy.flat[hot] += fixed.uniform(0.1, 1.0, len(hot)).astype(np.float32)
    return noisy


def demosaic(raw: NDArray[np.float32], sensor: Sensor) -> Linear:
    """Apply white balance and interpolate all colours for each pixel.

    What exceeds white is clipped, and noise below black as the sensor says.
    """
    pedestal = np.float32(0 if sensor.clips_black else 0.1)
    blue, green, red = sensor.gains_bgr
    gains = np.tile(np.array([[red, green], [green, blue]], np.float32), (raw.shape[0] // 2, raw.shape[1] // 2))
    values = np.clip((raw * gains + pedestal) / (1 + pedestal), 0, 1)
    if sensor.demosaic == "malvar":
        linear = _malvar(values)
    else:
        code = cv2.COLOR_BayerRGGB2BGR if sensor.demosaic == "bilinear" else cv2.COLOR_BayerRGGB2BGR_EA
        in_16_bit = cv2.cvtColor(np.rint(values * _WHITE).astype(np.uint16), code)
        linear = in_16_bit.astype(np.float32) * np.float32(1 / _WHITE)
    return linear * (1 + pedestal) - pedestal


def photograph(
    frame: Frame,
    sensor: Sensor,
    processing: Processing,
    rng: np.random.Generator,
    *,
    frames: int = 1,
    fixed: int | None = None,
) -> tuple[Frame, list[Frame]]:
    """Photograph a still scene with a camera.

    frame: (H, W, 3) uint8 BGR, what is to be seen; even height and width. fixed: seed of the noise that is the same in
    every frame; None: drawn. Returns the frame that the camera would give without noise, sharpened as it does, and
    `frames` noisy ones of the same shape.
    """
    raw = mosaic(to_sensor(frame, sensor))
    clean = from_sensor(demosaic(raw, sensor), sensor)
    seed = int(rng.integers(2**32)) if fixed is None else fixed
    noisy = []
    for _ in range(frames):
        values = from_sensor(demosaic(add_noise(raw, sensor, np.random.default_rng(seed), rng), sensor), sensor)
        noisy.append(sharpen(smooth_noise(clean, values, processing), processing))
    return sharpen(clean, processing), noisy


def smooth_noise(clean: Frame, noisy: Frame, processing: Processing) -> Frame:
    """Smooth the noise of a frame, luma and chroma apart, and amplify it: what a camera's own denoising leaves."""
    if processing.chroma_share is None:
        return noisy
    if processing.edge_preserving:
        reach = processing.edge_preserving * float(np.std(noisy.astype(np.float32) - clean))
        noisy = cv2.bilateralFilter(noisy, 5, reach, 1.5)
    noise = noisy.astype(np.float32) - clean
    luma = cv2.transform(noise, _LUMA)
    chroma = _blurred(noise - luma[:, :, None], processing.chroma_radius)
    luma = _blurred(luma, processing.luma_radius)
    chroma *= processing.chroma_share * np.std(luma) / max(float(np.std(chroma)), _FAINT_255)
    return to_uint8(clean + processing.gain * (luma[:, :, None] + chroma))


def sharpen(frame: Frame, processing: Processing) -> Frame:
    """Apply the camera's unsharp mask."""
    amount, radius = processing.sharpening
    if not amount:
        return frame
    return cv2.addWeighted(frame, 1 + amount, cv2.GaussianBlur(frame, (0, 0), radius), -amount, 0)


def _blurred(values: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    return cv2.GaussianBlur(values, (0, 0), radius) if radius > 0 else values


@cache
def _tone_curve(share: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Mix sRGB's curve and the tunings' median: as (65536,) uint8, and its inverse as (256,) float32."""
    light = np.linspace(0, 1, 65536)
    # Between the steps of the table the square root of light is nearly straight.
    tuned = np.interp(np.sqrt(light), np.sqrt(np.linspace(0, 1, len(_TONE))), _TONE)
    srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)  # IEC 61966-2-1
    curve = (1 - share) * srgb + share * tuned
    return np.rint(255 * curve).astype(np.uint8), np.interp(np.arange(256) / 255, curve, light).astype(np.float32)


# Malvar, He and Cutler, High-quality linear interpolation for demosaicing of Bayer-patterned images (ICASSP 2004).
_CROSS = np.array([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]) / 8
_ALONG = np.array([[0, 0, 1, 0, 0], [0, -2, 0, -2, 0], [-2, 8, 10, 8, -2], [0, -2, 0, -2, 0], [0, 0, 1, 0, 0]]) / 16
_DIAGONAL = np.array([[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]]) / 16


def _malvar(raw: NDArray[np.float32]) -> Linear:
    cross, along, across, diagonal = (
        cv2.filter2D(raw, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT_101)
        for kernel in (_CROSS, _ALONG, _ALONG.T, _DIAGONAL)
    )
    result = np.empty((*raw.shape, 3), np.float32)
    blue, green, red = result[:, :, 0], result[:, :, 1], result[:, :, 2]
    green[:], green[0::2, 0::2], green[1::2, 1::2] = raw, cross[0::2, 0::2], cross[1::2, 1::2]
    for plane, (row, column) in ((red, (0, 0)), (blue, (1, 1))):
        plane[row::2, column::2] = raw[row::2, column::2]
        plane[row::2, 1 - column :: 2] = along[row::2, 1 - column :: 2]
        plane[1 - row :: 2, column::2] = across[1 - row :: 2, column::2]
        plane[1 - row :: 2, 1 - column :: 2] = diagonal[1 - row :: 2, 1 - column :: 2]
    return np.clip(result, 0, 1)
