"""Noisy patches of photographs, as a training of a camera model sees them. NumPy and OpenCV only: processes without
Keras draw them, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quietframe_train.camera_noise import CameraNoise
from quietframe_train.photos import cut_patches

Batch: TypeAlias = tuple[Any, NDArray[Any]]
"""Model inputs (an array, or a dictionary by input name) and targets."""
WeightedBatch: TypeAlias = tuple[Any, NDArray[Any], NDArray[np.float32]]
"""The same, and what each sample's loss counts."""

VALIDATION_SIGMAS_255 = (5.0, 15.0, 25.0, 50.0)
VALIDATION_SIDE = 192

_ERROR_POWER = 0.55
_LEAST_NOISE_255 = 2.0  # frames without noise have an error, too
_USUAL_ERROR = 5.2


@dataclass(frozen=True)
class PhotoDraws:
    """Draws batches of noisy patches and their noise levels.

    Inputs: `image` (batch, side, side, 3) float32 in [0, 1] and `sigma` (batch, 1, 1, 1), told level / 255.
    Targets: the clean patches, float32 in [0, 1].
    Weights: (batch,), `loss_weights`, or 1 where not `weighed`.

    Attributes:
        photos: (H, W, 3) uint8 BGR each.
        noise: what is done to them.
        patch: side of the patches, in pixels.
        batch: patches in a batch.
        weighed: whether errors count by the noise that they were under.
    """

    photos: Sequence[NDArray[np.uint8]]
    noise: CameraNoise
    patch: int
    batch: int
    weighed: bool = True

    def __call__(self, rng: np.random.Generator) -> WeightedBatch:
        side = min(self.noise.source_side(self.patch), *(min(photo.shape[:2]) for photo in self.photos))
        source = cut_patches(self.photos, self.batch, side, rng)
        clean, noisy, told_255 = self.noise.apply(source, self.patch, rng)
        inputs, targets = _camera_batch(noisy, told_255, clean)
        if not self.weighed:
            return inputs, targets, np.ones(self.batch, np.float32)
        return inputs, targets, loss_weights(255 * (inputs["image"] - targets))


def loss_weights(noise_255: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the errors of patches with such noise count in training, about 1 on average.

    PSNR is a logarithm, an absolute error is not: where noise was strong, much error remains, and there it is what a
    training looks at. Errors that remain grow about as the 0.55th power of the noise.

    noise_255: (batch, side, side, channels), in 8-bit levels.
    """
    return weight_under(np.std(noise_255, axis=(1, 2, 3))).astype(np.float32)


def weight_under(deviation_255: Any) -> Any:
    """The same from the deviations of the noise, in 8-bit levels: an array of NumPy or JAX."""
    return _USUAL_ERROR / (_LEAST_NOISE_255 + deviation_255) ** _ERROR_POWER


def photo_validation(photos: Sequence[NDArray[np.uint8]], noise: CameraNoise, *, seed: int) -> Batch:
    """The same patches, noise and levels at every call: the middle of each photograph at several levels."""
    rng = np.random.default_rng(seed)
    side = min(VALIDATION_SIDE, *(min(photo.shape[:2]) for photo in photos)) // 16 * 16
    middles = []
    for photo in photos:
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        middles.append(photo[top : top + side, left : left + side])
    clean = np.stack(middles * len(VALIDATION_SIGMAS_255))
    told_255 = np.repeat(np.asarray(VALIDATION_SIGMAS_255, np.float32), len(middles))
    scaled = rng.standard_normal(clean.shape, dtype=np.float32) * told_255[:, None, None, None]
    noisy = np.clip(np.rint(clean + scaled), 0, 255).astype(np.uint8)
    return _camera_batch(noisy, told_255, clean)


def _camera_batch(noisy: NDArray[np.uint8], told_255: NDArray[np.float32], clean: NDArray[np.uint8]) -> Batch:
    scale = np.float32(1 / 255)
    inputs = {"image": noisy * scale, "sigma": (told_255 * scale).reshape(-1, 1, 1, 1)}
    return inputs, clean * scale
