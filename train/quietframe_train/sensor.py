"""What a camera does to a clean photograph, step by step: light to a raw mosaic, its noise, and back to a frame.

After Brooks et al., *Unprocessing Images for Learned Raw Denoising* (CVPR 2019), whose matrices, gains and noise
levels these are, reduced to what changes the noise: its growth with light, its spread by demosaicing, colour matrix
and gamma, and what resizing and JPEG leave of it. All images are BGR; NumPy and OpenCV only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Linear = NDArray[np.float32]
"""(height, width, 3) float32 in [0, 1], proportional to light, BGR or a camera's own three colours in that order."""

_WHITE = 65535.0

# XYZ to camera RGB of four cameras, and sRGB to XYZ (Brooks et al. 2019).
_XYZ_TO_CAMERA = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def _expand(display: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _compress(light: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


# The curve of sRGB, IEC 61966-2-1.
_EXPANDED = _expand(np.arange(256) / 255)
_COMPRESSED = np.rint(255 * _compress(np.linspace(0, 1, 65536))).astype(np.uint8)
_DEMOSAICS = (cv2.COLOR_BayerRGGB2BGR, cv2.COLOR_BayerRGGB2BGR_EA)


@dataclass(frozen=True)
class Sensor:
    """One camera under one light.

    Attributes:
        to_camera: (3, 3), linear BGR to the camera's own colours.
        to_bgr: (3, 3), its inverse.
        gains_bgr: what white balance and exposure multiply the camera's colours by.
    """

    to_camera: NDArray[np.float32]
    to_bgr: NDArray[np.float32]
    gains_bgr: NDArray[np.float32]


def random_sensor(rng: np.random.Generator) -> Sensor:
    """A mixture of four cameras' colour matrices, and gains of daylight to lamplight (Brooks et al. 2019)."""
    weights = rng.uniform(0, 1, (len(_XYZ_TO_CAMERA), 1, 1))
    to_camera = (_XYZ_TO_CAMERA * weights).sum(axis=0) / weights.sum() @ _RGB_TO_XYZ
    to_camera = (to_camera / to_camera.sum(axis=1, keepdims=True))[::-1, ::-1]  # of RGB; frames are BGR
    exposure = 1 / rng.normal(0.8, 0.1)
    gains = exposure * np.array([rng.uniform(1.5, 1.9), 1.0, rng.uniform(1.9, 2.4)])
    return Sensor(
        np.ascontiguousarray(to_camera, np.float32),
        np.linalg.inv(to_camera).astype(np.float32),
        gains.astype(np.float32),
    )


def to_linear(frame: NDArray[np.uint8]) -> Linear:
    """Undo the display's gamma. frame: (height, width, 3) uint8."""
    return _EXPANDED[frame]


def to_display(light: Linear) -> NDArray[np.uint8]:
    """Apply the display's gamma, round and clip. Returns (height, width, 3) uint8."""
    return _COMPRESSED[np.rint(np.clip(light, 0, 1) * _WHITE).astype(np.uint16)]


def to_sensor(light: Linear, sensor: Sensor) -> Linear:
    """Undo colour matrix and white balance; near white the gains fade, so that what is saturated stays so."""
    camera = cv2.transform(light, sensor.to_camera)
    gray = camera.mean(axis=2, keepdims=True)
    fade = np.square(np.maximum(gray - 0.9, 0) / 0.1)
    gains = 1 / sensor.gains_bgr
    return np.clip(camera * np.maximum(fade + (1 - fade) * gains, gains), 0, 1)


def from_sensor(camera: Linear, sensor: Sensor) -> Linear:
    """White balance and colour matrix."""
    return np.clip(cv2.transform(np.clip(camera * sensor.gains_bgr, 0, 1), sensor.to_bgr), 0, 1)


def mosaic(camera: Linear) -> NDArray[np.float32]:
    """What a sensor behind an RGGB colour filter sees: one colour for each pixel, (height, width)."""
    raw = np.empty(camera.shape[:2], np.float32)
    raw[0::2, 0::2] = camera[0::2, 0::2, 2]
    raw[0::2, 1::2] = camera[0::2, 1::2, 1]
    raw[1::2, 0::2] = camera[1::2, 0::2, 1]
    raw[1::2, 1::2] = camera[1::2, 1::2, 0]
    return raw


def demosaic(raw: NDArray[np.float32], method: int = cv2.COLOR_BayerRGGB2BGR) -> Linear:
    """All colours for each pixel again, by OpenCV, in 16 bits; clips what noise took out of [0, 1]."""
    levels = np.rint(np.clip(raw, 0, 1) * _WHITE).astype(np.uint16)
    return cv2.cvtColor(levels, method).astype(np.float32) * np.float32(1 / _WHITE)


def random_levels(rng: np.random.Generator) -> tuple[float, float]:
    """(shot, read): a raw value x in [0, 1] has the variance shot·x + read. As in cameras (Brooks et al. 2019)."""
    log_shot = rng.uniform(np.log(1e-4), np.log(0.012))
    return float(np.exp(log_shot)), float(np.exp(2.18 * log_shot + 1.2 + rng.normal(0, 0.26)))


def add_shot_read(raw: NDArray[np.float32], shot: float, read: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Photon and read noise of a raw frame, as Gaussian of variance shot·x + read (Foi et al. 2008). Not clipped."""
    noise: NDArray[np.float32] = rng.standard_normal(raw.shape, dtype=np.float32)
    return raw + noise * np.sqrt(np.float32(shot) * raw + np.float32(read))


def photograph(frame: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph of what `frame` shows, by a random camera without noise, and by the same one with noise.

    frame: (height, width, 3) uint8 BGR, even height and width. Returns two of that shape.
    """
    camera = random_sensor(rng)
    raw = mosaic(to_sensor(to_linear(frame), camera))
    method = _DEMOSAICS[rng.integers(len(_DEMOSAICS))]
    clean, noisy = (
        to_display(from_sensor(demosaic(values, method), camera))
        for values in (raw, add_shot_read(raw, *random_levels(rng), rng))
    )
    return clean, noisy


def shrink(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square frame at a smaller size, each pixel the mean of the area that it covers."""
    return cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA)
