"""Noise of one camera, as `quietframe calibrate` measured it, to fine-tune a camera model on.

NumPy and OpenCV only: worker processes draw without Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from quietframe.camera import CameraProfile, read_profile, to_light, to_srgb
from quietframe.errors import UsageError
from quietframe.noise import to_uint8
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import Format, Frame
from quietframe_train.camera_noise import CameraNoise, NoisyPatches, Scene, between, middle
from quietframe_train.recipe import Recipe, WarmupCosine

EPOCHS = 8
LEARNING_RATE = 2e-3

# Y, Cr and Cb to BGR.
_TO_BGR = np.array([[1.0, 0.0, 1.772], [1.0, -0.714, -0.344], [1.0, 1.402, 0.0]])
_LIGHT = to_light(np.arange(256) / 255)


@dataclass(frozen=True)
class OwnCameraNoise(CameraNoise):
    """The noise of one camera in most frames, and of all kinds of cameras in the others, lest those be forgotten.

    Attributes:
        profile: of the camera.
        other_share: share of frames with the noise that `CameraNoise` draws.
    """

    profile: CameraProfile | None = None
    other_share: float = 0.2

    def add(self, clean: Frame, rng: np.random.Generator) -> Frame:
        """Add the camera's noise to a frame, (H, W, 3) uint8 BGR.

        In linear light: of variance a·x + b, correlated over colours and pixels as measured. What the tone curve and
        the ends of the range make of it comes by itself.
        """
        profile = cast(CameraProfile, self.profile)
        light = _LIGHT[clean]
        deviation = np.sqrt(np.asarray(profile.gain) * light + np.asarray(profile.read))
        noisy = light + deviation * unit_noise(profile, clean.shape[:2], rng)
        return to_uint8(255 * to_srgb(np.clip(noisy, 0, 1)))

    def validation(self, photos: Sequence[Frame], side: int, *, seed: int) -> NoisyPatches:
        """Return the middle of each photograph with the camera's noise: the same at every call. See `draw`."""
        clean = [middle(photo, side) for photo in photos]
        noisy = [self.add(frame, np.random.default_rng((seed, index))) for index, frame in enumerate(clean)]
        levels = [estimate_noise(frame) for frame in noisy]
        return NoisyPatches(np.stack(clean), np.stack(noisy), np.asarray(levels, np.float32))

    def describe(self) -> str:
        """Describe the noise in one line, for the model card."""
        return (
            f"{1 - self.other_share:.0%} of the frames: of one camera, as calibrated; the others: {super().describe()}"
        )

    def _scene(self, photo: Frame, side: int, rng: np.random.Generator) -> tuple[Scene, Format]:
        if rng.random() < self.other_share:
            return super()._scene(photo, side, rng)
        clean = self._view(photo, side, between((1.0, self.softness[1]), rng), rng)
        return Scene(clean, [self.add(clean, rng)], np.ones((side, side), bool), None), Format("rgb", "rgb")


def unit_noise(profile: CameraProfile, size_hw: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw noise of deviation 1 in each channel, correlated as the camera's. Returns (H, W, 3)."""
    mixed, variance = np.zeros((*size_hw, 3)), np.zeros(3)
    filters = _filters(profile.autocorrelation, tuple(size_hw))
    for plane, sigma, mix in zip(filters, profile.ycc_sigma, _TO_BGR.T, strict=True):
        white = rng.standard_normal(size_hw)
        mixed += sigma * np.fft.irfft2(np.fft.rfft2(white) * plane, size_hw)[:, :, None] * mix
        variance += np.square(sigma * mix)
    return mixed / np.sqrt(variance)


@lru_cache(maxsize=8)
def _filters(
    autocorrelation: tuple[tuple[tuple[float, ...], ...], ...], size_hw: tuple[int, ...]
) -> tuple[NDArray[np.float64], ...]:
    """Filters that give white noise the autocorrelation of Y, Cr and Cb: the roots of their spectra."""
    found = []
    for shares in np.asarray(autocorrelation):
        whole = np.zeros(size_hw)
        for (down, right), share in np.ndenumerate(shares):
            whole[[down, -down, down, -down], [right, right, -right, -right]] = share
        root = np.sqrt(np.maximum(np.fft.rfft2(whole).real, 0))  # of what is cut off at four pixels, some is below 0
        found.append(root / np.sqrt(np.fft.irfft2(np.square(root), size_hw)[0, 0]))
    return tuple(found)


def fine_tuned(recipe: Recipe, camera: CameraProfile | str | Path) -> Recipe:
    """Return the recipe that fine-tunes a camera model on the noise of one camera.

    Raises UsageError for recipes of other models, and for a file that is no camera's profile.
    """
    if type(recipe.noise) is not CameraNoise:
        raise UsageError(f"--camera fine-tunes camera-nano, camera-small and camera-base, not {recipe.name}")
    profile = camera if isinstance(camera, CameraProfile) else read_profile(camera)
    last = recipe.phases[-1]
    rate = replace(last.optimizer, learning_rate=LEARNING_RATE)
    settings = {name: getattr(recipe.noise, name) for name in recipe.noise.__dataclass_fields__}
    return replace(
        recipe,
        name=f"{recipe.name}-own",
        summary=f"{recipe.name}, fine-tuned on the noise of one camera",
        noise=OwnCameraNoise(**settings, profile=profile),
        phases=(replace(last, name="own", epochs=EPOCHS, optimizer=rate, schedule=WarmupCosine(200, 1e-5)),),
        starts_from=recipe.name,
    )
