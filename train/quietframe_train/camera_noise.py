"""The noise that camera denoisers train on: white, of a sensor behind its colour filter, of JPEG, or none.

Which of them a frame gets, how strong, and which level the model is told. NumPy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.noise import MAX_SIGMA_255, add_gaussian, to_uint8
from quietframe_train import sensor
from quietframe_train.photos import cut_patches

Frame = NDArray[np.uint8]
"""(height, width, 3) uint8 BGR."""

_MARGIN = 12  # so much wider is what a sensor sees: borders of the demosaic and the blocks of JPEG fall anywhere
_LUMA = np.array([[0.114, 0.587, 0.299]], np.float32)  # of BGR
_FAINT_255 = 0.1
TOLD_255 = 1e-3  # the least that is told of noise, for its logarithm
_QUIET_255 = 2.0  # what an estimate may read in frames without noise


class NoisyFrames(NamedTuple):
    """Frames to train on.

    Attributes:
        clean, noisy: (N, side, side, 3) uint8 BGR; `clean` is what a camera without noise would have given.
        told_255: (N,) float32, the noise level that the model is told, in 8-bit levels.
    """

    clean: NDArray[np.uint8]
    noisy: NDArray[np.uint8]
    told_255: NDArray[np.float32]


class NoisyPatches(NamedTuple):
    """Patches to train on: (count, patch, patch, 3) uint8 BGR, and (count,) float32 levels."""

    clean: NDArray[np.uint8]
    noisy: NDArray[np.uint8]
    sigma_255: NDArray[np.float32]


@dataclass(frozen=True)
class CameraNoise:
    """Noise of a random kind and level on 8-bit frames, and a told level that is a bit wrong.

    Told levels of white noise are wrong by up to `level_error`. Noise that a camera spread over neighbouring pixels is
    mostly told as less than it is: so the model learns to take more of it away than of white noise of that level. It is
    harder to tell from texture, and a cautious model would leave much of it.

    A few white frames are told as hardly noisy: a model that only saw clean ones told so would ignore what it sees,
    from one told level to the next.

    Attributes:
        max_sigma_255: levels of white noise are drawn evenly from [0, this], in 8-bit levels.
        level_error: the told level is wrong by up to this share, so that an estimate may be, too.
        understated_share: share of white frames that are told as anything from nothing to what that error leaves.
        sensor_share: share of frames with a sensor's noise: `sensor.random_sensor`, mosaic, shot and read noise.
        quiet_share: share of frames without noise, half of them compressed.
        smooth_share, resize_share, jpeg_share: shares of the sensor's frames whose noise the camera has smoothed, that
            are made smaller, by up to `max_shrink`, and compressed, with a quality from `jpeg_quality`.
        radius, colour_radius, colour_share, gain: the least and the most of what `smoothed` takes.
        softness: the least and the most pixels of a sensor to one of a photograph, which was sharpened and made
            smaller: else its edges would come out of the mosaic with false colours, and the model would learn to keep
            them.
        told_share: the least and the most that a sensor's noise is told as, as a share of what it is.
        soft_quiet_share: share of the frames without noise that are enlarged, by up to the least `softness`: soft
            frames are to stay as they are, too, and a sensor's alone would teach that what is soft is noisy.
        gray_share: share of frames of a gray camera: three equal channels, with equal noise.
        flat_share: share of frames that show nothing but one colour, or one that changes slowly into another.
    """

    max_sigma_255: float = 60.0
    level_error: float = 0.3
    understated_share: float = 0.02
    sensor_share: float = 0.3
    quiet_share: float = 0.05
    smooth_share: float = 0.7
    resize_share: float = 0.3
    jpeg_share: float = 0.6
    gray_share: float = 0.08
    flat_share: float = 0.08
    max_shrink: float = 1.6
    jpeg_quality: tuple[int, int] = (50, 95)
    radius: tuple[float, float] = (0.5, 1.3)
    colour_radius: tuple[float, float] = (1.5, 4.5)
    colour_share: tuple[float, float] = (0.3, 0.9)
    gain: tuple[float, float] = (1.0, 2.5)
    softness: tuple[float, float] = (1.5, 1.5)
    told_share: tuple[float, float] = (0.5, 1.0)
    soft_quiet_share: float = 0.0

    def source_side(self, side: int) -> int:
        """How large frames `apply` wants for results of `side` pixels; of smaller ones a camera sees less."""
        return int(np.ceil((side + _MARGIN) * max(1, self.max_shrink / self.softness[0])))

    def draw(
        self, photos: Sequence[NDArray[np.uint8]], count: int, patch: int, rng: np.random.Generator
    ) -> NoisyPatches:
        """Cut random patches from photographs, (H, W, 3) uint8 BGR each, and make noisy ones of them."""
        side = min(self.source_side(patch), *(min(photo.shape[:2]) for photo in photos))
        return NoisyPatches(*self.apply(cut_patches(photos, count, side, rng), patch, rng))

    def apply(self, frames: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NoisyFrames:
        """frames: (N, height, width, 3) uint8 BGR, clean, at least `side` in height and width."""
        clean = np.empty((len(frames), side, side, 3), np.uint8)
        noisy = np.empty_like(clean)
        told = np.empty(len(frames), np.float32)
        for index, frame in enumerate(frames):
            clean[index], noisy[index], told[index] = self._one(frame, side, rng)
        return NoisyFrames(clean, noisy, np.clip(told, 0, MAX_SIGMA_255))

    def describe(self) -> str:
        """One line for the model card."""
        low, high = self.jpeg_quality
        least, most = self.told_share
        return (
            f"Gaussian, sigma 0 to {self.max_sigma_255:g} of 255, rounded and clipped to 8 bits; "
            f"{self.sensor_share:.0%} of the frames with shot and read noise of a sensor, demosaiced, "
            f"{self.jpeg_share:.0%} of those as JPEG of quality {low} to {high}; {self.quiet_share:.0%} without noise; "
            f"told level up to {self.level_error:.0%} wrong (of {self.understated_share:.0%} of the white frames "
            f"anything less), of a sensor's noise {least:.0%} to {most:.0%}"
        )

    def _one(self, frame: Frame, side: int, rng: np.random.Generator) -> tuple[Frame, Frame, float]:
        if rng.random() < self.flat_share:
            frame = flat_frame(frame.shape[0], frame.shape[1], rng)
        kind = rng.random()
        if kind < self.sensor_share:
            return self._of_sensor(frame, side, rng)
        gray = rng.random() < self.gray_share
        quiet = kind > 1 - self.quiet_share
        soft = quiet and rng.random() < self.soft_quiet_share
        clean = self._soft(frame, side, rng) if soft else _cut(frame, side, rng)
        if gray:
            clean = _as_gray(clean)
        if quiet:
            noisy = compress(clean, int(rng.integers(*self.jpeg_quality))) if rng.random() < 0.5 else clean
            return clean, noisy, rng.uniform(0, _QUIET_255)
        sigma_255 = rng.uniform(0, self.max_sigma_255)
        noisy = add_gaussian(clean[:, :, :1] if gray else clean, sigma_255, rng)
        noisy = np.broadcast_to(noisy, clean.shape)
        least_255, most_255 = sigma_255 * (1 - self.level_error), sigma_255 * (1 + self.level_error)
        if rng.random() < self.understated_share:
            return clean, noisy, rng.uniform(0, least_255)
        return clean, noisy, _told(least_255, most_255, rng)

    def _soft(self, frame: Frame, side: int, rng: np.random.Generator) -> Frame:
        return _enlarged(_cut(frame, round(side / rng.uniform(1, self.softness[0])), rng), side)

    def _of_sensor(self, frame: Frame, side: int, rng: np.random.Generator) -> tuple[Frame, Frame, float]:
        factor = rng.uniform(1, self.max_shrink) if rng.random() < self.resize_share else 1.0
        seen = int((side + _MARGIN) * factor) // 2 * 2
        scene = _cut(frame, min(round(seen / rng.uniform(*self.softness)), *frame.shape[:2]), rng)
        clean, noisy = sensor.photograph(_enlarged(scene, seen), rng)
        if rng.random() < self.smooth_share:
            drawn = (rng.uniform(*span) for span in (self.radius, self.colour_radius, self.colour_share, self.gain))
            noisy = smoothed(clean, noisy, *drawn)
        if factor > 1:
            clean, noisy = (sensor.shrink(image, side + _MARGIN) for image in (clean, noisy))
        if rng.random() < self.jpeg_share:
            noisy = compress(noisy, int(rng.integers(*self.jpeg_quality)))
        top, left = rng.integers(2, _MARGIN - 1, 2)
        clean, noisy = (image[top : top + side, left : left + side] for image in (clean, noisy))
        sigma_255 = float(np.std(noisy.astype(np.float32) - clean))
        least, most = self.told_share
        return clean, noisy, _told(least * sigma_255, most * sigma_255, rng)


def _told(least_255: float, most_255: float, rng: np.random.Generator) -> float:
    """The level that is told: as often twice the least as half the most."""
    return float(np.exp(rng.uniform(*np.log(np.maximum((least_255, most_255), TOLD_255)))))


def compress(frame: Frame, quality: int) -> Frame:
    """A frame as it comes out of a JPEG file of that quality, 1 to 100."""
    encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def smoothed(
    clean: Frame, noisy: Frame, radius: float, colour_radius: float, colour_share: float, gain: float
) -> Frame:
    """A noisy frame whose noise was smoothed and made stronger: as a camera's own denoising leaves it, in blotches.

    Cameras take more of the noise of colour than of that of brightness, as the eye does: of real JPEG photographs
    (`polyu`), noise of colour (blue minus brightness) is 0.8 times as strong as that of brightness, and as alike four
    pixels away (0.5) as the other is one pixel away (0.6). Straight from a sensor it is twice as strong.

    radius, colour_radius: of the Gaussians, in pixels. colour_share: deviation of the noise of colour, all channels
    together, as a share of that of brightness. gain: on what is left of the noise.
    """
    noise = noisy.astype(np.float32) - clean
    bright = cv2.transform(noise, _LUMA)
    colour = cv2.GaussianBlur(noise - bright[:, :, None], (0, 0), colour_radius)
    bright = cv2.GaussianBlur(bright, (0, 0), radius)
    colour *= colour_share * np.std(bright) / max(float(np.std(colour)), _FAINT_255)
    return to_uint8(clean + gain * (bright[:, :, None] + colour))


def flat_frame(height: int, width: int, rng: np.random.Generator) -> Frame:
    """One colour that changes evenly into a similar one from edge to edge, or does not change.

    Half of the colours are near gray, as walls and skies are.
    """
    near_gray = rng.random() < 0.5
    start = rng.uniform(0, 255) + rng.normal(0, 15, 3) if near_gray else rng.uniform(0, 255, 3)
    end = start + rng.uniform(-30, 30, 3) * (rng.random() < 0.5)
    slope = np.linspace(0, 1, width)[None, :, None]
    return np.broadcast_to(np.clip(np.rint(start + (end - start) * slope), 0, 255).astype(np.uint8), (height, width, 3))


def _cut(frame: Frame, side: int, rng: np.random.Generator) -> Frame:
    top, left = rng.integers(frame.shape[0] - side + 1), rng.integers(frame.shape[1] - side + 1)
    return frame[top : top + side, left : left + side]


def _enlarged(frame: Frame, side: int) -> Frame:
    return cv2.resize(np.ascontiguousarray(frame), (side, side), interpolation=cv2.INTER_CUBIC)


def _as_gray(frame: Frame) -> Frame:
    return cv2.cvtColor(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
