"""Measure exported files on the test set, beside what training measured there with Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietframe.card import Metric, ModelCard
from quietframe.cpu import physical_cores
from quietframe.noise import to_uint8
from quietframe.tasks.base import batch_size, open_model, run_each
from quietframe.tasks.tensors import dequantize, encode_image
from quietframe_export.formats import Target
from quietframe_train.data.images import ImageSet, as_frame, even_indices, max_count_for_budget
from quietframe_train.evaluate import measure_results, noisy_images
from quietframe_train.recipe import Recipe


@dataclass(frozen=True)
class TestSet:
    """Images that neither the training nor the gate uses.

    Attributes:
        name: as metrics.json and the card call it.
        recipe: says which noises they are measured with.
        keras: what training measured on the set.
    """

    __test__ = False  # not a test case for pytest

    name: str
    images: ImageSet
    recipe: Recipe
    keras: Sequence[Metric]

    @cached_property
    def noisy(self) -> Mapping[str, NDArray[Any]]:
        """Map the key of each noise to the images with it: the same for every file.

        (N, height, width, channels): uint8, or float32 as drawn where the noise is not clipped.
        """
        found = {noise.key: noisy_images(self.images, noise) for noise in self.recipe.measured_with}
        return {
            key: to_uint8(255 * images) if images.min() >= 0 and images.max() <= 1 else images
            for key, images in found.items()
        }


class Measured(NamedTuple):
    """What a file reached on the test set, and on how many of its images."""

    metrics: Sequence[Metric]
    images: int


def measure(path: Path, card: ModelCard, test: TestSet, target: Target) -> Measured:
    """Measure a file on the test set as training measured the model, by `quietframe_train.evaluate.measure_results`.

    The runtime's engine runs the file; integers that it gives count as the numbers that they stand for. Noise that is
    not clipped fits no 8-bit image: files with float activations are given its numbers as they are, the others are not
    measured with it. Where the target limits the work, a part of a large model's test set is measured.
    """
    noisy = {
        key: all_of for key, all_of in test.noisy.items() if all_of.dtype == np.uint8 or not target.only_8_bit_images
    }
    images, index = test.images, np.arange(len(test.images))
    if target.max_test_macs is not None and noisy:
        count = max_count_for_budget(images, len(images), target.max_test_macs / len(noisy), card.macs_per_pixel)
        index = even_indices(len(images), count)
        images = images.chosen(index)
    part = "" if len(images) == len(test.images) else f", {len(images)} of {len(test.images)}"
    metrics: list[Metric] = []
    for key, all_of in noisy.items():
        results = _run(path, card, all_of[index])
        metrics += measure_results(images, f"{test.name}{part}", key, results.get("image"), results.get("scores"))
    return Measured(metrics, len(images))


def _run(path: Path, card: ModelCard, noisy: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Return the file's outputs for images of its own size, by role, float32 with the images' axis first.

    Each core runs a part of the images: small models and int16x8 ones make little use of a second thread.
    """
    parts = [part for part in np.array_split(noisy, physical_cores()) if len(part)]
    with ThreadPoolExecutor(len(parts)) as pool:
        found = list(pool.map(partial(_run_part, path, card), parts))
    return {role: np.concatenate([of_part[role] for of_part in found]) for role in found[0]}


def _run_part(path: Path, card: ModelCard, noisy: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    engine, _ = open_model(path, card=card, threads=1)
    spec = card.inputs[0]
    info = engine.inputs[spec.name]
    found: dict[str, list[NDArray[np.float32]]] = {out.role: [] for out in card.outputs}
    tensors = (
        encode_image(as_frame(image), spec, info)
        if image.dtype == np.uint8
        else (image.transpose(2, 0, 1) if spec.layout == "NCHW" else image)[None]
        for image in noisy
    )
    for results in run_each(engine, ({spec.name: tensor} for tensor in tensors), batch_size(engine, card)):
        for out in card.outputs:
            values = dequantize(results[out.name], engine.outputs[out.name])[0]
            found[out.role].append(values.transpose(1, 2, 0) if out.layout == "NCHW" else values)
    return {role: np.stack(values) for role, values in found.items()}
