"""Clips that are drawn from photographs: what video denoisers train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms, Metric, TensorSpec
from quietframe.noise import add_gaussian
from quietframe_train.camera_noise import LEVEL_STRIDE, VALIDATION_SIGMAS_255
from quietframe_train.clips import ClipNoise, Clips
from quietframe_train.data.base import Batch, Batches, NoisyFrame, Sample
from quietframe_train.data.photos import CALIBRATION_PATCHES, HELD_OUT_FRAMES, PhotoData, loss_weights
from quietframe_train.photos import PhotoSet

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from quietframe_train.recipe import Phase, Recipe

_VALIDATION_CLIPS = 64
_CLIP_LENGTHS = (1, 2, 3, 5, 9)  # that files are calibrated with
_SCALE = np.float32(1 / 255)


@dataclass(frozen=True)
class ClipBatches(Batches):
    """So many batches of noisy clips an epoch: see `clip_batch`."""

    photos: Sequence[NDArray[np.uint8]]
    noise: ClipNoise
    frames: int
    patch: int
    batch: int
    steps: int
    seed: tuple[int, ...]
    weighted: bool = True

    def __len__(self) -> int:
        return self.steps

    def draw(self, epoch: int, step: int) -> Batch:
        rng = np.random.default_rng((*self.seed, epoch, step))
        clips = self.noise.draw(self.photos, self.batch, self.frames, self.patch, rng)
        inputs, targets = clip_batch(clips)
        return inputs, targets, loss_weights(255 * (inputs["image"] - targets)) if self.weighted else None


@dataclass(frozen=True)
class ClipData(PhotoData):
    """A folder of photographs, from which clips of moving views are drawn.

    Attributes:
        frames: of a clip; what was seen before it comes from up to 32 frames more.
    """

    frames: int = 4

    kind: ClassVar[str] = "clips"
    noise_type: ClassVar[type] = ClipNoise

    def batches(self, recipe: Recipe, phase: Phase, splits: PhotoSet, *, seed: int) -> Batches:
        return ClipBatches(
            splits.training,
            cast(ClipNoise, recipe.noise),
            self.frames,
            self.patch,
            phase.batch,
            phase.steps_per_epoch or len(splits.training),
            (seed, phase.key),
            weighted=phase.loss != "log_mse_and_means",
        )

    def training_model(self, model: keras.Model) -> keras.Model:
        """Unroll the step of a video denoiser over the frames of a clip."""
        from quietframe_train.models.video import unrolled

        return unrolled(model, self.frames, self.patch)

    def validation(self, recipe: Recipe, splits: PhotoSet, *, seed: int) -> Mapping[str, Batch]:
        """Draw clips of validation photographs, those of a still camera and moving ones apart."""
        noise = cast(ClipNoise, recipe.noise)
        kinds = {
            "still": replace(noise, still_share=1.0, object_share=0.0),
            "moving": replace(noise, still_share=0.0),
            "objects": replace(noise, still_share=1.0, object_share=1.0),
        }
        drawn = {
            name: each.draw(splits.validation, _VALIDATION_CLIPS, self.frames, self.patch, np.random.default_rng(seed))
            for name, each in kinds.items()
        }
        return {name: (*clip_batch(clips), None) for name, clips in drawn.items()}

    def calibration(
        self, recipe: Recipe, splits: PhotoSet, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[NoisyFrame]:
        """Draw the last frames of clips, with those before them."""
        noise, frames = cast(ClipNoise, recipe.noise), list[NoisyFrame]()
        for _ in range(CALIBRATION_PATCHES):
            *before, frame = noise.clip(splits.training, int(rng.choice(_CLIP_LENGTHS)), rng)[1]
            frames.append(NoisyFrame(frame, noise.camera.given_level(frame, rng), before))
        return frames

    def held_out(
        self, recipe: Recipe, splits: PhotoSet, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[Sample]:
        """Draw the last frames of still and of moving clips at each noise level."""
        noise, samples = cast(ClipNoise, recipe.noise), list[Sample]()
        for sigma_255 in VALIDATION_SIGMAS_255:
            for index in range(HELD_OUT_FRAMES // 2):
                kind = replace(noise, still_share=float(index % 2), light_share=0.0, cut_share=0.0)
                scene = kind.scene(splits.validation, max(_CLIP_LENGTHS), rng)
                *before, frame = (add_gaussian(each, sigma_255, rng) for each in scene)
                samples.append(Sample(frame, scene[-1], group=f"sigma {sigma_255:g}", before=before))
        return samples

    def card_fields(self, recipe: Recipe, model: keras.Model) -> Mapping[str, Any]:
        fields = super().card_fields(recipe, model)
        image, sigma = fields["inputs"]
        state = TensorSpec("state", "state", "NHWC", 3, (0.0, 1.0), "BGR")
        confidence = TensorSpec("confidence", "confidence", "NHWC", 1, (0.0, 1.0), stride=2)
        weight = replace(confidence, name="weight", role="weight")
        return {**fields, "inputs": (image, state, confidence, sigma), "states": (weight,)}

    def evaluate(self, model: keras.Model, recipe: Recipe, splits: PhotoSet, terms: DataTerms) -> list[Metric]:
        from quietframe_train.evaluate import measure_clips

        return measure_clips(model, cast(ClipNoise, recipe.noise), splits.validation, f"{terms.name} validation")

    def samples(self, model: keras.Model, recipe: Recipe, splits: PhotoSet) -> Figure:
        from quietframe_train.figures import clips_figure

        return clips_figure(model, recipe, splits.validation)


def clip_batch(clips: Clips) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    """Scale clips as an unrolled model takes them, the frames of each one below the other.

    Inputs: `image` (batch, frames · patch, patch, 3) float32 in [0, 1]; `flow` (batch, frames · patch, patch, 2);
    `state` (batch, patch, patch, 3); `confidence` (batch, patch / 2, patch / 2, 1); `sigma`
    (batch, patch / 4, patch / 4, 1). Targets: as `image`.
    """
    count, frames, patch = clips.clean.shape[:3]
    below = count, frames * patch, patch, -1

    def filled(values: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
        return np.broadcast_to(values.reshape(-1, 1, 1, 1), (count, patch // stride, patch // stride, 1))

    inputs = {
        "image": clips.noisy.reshape(below) * _SCALE,
        "flow": clips.flow.reshape(below),
        "state": clips.state * _SCALE,
        "confidence": filled(clips.confidence, 2),
        "sigma": filled(clips.sigma_255 * _SCALE, LEVEL_STRIDE),
    }
    return inputs, clips.clean.reshape(below) * _SCALE
