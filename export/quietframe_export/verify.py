"""Verify an exported file: the runtime runs it, and its results are compared with those of Keras on held-out frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.engines import Engine
from quietframe.quality import psnr_db
from quietframe.tasks import Classifier, open_denoiser
from quietframe_train.data.base import Sample


@dataclass(frozen=True)
class Answers:
    """A model's outputs on the held-out frames: denoised ones, uint8, and scores, (frames, labels) float32; or None."""

    images: Sequence[NDArray[np.uint8]] | None = None
    scores: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Comparison:
    """An exported file compared with Keras in one measure.

    Denoised frames are measured by mean PSNR in dB, over all frames and by group; scores by accuracy in percent,
    where unknown labels count Keras' own answers as right.

    Attributes:
        drop: keras − file.
        groups: by group, the figures `keras` and `file`.
        max_error_255: the greatest difference from Keras in any pixel (or score), in 8-bit levels.
        rms_error_255: the root mean square of these differences.
        psnr_to_keras_db: of images, their PSNR against those of Keras; None where they are equal.
        noisy: of images, what the frames themselves have before they are denoised.
        unit: `psnr_db` or `accuracy_percent`.
    """

    keras: float
    file: float
    drop: float
    groups: Mapping[str, Mapping[str, float]]
    max_error_255: float
    rms_error_255: float
    frames: int
    unit: str
    psnr_to_keras_db: float | None = None
    noisy: float | None = None


def answer(model: str | Path | Engine, card: ModelCard, samples: Sequence[Sample]) -> Answers:
    """Run a model on the held-out frames as a device would: the noise level is estimated.

    A model that denoises and classifies is run once for each, as it serves both tasks.
    """
    images = scores = None
    if "denoise" in card.task:
        denoise = open_denoiser(model, card=card)
        if card.has_state:
            images = []
            for sample in samples:
                denoise.reset()
                images.append([denoise(frame) for frame in (*sample.before, sample.frame)][-1])
        else:
            images = denoise.batch(sample.frame for sample in samples)
    if "classify" in card.task:
        classify = Classifier(model, card=card)
        found = classify.batch(sample.frame for sample in samples)
        scores = np.asarray([each.values for each in found], np.float32)
    return Answers(images, scores)


def compare(card: ModelCard, samples: Sequence[Sample], keras: Answers, file: Answers) -> tuple[Comparison, ...]:
    """Compare a file's outputs with those of Keras: one comparison for each task of the model."""
    found = []
    if keras.images is not None and file.images is not None:
        found.append(_compare_images(samples, keras.images, file.images))
    if keras.scores is not None and file.scores is not None:
        found.append(_compare_scores(card, samples, keras.scores, file.scores))
    return tuple(found)


def _compare_images(
    samples: Sequence[Sample], keras: Sequence[NDArray[np.uint8]], file: Sequence[NDArray[np.uint8]]
) -> Comparison:
    references = [
        reference if sample.clean is None else sample.clean for sample, reference in zip(samples, keras, strict=True)
    ]
    of_keras = [psnr_db(reference, image) for reference, image in zip(references, keras, strict=True)]
    of_file = [psnr_db(reference, image) for reference, image in zip(references, file, strict=True)]
    errors = [np.abs(a.astype(np.int16) - b) for a, b in zip(keras, file, strict=True)]
    squares = float(np.mean([np.mean(np.square(error, dtype=np.float64)) for error in errors]))
    between = 20 * math.log10(255) - 10 * math.log10(squares) if squares else None
    furthest = float(max(error.max() for error in errors))
    noisy = [psnr_db(sample.clean, sample.frame) for sample in samples if sample.clean is not None]
    return replace(
        _comparison(samples, of_keras, of_file, (furthest, squares**0.5), "psnr_db"),
        psnr_to_keras_db=between,
        noisy=float(np.mean(noisy)) if noisy and np.isfinite(noisy).all() else None,
    )


def _compare_scores(
    card: ModelCard, samples: Sequence[Sample], keras: NDArray[np.float32], file: NDArray[np.float32]
) -> Comparison:
    own, other = keras.argmax(axis=1), file.argmax(axis=1)
    classes = [  # those that count as right: a label may repeat
        {found} if sample.label is None else {index for index, label in enumerate(card.labels) if label == sample.label}
        for found, sample in zip(own, samples, strict=True)
    ]
    of_keras, of_file = (
        [100.0 * (answer in right) for answer, right in zip(answers, classes, strict=True)] for answers in (own, other)
    )
    errors = 255 * np.abs(keras - file)
    distance = float(errors.max()), float(np.mean(np.square(errors))) ** 0.5
    return _comparison(samples, of_keras, of_file, distance, "accuracy_percent")


def _comparison(
    samples: Sequence[Sample], keras: Any, file: Any, distance_255: tuple[float, float], unit: str
) -> Comparison:
    of_keras, of_file = np.asarray(keras, float), np.asarray(file, float)
    names = np.asarray([sample.group for sample in samples])
    groups = {
        str(name): {"keras": float(of_keras[names == name].mean()), "file": float(of_file[names == name].mean())}
        for name in dict.fromkeys(names)
        if name
    }
    keras_mean, file_mean = float(of_keras.mean()), float(of_file.mean())
    return Comparison(keras_mean, file_mean, keras_mean - file_mean, groups, *distance_255, len(samples), unit)
