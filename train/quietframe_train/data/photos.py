"""Photographs to cut noisy patches from: what camera denoisers train on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms, Metric, Spatial, TensorSpec
from quietframe.errors import UsageError
from quietframe.noise import MAX_SIGMA_255, add_gaussian
from quietframe.noise.formats import FORMATS
from quietframe_train.camera_noise import LEVEL_STRIDE, VALIDATION_SIGMAS_255, CameraNoise, validation_patches
from quietframe_train.data.base import Batch, Batches, Data, NoisyFrame, Sample
from quietframe_train.photos import PhotoSet, load_photos, read_photos, smallest_side

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from quietframe_train.recipe import Phase, Recipe

VALIDATION_SIDE = 192
CALIBRATION_PATCHES, CALIBRATION_SIDE = 128, 256
HELD_OUT_FRAMES = 64

_MIN_SIDE = 96  # of a photograph, in pixels
_LOGARITHMIC = "log_mse_and_means"  # counts a tenth less error the same at every noise level
_ERROR_POWER = 0.55
_MIN_NOISE_255 = 2.0  # frames without noise have an error, too
_USUAL_ERROR = 5.2


@dataclass(frozen=True)
class PhotoBatches(Batches):
    """So many batches of noisy patches and their noise levels an epoch.

    Inputs: `image` (batch, patch, patch, 3) float32 in [0, 1], and `sigma` (batch, patch / 4, patch / 4, 1), the noise
    level / 255. Targets: the clean patches, float32 in [0, 1].

    Attributes:
        patch: side of the patches, in pixels.
        batch: patches in a batch.
        steps: batches in an epoch.
        seed: with epoch and step decides what is drawn.
        weighted: whether errors count by the noise that they were under, as `loss_weights` says.
    """

    photos: Sequence[NDArray[np.uint8]]
    noise: CameraNoise
    patch: int
    batch: int
    steps: int
    seed: tuple[int, ...]
    weighted: bool = True

    def __len__(self) -> int:
        return self.steps

    def draw(self, epoch: int, step: int) -> Batch:
        rng = np.random.default_rng((*self.seed, epoch, step))
        inputs, targets = camera_batch(*self.noise.draw(self.photos, self.batch, self.patch, rng))
        return inputs, targets, loss_weights(255 * (inputs["image"] - targets)) if self.weighted else None


@dataclass(frozen=True)
class PhotoData(Data[PhotoSet]):
    """A folder of photographs, from which square patches are cut, flipped and turned.

    Attributes:
        patch: side of a patch in pixels.
        validation_list: name of a list of file hashes in this package; the photographs in it only validate.
        validation_share: where a folder holds none of them, share of its photographs (by content hash) that do.
    """

    patch: int = 64
    validation_list: str = "photos_validation.txt"
    validation_share: float = 0.04

    kind: ClassVar[str] = "photos"
    one_shape: ClassVar[bool] = True
    noise_type: ClassVar[type] = CameraNoise
    frames_from: ClassVar[str] = "training photographs"

    def source(self, task: str) -> str:
        return "a folder of photographs"

    def load(
        self, path: str | Path | None, recipe: Recipe, *, seed: int = 0, limit: int | None = None, fold: int = 0
    ) -> PhotoSet:
        if path is None:
            raise UsageError(f"{recipe.name} trains on photographs of yours: pass --data FOLDER")
        patches = [cast(PhotoData, phase.data or self).patch for phase in recipe.phases]
        return load_photos(
            path,
            validation_list=self.validation_list,
            validation_share=self.validation_share,
            limit=limit,
            smallest=max(_MIN_SIDE, *patches),
        )

    def batches(self, recipe: Recipe, phase: Phase, splits: PhotoSet, *, seed: int) -> Batches:
        return PhotoBatches(
            splits.training,
            cast(CameraNoise, recipe.noise),
            self.patch,
            phase.batch,
            phase.steps_per_epoch or math.ceil(len(splits.training) / phase.batch),
            (seed, phase.key),
            weighted=phase.loss != _LOGARITHMIC,
        )

    def validation(self, recipe: Recipe, splits: PhotoSet, *, seed: int) -> Mapping[str, Batch]:
        """Take the middles of photographs at several noise levels, blind, by format."""
        photos = splits.validation
        drawn = validation_patches(photos, min(VALIDATION_SIDE, smallest_side(photos)) // 16 * 16, seed=seed)
        turns = {name: slice(index, None, len(FORMATS)) for index, name in enumerate(FORMATS)}
        return {
            name: (*camera_batch(drawn.clean[turn], drawn.noisy[turn], drawn.sigma_255[turn]), None)
            for name, turn in turns.items()
            if turn.start < len(drawn.clean)
        }

    def evaluate(self, model: keras.Model, recipe: Recipe, splits: PhotoSet, terms: DataTerms) -> list[Metric]:
        from quietframe_train.evaluate import measure_photos

        return measure_photos(model, recipe, splits.validation, (0.0, 10.0, 25.0, 50.0), f"{terms.name} validation")

    def samples(self, model: keras.Model, recipe: Recipe, splits: PhotoSet) -> Figure:
        from quietframe_train.figures import photos_figure

        return photos_figure(model, recipe, splits.validation)

    def calibration(
        self, recipe: Recipe, splits: PhotoSet, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[NoisyFrame]:
        side = min(CALIBRATION_SIDE, smallest_side(splits.training))
        drawn = cast(CameraNoise, recipe.noise).draw(splits.training, CALIBRATION_PATCHES, side, rng)
        return [NoisyFrame(*each) for each in zip(drawn.noisy, drawn.sigma_255, strict=True)]

    def replace_training(self, splits: PhotoSet, folder: str | Path) -> PhotoSet:
        return replace(splits, training=read_photos(folder))

    def held_out(
        self, recipe: Recipe, splits: PhotoSet, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[Sample]:
        """Take every validation photograph whole at each noise level, as often as it takes for enough frames."""
        rounds = -(-HELD_OUT_FRAMES // (len(splits.validation) * len(VALIDATION_SIGMAS_255)))
        return [
            Sample(frame=add_gaussian(photo, sigma_255, rng), clean=photo, group=f"sigma {sigma_255:g}")
            for sigma_255 in VALIDATION_SIGMAS_255
            for photo in [*splits.validation] * rounds
        ]

    def card_fields(self, recipe: Recipe, model: keras.Model) -> Mapping[str, Any]:
        from quietframe_train.models import GEOMETRIES

        multiple, halo = GEOMETRIES[recipe.model.builder](**recipe.model.options)
        sigma = TensorSpec("sigma", "sigma", "NHWC", 1, (0.0, MAX_SIGMA_255 / 255), stride=LEVEL_STRIDE)
        return {
            "inputs": (TensorSpec("image", "image", "NHWC", 3, (0.0, 1.0), "BGR"), sigma),
            "spatial": Spatial("any", multiple=multiple, halo=halo),
            "conditioning": "sigma",
        }


def camera_batch(
    clean: NDArray[np.uint8], noisy: NDArray[np.uint8], sigma_255: NDArray[np.float32]
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Scale frames and levels as the models take them: see `PhotoBatches`.

    sigma_255: (batch,), which fills each patch's map, or the maps themselves, (batch, patch / 4, patch / 4).
    """
    scale = np.float32(1 / 255)
    map_shape = len(clean), *(side // LEVEL_STRIDE for side in clean.shape[1:3]), 1
    levels = sigma_255.reshape(len(clean), *(sigma_255.shape[1:] or (1, 1)), 1)
    sigma = np.broadcast_to(levels, map_shape) * scale
    return {"image": noisy * scale, "sigma": sigma}, clean * scale


def loss_weights(noise_255: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh the errors of patches with such noise in training, about 1 on average.

    PSNR is a logarithm, an absolute error is not: where noise was strong, much error remains, and there it is what a
    training looks at. Errors that remain grow about as the 0.55th power of the noise.

    noise_255: (batch, side, side, channels), in 8-bit levels. Returns (batch,).
    """
    deviation_255 = np.std(noise_255, axis=(1, 2, 3))
    return (_USUAL_ERROR / (_MIN_NOISE_255 + deviation_255) ** _ERROR_POWER).astype(np.float32)
