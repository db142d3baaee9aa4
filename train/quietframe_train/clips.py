"""Draw short clips of moving scenes from photographs, and the noise that cameras deliver with them.

NumPy, OpenCV and PyAV only: worker processes draw without Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.noise import add_gaussian
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import Format, Frame
from quietframe.tasks.motion import MotionEstimator, at_size
from quietframe.tasks.video import MAX_CONFIDENCE
from quietframe_train.camera_noise import CameraNoise, as_gray
from quietframe_train.sensor import photograph, random_processing, random_sensor

_SIDE = 160  # of a scene: a patch, and room for what moves
_MARGIN = 40  # pixels that a view may move
_SPEEDS = (0.3, 1.0, 3.0)  # pixels a frame: the deviation of each kind of motion
_PAST = (0, 0, 0, 0, 1, 2, 4, 8, 16, 32)  # still frames before a clip


class Clips(NamedTuple):
    """Patches of clips to train on.

    Attributes:
        clean: (N, T, patch, patch, 3) uint8 BGR, what a camera without noise and codec would give.
        noisy: the same shape.
        flow: (N, T, patch, patch, 2) float32, where each pixel was in the frame before, in pixels.
        state: (N, patch, patch, 3) float32, the mean of the frames before the first.
        confidence: (N,) float32, in `state`; 0: there were none.
        sigma_255: (N,) float32, the noise level that the model is given.
    """

    clean: NDArray[np.uint8]
    noisy: NDArray[np.uint8]
    flow: NDArray[np.float32]
    state: NDArray[np.float32]
    confidence: NDArray[np.float32]
    sigma_255: NDArray[np.float32]


@dataclass(frozen=True)
class ClipNoise:
    """Scenes in motion, and the noise of a camera.

    Attributes:
        camera: levels, kinds and formats of the noise.
        still_share: share of the clips in which the camera stands still.
        object_share: share of the clips in which something moves before the scene.
        light_share: share of the clips in which exposure or light changes, or the light of the mains flickers.
        cut_share: share of the clips with a cut.
        h265_share: share of the clips of a video codec for which it is H.265.
        align_share: share of the clips whose past is moved along with the scene.
    """

    camera: CameraNoise = field(default_factory=CameraNoise)
    still_share: float = 0.45
    object_share: float = 0.45
    light_share: float = 0.08
    cut_share: float = 0.1
    h265_share: float = 0.3
    align_share: float = 0.8

    def draw(self, photos: Sequence[Frame], count: int, frames: int, patch: int, rng: np.random.Generator) -> Clips:
        """Draw `count` patches of clips of so many frames, a few from each clip."""
        clean = np.empty((count, frames, patch, patch, 3), np.uint8)
        noisy, flow = np.empty_like(clean), np.zeros((count, frames, patch, patch, 2), np.float32)
        state = np.empty((count, patch, patch, 3), np.float32)
        confidence, sigma_255 = np.empty(count, np.float32), np.empty(count, np.float32)
        each = max(1, _SIDE**2 // (3 * patch**2))
        for start in range(0, count, each):
            form, past = self.random_format(rng), int(rng.choice(_PAST))
            past = min(past, form.frames - frames) if form.frames > 1 else past
            scene = self.scene(photos, frames, rng)
            seen = self._noisy(scene, past, form, rng)
            level_255 = self.camera.given_level(seen[-1], rng)
            before = np.stack(seen[: past or 1]).mean(axis=0, dtype=np.float32)
            flows = self._flows(scene, seen[past:], past > 0, rng)
            for index in range(start, min(start + each, count)):
                top, left = 2 * rng.integers((_SIDE - patch) // 2 + 1, size=2)
                place = slice(top, top + patch), slice(left, left + patch)
                clean[index] = [frame[place] for frame in scene]
                noisy[index] = [frame[place] for frame in seen[past:]]
                flow[index] = [each[place] for each in flows]
                state[index] = before[place]
                confidence[index] = min(past / (past + 1), MAX_CONFIDENCE)
                sigma_255[index] = level_255
        return Clips(clean, noisy, flow, state, confidence, sigma_255)

    def clip(self, photos: Sequence[Frame], frames: int, rng: np.random.Generator) -> tuple[list[Frame], list[Frame]]:
        """Draw one clip, clean and noisy: (side, side, 3) uint8 BGR each."""
        scene = self.scene(photos, frames, rng)
        return scene, self._noisy(scene, 0, self.random_format(rng), rng)

    def describe(self) -> str:
        """Describe clips and noise in one line, for the model card."""
        return (
            f"{self.still_share:.0%} of the clips from a still camera; {self.camera.describe()}; "
            f"{self.h265_share:.0%} of H.264 as H.265"
        )

    def random_format(self, rng: np.random.Generator) -> Format:
        """Draw a format."""
        form = self.camera.random_format(rng)
        is_h265 = form.codec == "h264" and rng.random() < self.h265_share
        return replace(form, name="h265", codec="h265") if is_h265 else form

    def scene(self, photos: Sequence[Frame], frames: int, rng: np.random.Generator) -> list[Frame]:
        """Draw a clean clip: (side, side, 3) uint8 BGR each."""
        still = rng.random() < self.still_share
        scene = _moving_view(photos[int(rng.integers(len(photos)))], frames, still, rng)
        if rng.random() < self.object_share:
            scene = _with_object(scene, photos[int(rng.integers(len(photos)))], rng)
        if rng.random() < self.light_share:
            scene = _with_light(scene, rng)
        if rng.random() < self.cut_share and frames > 1:
            at = int(rng.integers(1, frames))
            scene[at:] = self.scene(photos, frames, rng)[at:]
        return scene

    def _noisy(self, scene: list[Frame], past: int, form: Format, rng: np.random.Generator) -> list[Frame]:
        """Add noise to the clip, and to `past` still frames before it, as a camera delivers them."""
        camera, kind = self.camera, rng.random()
        whole = [scene[0]] * past + scene
        if kind > 1 - camera.clean_share:
            noisy = whole
        elif kind < camera.sensor_share:
            sensor, processing, fixed = random_sensor(rng), random_processing(rng), int(rng.integers(2**32))
            for index, frame in enumerate(scene):
                scene[index], [noise] = photograph(frame, sensor, processing, rng, fixed=fixed)
                whole[past + index] = noise
            for index in range(past):
                whole[index] = photograph(frame, sensor, processing, rng, fixed=fixed)[1][0]
            noisy = whole
        else:
            sigma_255 = camera.max_sigma_255 * rng.random() ** camera.level_power
            noisy = [add_gaussian(frame, sigma_255, rng) for frame in whole]
        if rng.random() < camera.gray_share:
            scene[:] = [as_gray(frame) for frame in scene]
            noisy = [as_gray(frame) for frame in noisy]
        return form.deliver_clip(noisy)

    def _flows(
        self, scene: list[Frame], seen: list[Frame], has_past: bool, rng: np.random.Generator
    ) -> list[NDArray[np.float32]]:
        """Estimate motion as the runtime does, from the denoised frame before, for which the clean one stands."""
        flows = [np.zeros((_SIDE, _SIDE, 2), np.float32) for _ in scene]
        if rng.random() < self.align_share:
            estimator, level_255 = MotionEstimator(), estimate_noise(seen[-1])
            for index in range(1, len(scene)):
                flow = estimator(seen[index], scene[index - 1], level_255).flow
                if flow is not None:
                    flows[index] = at_size(flow, (_SIDE, _SIDE))
        return flows


def _moving_view(photo: Frame, frames: int, still: bool, rng: np.random.Generator) -> list[Frame]:
    """A window of a photograph that pans, zooms and turns, all by fractions of pixels."""
    size = _SIDE + 2 * _MARGIN
    if min(photo.shape[:2]) < size:
        factor = size / min(photo.shape[:2])
        photo = cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    size = min(size, *photo.shape[:2])
    top, left = rng.integers(photo.shape[0] - size + 1), rng.integers(photo.shape[1] - size + 1)
    view = np.rot90(photo[top : top + size, left : left + size], int(rng.integers(4)))
    view = np.ascontiguousarray(view[:, ::-1] if rng.random() < 0.5 else view)
    middle = (size - 1) / 2
    if still:
        start = (size - _SIDE) // 2
        return [np.ascontiguousarray(view[start : start + _SIDE, start : start + _SIDE])] * frames
    speed = np.clip(rng.normal(0, rng.choice(_SPEEDS), 2), -_MARGIN / frames, _MARGIN / frames)
    turn, zoom = rng.normal(0, 0.3) * (rng.random() < 0.3), 1 + rng.normal(0, 0.006) * (rng.random() < 0.3)
    scene = []
    for index in range(frames):
        t = index - frames / 2
        matrix = cv2.getRotationMatrix2D((middle, middle), turn * t, zoom**t)
        matrix[:, 2] += speed * t - (size - _SIDE) / 2
        scene.append(cv2.warpAffine(view, matrix, (_SIDE, _SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
    return scene


def _with_object(scene: list[Frame], photo: Frame, rng: np.random.Generator) -> list[Frame]:
    """Move a piece of another photograph before the scene."""
    width, height = (int(rng.integers(12, min(90, side))) for side in photo.shape[1::-1])
    top, left = rng.integers(photo.shape[0] - height + 1), rng.integers(photo.shape[1] - width + 1)
    piece = np.ascontiguousarray(photo[top : top + height, left : left + width])
    mask = np.zeros((height, width), np.float32)
    axes = width // 2 - 1, height // 2 - 1
    cv2.ellipse(mask, (width // 2, height // 2), axes, 0, 0, 360, 1, -1, cv2.LINE_AA)
    place, speed = rng.uniform(-20, _SIDE - 20, 2), rng.normal(0, rng.choice(_SPEEDS), 2)
    result = []
    for index, frame in enumerate(scene):
        matrix = np.array([[1, 0, place[0] + speed[0] * index], [0, 1, place[1] + speed[1] * index]])
        alpha = cv2.warpAffine(mask, matrix, (_SIDE, _SIDE))[:, :, None]
        moved = cv2.warpAffine(piece, matrix, (_SIDE, _SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        result.append(np.rint(frame * (1 - alpha) + moved * alpha).astype(np.uint8))
    return result


def _with_light(scene: list[Frame], rng: np.random.Generator) -> list[Frame]:
    """Change the exposure by degrees or from one frame on, or as light of the mains does: as a whole, or in bands."""
    frames = len(scene)
    change = np.exp(rng.normal(0, 0.25))
    kind, time = rng.random(), np.arange(frames)[:, None]
    if kind < 0.4:
        gains = 1 + (change - 1) * time / max(1, frames - 1)
    elif kind < 0.7:
        gains = np.where(time < rng.integers(1, max(2, frames)), 1, change)
    else:  # a rolling shutter shows the mains' flicker row by row
        rows = np.arange(_SIDE) / _SIDE * rng.uniform(2, 20) if kind > 0.85 else 0
        gains = 1 + 0.3 * abs(change - 1) * np.sin(time * rng.uniform(0.5, 3) + rng.uniform(0, 6) + rows)
    return [
        np.rint(np.clip(frame * gain[:, None, None], 0, 255)).astype(np.uint8)
        for frame, gain in zip(scene, gains, strict=True)
    ]
