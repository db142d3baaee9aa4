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
from quietframe_train.data.base import Batch, NoisyFrame, Sample, Splits
from quietframe_train.data.photos import CALIBRATION_PATCHES, HELD_OUT_FRAMES, PhotoData, filled_maps

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from quietframe_train.recipe import Recipe

_VALIDATION_CLIPS = 64
_CLIP_LENGTHS = (1, 2, 3, 5, 9)  # that files are calibrated with
_SCALE = np.float32(1 / 255)


@dataclass(frozen=True)
class ClipData(PhotoData):
    """A folder of photographs, from which clips of moving views are drawn.

    Attributes:
        frames: of a clip; what was seen before it comes from up to 32 frames more.
    """

    frames: int = 4

    kind: ClassVar[str] = "clips"
    noise_type: ClassVar[type] = ClipNoise

    def draw(
        self, photos: Sequence[NDArray[np.uint8]], noise: Any, count: int, rng: np.random.Generator
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Draw a batch; see `clip_batch`."""
        return clip_batch(noise.draw(photos, count, self.frames, self.patch, rng))

    def training_model(self, model: keras.Model) -> keras.Model:
        """Unroll the step of a video denoiser over the frames of a clip."""
        from quietframe_train.models.video import unrolled

        return unrolled(model, self.frames, self.patch)

    def validation(self, recipe: Recipe, splits: Splits, *, seed: int) -> Mapping[str, Batch]:
        """Draw clips of validation photographs, those of a still camera and moving ones apart."""
        noise = cast(ClipNoise, recipe.noise)
        kinds = {
            "still": replace(noise, still_share=1.0, object_share=0.0),
            "moving": replace(noise, still_share=0.0),
            "objects": replace(noise, still_share=1.0, object_share=1.0),
        }
        return {
            name: (*self.draw(splits.validation, each, _VALIDATION_CLIPS, np.random.default_rng(seed)), None)
            for name, each in kinds.items()
        }

    def calibration(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[NoisyFrame]:
        """Draw the last frames of clips, with those before them."""
        noise, frames = cast(ClipNoise, recipe.noise), list[NoisyFrame]()
        for _ in range(CALIBRATION_PATCHES):
            *before, frame = noise.clip(splits.training, int(rng.choice(_CLIP_LENGTHS)), rng)[1]
            frames.append(NoisyFrame(frame, noise.camera.given_level(frame, rng), before))
        return frames

    def held_out(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
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

    def evaluate(self, model: keras.Model, recipe: Recipe, splits: Splits, terms: DataTerms) -> list[Metric]:
        from quietframe_train.evaluate import measure_clips

        return measure_clips(model, recipe, splits.validation, f"{terms.name} validation")

    def samples(self, model: keras.Model, recipe: Recipe, splits: Splits) -> Figure:
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
    inputs = {
        "image": clips.noisy.reshape(below) * _SCALE,
        "flow": clips.flow.reshape(below),
        "state": clips.state * _SCALE,
        "confidence": filled_maps(clips.confidence, patch // 2),
        "sigma": filled_maps(clips.sigma_255 * _SCALE, patch // LEVEL_STRIDE),
    }
    return inputs, clips.clean.reshape(below) * _SCALE
