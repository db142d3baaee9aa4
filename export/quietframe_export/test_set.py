"""The test set, touched once more: what the exported file makes of it, beside what training measured with Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quietframe.card import ModelCard
from quietframe.quality import mean_psnr_db
from quietframe.tasks import Classifier, Denoiser
from quietframe_train.corruption import NormalNoise
from quietframe_train.digits import ImageSet
from quietframe_train.evaluate import noisy_digits
from quietframe_train.recipe import Recipe


@dataclass(frozen=True)
class TestSet:
    """ImageSet that decide nothing: not the training, not the gate.

    Attributes:
        name: as metrics.json and the card call it.
        digits: all of them.
        recipe: says the noise and its levels.
        keras: training's figures on the set, by name.
    """

    __test__ = False  # not a test case for pytest

    name: str
    digits: ImageSet
    recipe: Recipe
    keras: Mapping[str, float]


def measure(path: Path, card: ModelCard, test: TestSet) -> dict[str, float]:
    """A file's figures over the whole test set, run by the runtime, under the names that training gives them.

    Denoisers: `psnr_db_sigmaS` and `mse_sigmaS` at each of the recipe's test levels, on the noise that training
    used. Classifiers: `accuracy` on clean digits, in [0, 1].
    """
    digits = test.digits
    if card.task == "classify":
        classify = Classifier(path)
        right = [
            classify(image[..., 0]).label == str(label)
            for image, label in zip(digits.images, digits.labels, strict=True)
        ]
        return {"accuracy": float(np.mean(right))}
    assert isinstance(test.recipe.noise, NormalNoise)
    denoise = Denoiser(path)
    figures = {}
    for sigma in test.recipe.test_sigmas:
        noisy = noisy_digits(digits, replace(test.recipe.noise, sigma=sigma))
        clean = [image[..., 0] for image in digits.images]
        denoised = [denoise(image[..., 0]) for image in noisy]
        figures[f"psnr_db_sigma{sigma:g}"] = mean_psnr_db(zip(clean, denoised, strict=True))
        errors = (np.stack(denoised).astype(np.float32) - np.stack(clean)) / 255
        figures[f"mse_sigma{sigma:g}"] = float(np.mean(errors**2))
    return figures
