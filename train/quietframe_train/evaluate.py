"""Measure a trained model as a device meets it: 8-bit noisy images in, 8-bit images out."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from quietframe.card import Metric
from quietframe.noise import add_gaussian, to_uint8
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.formats import FORMATS, deliver_noisy
from quietframe.quality import mean_psnr_db, psnr_db, ssim
from quietframe.tasks.motion import MotionEstimator, at_size, warp
from quietframe.tasks.video import next_confidence
from quietframe_train.camera_noise import LEVEL_STRIDE, middle
from quietframe_train.clips import ClipNoise
from quietframe_train.corruption import ImageCorruption
from quietframe_train.data.images import ImageSet
from quietframe_train.models import GEOMETRIES
from quietframe_train.recipe import Recipe
from quietframe_train.signals import check_interrupted

NOISE_SEED = 20_260_000
"""Of the noise on test images: the same for every training, so that runs compare."""

_BATCH_PIXELS = 2**19  # in one prediction
_CLIPS, _CLIP_FRAMES, _CLIP_SKIP = 4, 16, 6
_PHOTO_SIDE = 384  # in pixels; of larger photographs the middle is measured


def measure_images(model: keras.Model, recipe: Recipe, test: ImageSet, name: str) -> list[Metric]:
    """Measure a model on images of one size, under each noise of the recipe.

    Classifiers: `accuracy`. Denoisers: `psnr_db` and `ssim` of 8-bit results; `mse`, `bce` (binary cross-entropy) and
    `rmse` (the mean of each image's) of float results; and the same of the noisy images.

    name: of the set.
    """
    metrics: list[Metric] = []
    for noise in recipe.measured_with:
        check_interrupted()
        noisy = noisy_images(test, noise)
        denoised, scores = split_outputs(recipe, predict(model, noisy))
        before = None if denoised is None else fidelity(test, np.clip(noisy, 0, 1))
        metrics += measure_results(test, name, noise.key, denoised, scores, before)
    return metrics


def measure_results(
    test: ImageSet,
    name: str,
    noise: str,
    denoised: NDArray[np.float32] | None,
    scores: NDArray[np.float32] | None,
    before: Mapping[str, float] | None = None,
) -> list[Metric]:
    """Measure a model's results under one noise.

    test: the clean images. name: of the set. noise: its key. denoised: float images in [0, 1], and scores: (images,
    classes); None where the model gives none. before: the `fidelity` of the noisy images, where it was measured.
    """
    metrics = []
    if denoised is not None:
        of_results = fidelity(test, denoised).items()
        metrics = [Metric(name, measure, value, noise, (before or {}).get(measure)) for measure, value in of_results]
    if scores is not None:
        metrics.append(Metric(name, "accuracy", float(np.mean(scores.argmax(axis=1) == test.labels)), noise))
    return metrics


def split_outputs(
    recipe: Recipe, results: Sequence[NDArray[np.float32]]
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Split a model's outputs into denoised images and scores; None for what its task does not give."""
    if recipe.task == "denoise+classify":
        return results[0], results[1]
    return (results[0], None) if recipe.task == "denoise" else (None, results[0])


def predict(model: keras.Model, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Predict each output of a model for (N, height, width, channels) float32 images."""
    batch = max(1, _BATCH_PIXELS // (images.shape[1] * images.shape[2]))
    results: Any = model.predict(images, batch_size=batch, verbose=0)
    return results if isinstance(results, list) else [results]


def noisy_images(images: ImageSet, noise: ImageCorruption) -> NDArray[np.float32]:
    """Add noise to images, the same at every call, in steps of 1/255 as a device meets them.

    Noise that is not clipped cannot be met in 8 bits: it stays as it is.
    """
    noisy = noise.apply(images.scaled(), np.random.default_rng((NOISE_SEED, zlib.crc32(noise.key.encode()))))
    if noisy.min() < 0 or noisy.max() > 1:
        return noisy
    return to_uint8(255 * noisy) * np.float32(1 / 255)


def denoise_photo(model: keras.Model, recipe: Recipe, noisy: NDArray[np.uint8], sigma_255: float) -> NDArray[np.uint8]:
    """Denoise a frame of any size with a camera model, padded by reflection to the multiple that it needs.

    noisy: (H, W, 3) uint8 BGR. sigma_255: noise level in 8-bit levels. Returns the same shape and dtype.
    """
    multiple, _ = GEOMETRIES[recipe.model.builder](**recipe.model.options)
    height, width = noisy.shape[:2]
    padded = np.pad(noisy, ((0, -height % multiple), (0, -width % multiple), (0, 0)), mode="reflect")
    inputs = {
        "image": padded[None] * np.float32(1 / 255),
        "sigma": np.full((1, *(side // LEVEL_STRIDE for side in padded.shape[:2]), 1), sigma_255 / 255, np.float32),
    }
    result: NDArray[np.float32] = keras.ops.convert_to_numpy(model(inputs, training=False))
    return to_uint8(255 * result[0, :height, :width])


def fidelity(test: ImageSet, images: NDArray[np.float32]) -> dict[str, float]:
    """Measure float images in [0, 1] against the clean ones."""
    clean = test.scaled()
    pairs = list(zip(test.images, to_uint8(255 * images), strict=True))
    squared = np.mean((images - clean) ** 2, axis=(1, 2, 3))
    inside = np.clip(images, np.float32(1e-7), np.float32(1 - 1e-7))  # as in Keras' binary cross-entropy
    return {
        "psnr_db": mean_psnr_db(pairs),
        "ssim": float(np.mean([ssim(*pair) for pair in pairs])),
        "mse": float(np.mean(squared)),
        "bce": float(-np.mean(clean * np.log(inside) + (1 - clean) * np.log1p(-inside))),
        "rmse": float(np.mean(np.sqrt(squared))),
    }


def measure_photos(
    model: keras.Model, recipe: Recipe, photos: Sequence[NDArray[np.uint8]], sigmas_255: Sequence[float], name: str
) -> list[Metric]:
    """Measure a camera model on photographs in every format and level: mean PSNR, blind, and the noisy frames' own.

    The level is what the runtime's estimator reads, the reference the photograph before noise and format; sigma 0 is a
    clean frame in that format.

    name: of the set.
    """
    metrics = []
    clean = [middle(photo, _PHOTO_SIDE) for photo in photos]
    for number, (form, sigma_255) in enumerate(itertools.product(FORMATS.values(), sigmas_255)):
        check_interrupted()
        noisy = [
            deliver_noisy(frame, sigma_255, form, np.random.default_rng((NOISE_SEED, number, index)))
            for index, frame in enumerate(clean)
        ]
        denoised = [denoise_photo(model, recipe, frame, estimate_noise(frame)) for frame in noisy]
        after, before = (mean_psnr_db(zip(clean, frames, strict=True)) for frames in (denoised, noisy))
        metrics.append(Metric(name, "psnr_db", after, f"{form.name}, sigma {sigma_255:g}", before))
    return metrics


def measure_clips(model: keras.Model, noise: ClipNoise, photos: Sequence[NDArray[np.uint8]], name: str) -> list[Metric]:
    """Measure a video model on clips that are drawn from photographs: mean PSNR from the 7th frame on, blind.

    Four clips of each kind, of fewer photographs as many: still, moving, and still with something that moves before it.
    name: of the set.
    """
    metrics = []
    kinds = {
        "still": replace(noise, still_share=1.0, object_share=0.0, light_share=0.0, cut_share=0.0),
        "moving": replace(noise, still_share=0.0, object_share=0.0, light_share=0.0, cut_share=0.0),
        "objects": replace(noise, still_share=1.0, object_share=1.0, light_share=0.0, cut_share=0.0),
    }
    for kind, each in kinds.items():
        scenes = []
        for index in range(min(_CLIPS, len(photos))):
            rng = np.random.default_rng((NOISE_SEED, index))
            scenes.append(each.scene([photos[index % len(photos)]], _CLIP_FRAMES, rng))
        for form, sigma_255 in itertools.product(("rgb", "jpeg-95-420", "h264-20"), (10.0, 25.0, 50.0)):
            check_interrupted()
            after, before = [], []
            for index, scene in enumerate(scenes):
                rng = np.random.default_rng((NOISE_SEED, index, int(sigma_255)))
                seen = FORMATS[form].deliver_clip([add_gaussian(frame, sigma_255, rng) for frame in scene])
                results = denoise_clip(model, seen)
                after += [psnr_db(scene[at], results[at]) for at in range(_CLIP_SKIP, len(scene))]
                before += [psnr_db(scene[at], seen[at]) for at in range(_CLIP_SKIP, len(scene))]
            noise_name = f"{kind}, {form}, sigma {sigma_255:g}"
            metrics.append(Metric(name, "psnr_db", float(np.mean(after)), noise_name, float(np.mean(before))))
    return metrics


def denoise_clip(
    model: keras.Model, frames: Sequence[NDArray[np.uint8]], *, align: bool = True
) -> list[NDArray[np.uint8]]:
    """Denoise a clip as the runtime does, in floats. frames: (H, W, 3) uint8 BGR, sides multiples of the model's."""
    height, width = frames[0].shape[:2]
    state, confidence = frames[0].astype(np.float32), np.zeros((height // 2, width // 2), np.float32)
    estimator, results = MotionEstimator(), list[NDArray[np.uint8]]()
    for frame in frames:
        level_255 = estimate_noise(frame)
        if results and align:
            flow = estimator(frame, results[-1], level_255).flow
            if flow is not None:
                state = warp(state, at_size(flow, (height, width)))
                confidence = warp(confidence, at_size(flow, (height, width), 2))
        inputs = {
            "image": frame[None] * np.float32(1 / 255),
            "state": state[None] * np.float32(1 / 255),
            "confidence": confidence[None, :, :, None],
            "sigma": np.full((1, height // 4, width // 4, 1), level_255 / 255, np.float32),
        }
        result, weight = (each[0] for each in model.predict_on_batch(inputs))
        weight = weight[:, :, 0]
        results.append(to_uint8(255 * result))
        confidence = next_confidence(confidence, weight)
        each = weight.repeat(2, axis=0).repeat(2, axis=1)[:, :, None]
        state = frame + each * (state - frame)
    return results
