"""Draw noisy patches for camera denoisers: white noise or a simulated sensor's, delivered in a camera's format.

NumPy, OpenCV and PyAV only: worker processes draw without Keras.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.noise import MAX_SIGMA_255, add_gaussian
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import FORMATS, Chroma, Format, Frame, deliver_noisy, jpeg
from quietframe_train.sensor import photograph, random_processing, random_sensor

LEVEL_STRIDE = 4
"""How many times smaller than the frame the map of noise levels is that camera models take."""

VALIDATION_SIGMAS_255 = (5.0, 15.0, 25.0, 50.0)

_SIDE = 144  # of a frame, at least: what the noise estimator reads
_MARGIN = 32  # of a frame around a patch, so that blocks and borders fall anywhere
_RGB = Format("rgb", "rgb")
_CHROMAS: tuple[tuple[Chroma, float], ...] = (("420", 0.55), ("422", 0.3), ("444", 0.15))
_MAX_MOTION = 2.0  # pixels from frame to frame of a clip


class NoisyPatches(NamedTuple):
    """Patches to train on: (N, patch, patch, 3) uint8 BGR, and (N,) float32, the noise level that the model is given.

    `clean` is what a camera without noise and codec would give.
    """

    clean: NDArray[np.uint8]
    noisy: NDArray[np.uint8]
    sigma_255: NDArray[np.float32]


class NoisyFrame(NamedTuple):
    """One frame of a camera, (side, side, 3) uint8 BGR, and the deviation of the noise that is left in `noisy`.

    Areas without an image are left out of it; of white noise that clipping cut, it is what it was before.
    """

    clean: Frame
    noisy: Frame
    sigma_255: float


class Scene(NamedTuple):
    """What reaches the encoder: see `CameraNoise`."""

    clean: Frame
    frames: list[Frame]  # a clip, or one
    live: NDArray[np.bool_]  # where the image is, and no bar or text
    sigma_255: float | None  # of white noise


@dataclass(frozen=True)
class CameraNoise:
    """Noise of random kinds, levels and formats on 8-bit frames.

    Attributes:
        max_sigma_255: greatest level of white noise, in 8-bit levels.
        level_power: levels of white noise are drawn as this power of a uniform draw: the greater, the more faint noise.
        sensor_share: share of frames with the noise of a simulated sensor (`quietframe_train.sensor`).
        clean_share: share of frames without noise, in every format.
        rgb_share, yuyv_share, h264_share: shares of frames that are delivered so; the rest is JPEG.
        jpeg_quality: lowest and highest quality of JPEG.
        crf: lowest and highest constant rate factor of H.264.
        twice_share: share of frames that were compressed as JPEG once before.
        gray_share: share of gray cameras: three equal planes.
        flat_share: share of frames that show one colour, or one that changes slowly into another.
        overlay_share: share of frames with bars, black or white areas or burnt-in text.
        soft_share: share of clean frames that are enlarged: soft frames without noise are to stay as they are.
        max_shrink: sensors' frames are resized by up to this factor, in three of ten.
        softness: lowest and highest number of a sensor's pixels to one of a photograph, which was sharpened and made
            smaller. Without, its edges would leave the mosaic with false colours, and frames of many megapixels are
            soft.
        level_error: the estimated level that the model is given is changed by up to this share.
        any_level_share: share of frames whose given level is any other: a user may state one.
    """

    max_sigma_255: float = 60.0
    level_power: float = 1.25
    sensor_share: float = 0.2
    clean_share: float = 0.08
    rgb_share: float = 0.4
    yuyv_share: float = 0.1
    h264_share: float = 0.08
    jpeg_quality: tuple[int, int] = (50, 98)
    crf: tuple[int, int] = (17, 32)
    twice_share: float = 0.05
    gray_share: float = 0.06
    flat_share: float = 0.1
    overlay_share: float = 0.06
    soft_share: float = 0.4
    max_shrink: float = 1.6
    softness: tuple[float, float] = (1.5, 4.0)
    level_error: float = 0.3
    any_level_share: float = 0.03

    def draw(self, photos: Sequence[Frame], count: int, patch: int, rng: np.random.Generator) -> NoisyPatches:
        """Draw `count` patches, `patch` pixels a side, from random photographs: a few from each frame of a camera."""
        side = max(_SIDE, patch + _MARGIN)
        each = max(1, side**2 // (2 * patch**2))
        clean = np.empty((count, patch, patch, 3), np.uint8)
        noisy = np.empty_like(clean)
        sigma_255 = np.empty(count, np.float32)
        for start in range(0, count, each):
            scene, form = self._scene(photos[int(rng.integers(len(photos)))], side, rng)
            delivered = form.deliver(scene.frames)
            level_255 = self.given_level(delivered, rng)
            for index in range(start, min(start + each, count)):
                top, left = rng.integers(side - patch + 1, size=2)
                clean[index] = scene.clean[top : top + patch, left : left + patch]
                noisy[index] = delivered[top : top + patch, left : left + patch]
                sigma_255[index] = level_255
        return NoisyPatches(clean, noisy, sigma_255)

    def frame(self, photo: Frame, side: int, rng: np.random.Generator) -> NoisyFrame:
        """Draw one square frame and the level of the noise in it."""
        scene, form = self._scene(photo, side, rng)
        noisy = form.deliver(scene.frames)
        left = _deviation(noisy, form.deliver([scene.clean] * form.frames), scene.live)
        if scene.sigma_255:
            before = _deviation(scene.frames[-1], scene.clean, scene.live)
            left = scene.sigma_255 * min(1.0, left / before) if before else left
        return NoisyFrame(scene.clean, noisy, left if scene.sigma_255 != 0 else 0.0)

    def describe(self) -> str:
        """Describe the noise in one line, for the model card."""
        jpeg_share = 1 - self.rgb_share - self.yuyv_share - self.h264_share
        return (
            f"white, sigma 0 to {self.max_sigma_255:g} of 255; {self.sensor_share:.0%} of the frames with noise of a "
            f"simulated sensor, {self.clean_share:.0%} without; delivered as RGB ({self.rgb_share:.0%}), YUYV 4:2:2 "
            f"({self.yuyv_share:.0%}), JPEG of quality {self.jpeg_quality[0]} to {self.jpeg_quality[1]} "
            f"({jpeg_share:.0%}) and H.264 of CRF {self.crf[0]} to {self.crf[1]} ({self.h264_share:.0%}); "
            "noise level as the runtime estimates it"
        )

    def given_level(self, frame: Frame, rng: np.random.Generator) -> float:
        """Estimate the level of a frame, and change it as much as the model has to bear."""
        if rng.random() < self.any_level_share:
            return float(rng.uniform(0, MAX_SIGMA_255))
        level = estimate_noise(frame) * np.exp(rng.uniform(-self.level_error, self.level_error))
        return float(min(level, MAX_SIGMA_255))

    def _scene(self, photo: Frame, side: int, rng: np.random.Generator) -> tuple[Scene, Format]:
        """Draw what reaches the encoder, and the format."""
        form = self.random_format(rng)
        speed = rng.uniform(-_MAX_MOTION, _MAX_MOTION, 2) if form.frames > 1 and rng.random() < 0.5 else np.zeros(2)
        path = np.rint(speed * np.arange(form.frames)[:, None]).astype(int)
        path -= path.min(axis=0)
        seen = side + int(path.max())
        kind = rng.random()
        is_clean, is_gray = kind > 1 - self.clean_share, rng.random() < self.gray_share
        sigma_255 = None
        if kind < self.sensor_share and not is_clean:
            clean, frames = self._of_sensor(photo, seen, form.frames, rng)
        else:
            soft = is_clean and rng.random() < self.soft_share
            clean = self._view(photo, seen, between((1.0, self.softness[1]), rng) if soft else 1.0, rng)
            sigma_255 = 0.0 if is_clean else self.max_sigma_255 * rng.random() ** self.level_power
            planes = as_gray(clean)[:, :, :1] if is_gray else clean
            noisy = [add_gaussian(planes, sigma_255, rng) if sigma_255 else planes for _ in range(form.frames)]
            frames = [np.broadcast_to(frame, clean.shape) for frame in noisy]
        if is_gray:
            clean, *frames = (as_gray(np.ascontiguousarray(frame)) for frame in (clean, *frames))
        frames = [frame[top : top + side, left : left + side] for frame, (top, left) in zip(frames, path, strict=True)]
        top, left = path[-1]
        clean = clean[top : top + side, left : left + side]
        live = np.ones((side, side), bool)
        if rng.random() < self.overlay_share:
            painted, live = _overlay(side, rng)
            clean, *frames = (np.where(live[:, :, None], frame, painted) for frame in (clean, *frames))
        if rng.random() < self.twice_share:
            quality, chroma = int(rng.integers(70, 98)), _random_chroma(rng)
            frames = [jpeg(frame, quality, chroma) for frame in frames]
        return Scene(np.ascontiguousarray(clean), frames, live, sigma_255), form

    def _of_sensor(self, photo: Frame, side: int, count: int, rng: np.random.Generator) -> tuple[Frame, list[Frame]]:
        factor = rng.uniform(1, self.max_shrink) if rng.random() < 0.3 else 1.0
        seen = int((side + 4) * factor) // 2 * 2
        scene = self._view(photo, seen, between(self.softness, rng), rng)
        clean, frames = photograph(scene, random_sensor(rng), random_processing(rng), rng, frames=count)
        if factor > 1:
            size = (side + 4, side + 4)
            clean, *frames = (cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in (clean, *frames))
        clean, *frames = (frame[2 : 2 + side, 2 : 2 + side] for frame in (clean, *frames))  # off the mosaic's borders
        return clean, frames

    def _view(self, photo: Frame, side: int, softness: float, rng: np.random.Generator) -> Frame:
        """Cut a square from a photograph, turned and flipped at random, and enlarge it by `softness`."""
        if rng.random() < self.flat_share:
            return flat_frame(side, rng)
        cut = min(round(side / softness), *photo.shape[:2])
        top, left = rng.integers(photo.shape[0] - cut + 1), rng.integers(photo.shape[1] - cut + 1)
        view = np.rot90(photo[top : top + cut, left : left + cut], int(rng.integers(4)))
        view = np.ascontiguousarray(view[:, ::-1] if rng.random() < 0.5 else view)
        return view if cut == side else cv2.resize(view, (side, side), interpolation=cv2.INTER_CUBIC)

    def random_format(self, rng: np.random.Generator) -> Format:
        """Draw a format."""
        kind = rng.random()
        if kind < self.rgb_share:
            return _RGB
        if kind < self.rgb_share + self.yuyv_share:
            return Format("yuyv", "yuyv")
        if kind < self.rgb_share + self.yuyv_share + self.h264_share:
            return Format("h264", "h264", quality=int(rng.integers(self.crf[0], self.crf[1] + 1)))
        quality = int(rng.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
        return Format("jpeg", "jpeg", _random_chroma(rng), quality)


def validation_patches(photos: Sequence[Frame], side: int, *, seed: int) -> NoisyPatches:
    """Return the middle of each photograph in several formats and noise levels: the same at every call.

    The photographs take turns over all of `FORMATS` and `VALIDATION_SIGMAS_255`, so that each of them is seen about as
    often. The level is what the estimator reads. photos: (H, W, 3) uint8 BGR each, at least `side` high and wide.
    """
    turns = list(itertools.product(VALIDATION_SIGMAS_255, FORMATS.values()))
    clean, noisy, sigma_255 = [], [], []
    for index in range(len(photos) * len(VALIDATION_SIGMAS_255)):
        frame = middle(photos[index % len(photos)], side)
        noise_255, form = turns[index % len(turns)]
        clean.append(frame)
        noisy.append(deliver_noisy(frame, noise_255, form, np.random.default_rng((seed, index))))
        sigma_255.append(estimate_noise(noisy[-1]))
    return NoisyPatches(np.stack(clean), np.stack(noisy), np.asarray(sigma_255, np.float32))


def middle(photo: Frame, side: int) -> Frame:
    """Return the middle of a photograph, at most `side` high and wide, off the grid of its own blocks."""
    top, left = (max(0, size - side) // 2 | 1 if size > side else 0 for size in photo.shape[:2])
    return np.ascontiguousarray(photo[top : top + side, left : left + side])


def flat_frame(side: int, rng: np.random.Generator) -> Frame:
    """Draw a frame of one colour that changes evenly into a similar one from edge to edge, or does not change.

    Half of the colours are near gray, as walls and skies are; some are black or white.
    """
    near_gray = rng.random() < 0.5
    start = rng.uniform(-15, 270) + rng.normal(0, 15, 3) if near_gray else rng.uniform(0, 255, 3)
    end = start + rng.uniform(-30, 30, 3) * (rng.random() < 0.5)
    slope = np.linspace(0, 1, side)[None, :, None]
    flat = np.clip(np.rint(start + (end - start) * slope), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(flat, (side, side, 3)))


def _overlay(side: int, rng: np.random.Generator) -> tuple[Frame, NDArray[np.bool_]]:
    """Draw bars, an area or text: a frame that holds them, and where it does not."""
    painted = np.zeros((side, side, 3), np.uint8)
    kind = rng.random()
    live = np.ones((side, side), bool)
    if kind < 0.4:  # letterbox or pillarbox
        width = int(rng.integers(8, side // 2))
        live[:width] = False
        if rng.random() < 0.5:
            live = live.T.copy()
    elif kind < 0.7:  # an area, black or white
        top, left, height, width = rng.integers(8, side * 3 // 4, 4)
        live[top : top + height, left : left + width] = False
        painted[:] = 255 * (rng.random() < 0.5)
    else:
        mask = np.zeros((side, side), np.uint8)
        text = "".join(chr(code) for code in rng.integers(48, 91, 12))
        place = (int(rng.integers(0, side // 4)), int(rng.integers(16, side)))
        cv2.putText(mask, text, place, cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.4, 0.9), 255, int(rng.integers(1, 3)))
        live = mask == 0
        painted[:] = int(rng.choice([0, 255, 235]))
    return painted, live


def between(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw a factor: as often in the lower half of their logarithms as in the upper."""
    return float(np.exp(rng.uniform(*np.log(bounds))))


def _random_chroma(rng: np.random.Generator) -> Chroma:
    chromas, shares = zip(*_CHROMAS, strict=True)
    return chromas[int(rng.choice(len(chromas), p=shares))]


def as_gray(frame: Frame) -> Frame:
    """Make a frame gray: three equal planes."""
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def _deviation(noisy: Frame, clean: Frame, live: NDArray[np.bool_]) -> float:
    difference = noisy[live].astype(np.float32) - clean[live]
    return float(np.std(difference)) if difference.size else 0.0
