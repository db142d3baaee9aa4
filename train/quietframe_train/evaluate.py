"""Measure a trained model as a device meets it: 8-bit noisy images in, 8-bit images out."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import keras
import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms, Metric, ModelCard
from quietframe.engines import TensorInfo
from quietframe.noise import add_gaussian, to_uint8
from quietframe.noise.formats import FORMATS, deliver_noisy
from quietframe.quality import mean_psnr_db, psnr_db, ssim
from quietframe.tasks import Denoiser, open_denoiser
from quietframe_train.camera_noise import middle
from quietframe_train.clips import ClipNoise
from quietframe_train.corruption import ImageCorruption
from quietframe_train.data.images import ImageSet
from quietframe_train.data.photos import smallest_side
from quietframe_train.own_camera import OwnCameraNoise
from quietframe_train.recipe import Recipe
from quietframe_train.signals import check_interrupted

NOISE_SEED = 20_260_000
"""Of the noise on test images: the same for every training, so that runs compare."""

_BATCH_PIXELS = 2**19  # in one prediction
_CLIPS, _CLIP_FRAMES, _CLIP_SKIP = 4, 16, 6
_PHOTO_SIGMAS_255 = (0.0, 10.0, 25.0, 50.0)
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


def measure_photos(model: keras.Model, recipe: Recipe, photos: Sequence[NDArray[np.uint8]], name: str) -> list[Metric]:
    """Measure a camera model on photographs in every format and level: mean PSNR, blind, and the noisy frames' own.

    The level is what the runtime's estimator reads, the reference the photograph before noise and format; sigma 0 is a
    clean frame in that format.

    name: of the set.
    """
    metrics, denoise = [], open_trained(model, recipe)
    clean = [middle(photo, _PHOTO_SIDE) for photo in photos]
    for number, (form, sigma_255) in enumerate(itertools.product(FORMATS.values(), _PHOTO_SIGMAS_255)):
        check_interrupted()
        noisy = [
            deliver_noisy(frame, sigma_255, form, np.random.default_rng((NOISE_SEED, number, index)))
            for index, frame in enumerate(clean)
        ]
        denoised = [denoise(frame) for frame in noisy]
        after, before = (mean_psnr_db(zip(clean, frames, strict=True)) for frames in (denoised, noisy))
        metrics.append(Metric(name, "psnr_db", after, f"{form.name}, sigma {sigma_255:g}", before))
    if isinstance(recipe.noise, OwnCameraNoise):
        drawn = recipe.noise.validation(clean, min(smallest_side(clean), _PHOTO_SIDE), seed=NOISE_SEED)
        before = mean_psnr_db(zip(drawn.clean, drawn.noisy, strict=True))
        for what, denoiser in ((recipe.starts_from, Denoiser(recipe.starts_from)), ("this model", denoise)):
            after = mean_psnr_db(zip(drawn.clean, map(denoiser, drawn.noisy), strict=True))
            metrics.append(Metric(name, "psnr_db", after, f"own camera, {what}", before))
    return metrics


def measure_clips(model: keras.Model, recipe: Recipe, photos: Sequence[NDArray[np.uint8]], name: str) -> list[Metric]:
    """Measure a video model on clips that are drawn from photographs: mean PSNR from the 7th frame on, blind.

    Four clips of each kind, of fewer photographs as many: still, moving, and still with something that moves before it.
    name: of the set.
    """
    metrics, denoise = [], open_trained(model, recipe)
    plain = replace(cast(ClipNoise, recipe.noise), object_share=0.0, light_share=0.0, cut_share=0.0)
    kinds = {
        "still": replace(plain, still_share=1.0),
        "moving": replace(plain, still_share=0.0),
        "objects": replace(plain, still_share=1.0, object_share=1.0),
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
                denoise.reset()
                results = [denoise(frame) for frame in seen]
                after += [psnr_db(scene[at], results[at]) for at in range(_CLIP_SKIP, len(scene))]
                before += [psnr_db(scene[at], seen[at]) for at in range(_CLIP_SKIP, len(scene))]
            noise_name = f"{kind}, {form}, sigma {sigma_255:g}"
            metrics.append(Metric(name, "psnr_db", float(np.mean(after)), noise_name, float(np.mean(before))))
    return metrics


def open_trained(model: keras.Model, recipe: Recipe) -> Denoiser:
    """Open a camera or video model in the runtime, which measures it as it is used.

    Returns a `Denoiser`, or a `VideoDenoiser` of a model that remembers.
    """
    fields = dict(recipe.data.card_fields(recipe, model))
    image = fields["inputs"][0]
    card = ModelCard(
        name=recipe.name,
        task=recipe.task,
        recipe=recipe.name,
        precision="fp32",
        outputs=(replace(image, name="denoised"), *fields.pop("states", ())),
        noise=recipe.noise.describe(),
        data=DataTerms("", ""),
        parameters=model.count_params(),
        macs_per_pixel=0.0,
        license="",
        **fields,
    )
    return open_denoiser(_KerasEngine(model, card), card=card)


class _KerasEngine:
    """A Keras model as an engine. The frames of a clip have one size; for photographs nothing is compiled for each."""

    card_json = None

    def __init__(self, model: keras.Model, card: ModelCard) -> None:
        self._predict = model.predict_on_batch if card.has_state else partial(model, training=False)
        self.inputs = {tensor.name: _info(tensor.name, tensor) for tensor in model.inputs}
        names = [spec.name for spec in card.outputs]
        self.outputs = {name: _info(name, tensor) for name, tensor in zip(names, model.outputs, strict=True)}

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once. See `quietframe.engines.Engine.run`."""
        results = keras.tree.flatten(self._predict(dict(inputs)))
        return dict(zip(self.outputs, map(keras.ops.convert_to_numpy, results), strict=True))


def _info(name: str, tensor: keras.KerasTensor) -> TensorInfo:
    return TensorInfo(name, tuple(tensor.shape), np.dtype(np.float32))
