"""Classification: an image in, a label and its score out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard, Task, TensorSpec
from quietframe.engines import Engine
from quietframe.errors import ModelLoadError
from quietframe.tasks.base import Color, Inputs, ModelTask
from quietframe.tasks.fit import Placement, place
from quietframe.tasks.tensors import dequantize, encode_image, from_bgr, to_bgr


@dataclass(frozen=True)
class Classification:
    """A classifier's answer.

    Attributes:
        label: the likeliest class.
        score: its score, in [0, 1].
        scores: every label's score, in the model's order; of a label that repeats, its greatest.
        index: of the likeliest class, from 0: it tells apart labels that repeat.
        values: every class's score, in the model's order.
    """

    label: str
    score: float
    scores: Mapping[str, float]
    index: int
    values: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True)
class DenoiseClassification(Classification):
    """The answer of a model that denoises and classifies; the image counts neither in `==` nor in `repr`.

    Attributes:
        image: the denoised image at the model's own size: (h, w, 3) uint8 in the classifier's `color`, or (h, w) gray.
    """

    image: NDArray[np.uint8] = field(repr=False, compare=False)


class Classifier(ModelTask[Classification]):
    """Classifies images with a model file. For `with`, `close`, `batch`, threads and pickling see `ModelTask`.

    Args:
        model: a name from `quietframe models`, a path to a .tflite, .onnx or .xml file, or an engine.
        threads: CPU threads; None: as many as there are physical cores.
        card: a card, or the JSON file of one, to override the card in the file.
        color: the channel order of color images, `bgr` (OpenCV's) or `rgb`.

    Raises:
        ModelLoadError: the file cannot be used, or does not classify.
        MissingExtraError: the engine for this file is not installed.
        UsageError: threads out of range, or another color.
    """

    _TASKS: ClassVar[tuple[Task, ...]] = ("classify",)

    def __init__(
        self,
        model: str | Path | Engine = "digits",
        *,
        threads: int | None = None,
        card: ModelCard | str | Path | None = None,
        color: Color = "bgr",
    ) -> None:
        super().__init__(model, threads=threads, card=card, color=color)
        self._image, self._scores = _specs(self.card)

    def __call__(self, frame: NDArray[np.uint8]) -> Classification:
        """Classify one image.

        frame: (H, W, 3) uint8 in the order of `color`, (H, W, 4) with an alpha that is ignored, or (H, W) gray; any
        size: it is resized to the model's. Raises FrameError if the array is not an image.
        """
        return self._finish(next(self._run_each([self.prepare(frame)])))

    def _batch(self, frames: Sequence[NDArray[np.uint8]]) -> list[Classification]:
        return list(map(self._finish, self._run_each(map(self.prepare, frames))))

    def placement(self, height: int, width: int) -> Placement:
        """How images of that size meet the model: whole or resized."""
        return place(height, width, self.card.spatial)

    def prepare(self, frame: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        """Prepare what the engine is to run for an image: its inputs, in the model's colors and size."""
        image, _ = to_bgr(frame, self.color)
        if self._image.colour == "GRAY" and image.ndim == 3:
            image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        elif self._image.colour != "GRAY" and image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        (part,) = self.placement(image.shape[0], image.shape[1]).cut(image)
        return {self._image.name: encode_image(part, self._image, self.engine.inputs[self._image.name])}

    def _finish(self, results: Inputs) -> Classification:
        """The answer, from the engine's results."""
        scores = dequantize(results[self._scores.name], self.engine.outputs[self._scores.name])
        if not np.isfinite(scores).all():
            raise ModelLoadError(f"{self.card.name}: the scores hold NaN or infinity")
        if self.card.softmax:
            powers = np.exp(scores.astype(np.float64) - scores.max())
            scores = powers / powers.sum()
        values = tuple(map(float, scores.reshape(-1)))
        labels = self.card.labels
        if len(values) != len(labels):
            raise ModelLoadError(f"{self.card.name}: the model gave {len(values)} scores for {len(labels)} labels")
        best = int(np.argmax(values))
        greatest: dict[str, float] = {}
        for label, value in zip(labels, values, strict=True):
            greatest[label] = max(value, greatest.get(label, value))
        return Classification(labels[best], values[best], greatest, best, values)


class DenoiseClassifier(Classifier):
    """Denoises and classifies with one model file that does both. Arguments and errors as of `Classifier`."""

    _TASKS = ("classify", "denoise")

    def __call__(self, frame: NDArray[np.uint8]) -> DenoiseClassification:
        """Denoise and classify one image, in a single run of the model. See `Classifier`."""
        return self._finish(next(self._run_each([self.prepare(frame)])))

    def _finish(self, results: Inputs) -> DenoiseClassification:
        answer = super()._finish(results)
        spec = self.card.tensor("image", "outputs")
        assert spec is not None  # the card was checked when it was built
        clean = self._image_of(results[spec.name], spec)
        return DenoiseClassification(**vars(answer), image=from_bgr(clean, None, self.color))


def _specs(card: ModelCard) -> tuple[TensorSpec, TensorSpec]:
    image, scores = card.tensor("image", "inputs"), card.tensor("scores", "outputs")
    assert image is not None and scores is not None  # the card was checked when it was built
    if card.spatial.fit == "tile":
        raise ModelLoadError(f"{card.name}: a classifier takes the whole image: the card's fit must be resize")
    if card.conditioning != "none":
        raise ModelLoadError(f"{card.name}: noise-conditioned classifiers are not supported")
    return image, scores
