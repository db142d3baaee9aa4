"""What is exported: a Keras model with its card, frames to calibrate with, and held-out frames to verify it on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.engines import Engine
from quietframe.errors import SourceError
from quietframe.tasks import Classifier, open_denoiser
from quietframe_export.cards import card_for_run, sha256, versions
from quietframe_export.draft import draft_for_keras
from quietframe_export.frames import parse_noise, read_frames
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.loading import load_keras
from quietframe_export.ranges import Range, ranges_for
from quietframe_export.test_set import TestSet
from quietframe_export.weights import round_weights
from quietframe_train.data.base import Sample
from quietframe_train.run_folder import load_run

EXAMPLES = 128

Inputs: TypeAlias = Mapping[str, NDArray[np.float32]]
"""A model's inputs by name, batch size 1."""


@dataclass(frozen=True)
class Subject:
    """A model ready to be exported.

    Attributes:
        engine: the Keras model behind the engine seam.
        card: its card, with precision fp32; the exporter fills in each file's own.
        calibration: example inputs; empty if there is no data.
        held_out: frames that were neither trained on nor calibrated with.
        calibrated_with, held_out_from: lines for the report.
        test: what the files that pass are measured on at the end, where there is such a set.
    """

    engine: KerasEngine
    card: ModelCard
    calibration: Sequence[Inputs]
    held_out: Sequence[Sample]
    calibrated_with: str
    held_out_from: str
    test: TestSet | None = None

    @cached_property
    def examples(self) -> Sequence[Sequence[NDArray[np.float32]]]:
        """Return the first calibration inputs, in the engine's order: enough to measure means and ranges with."""
        return [[inputs[name] for name in self.engine.inputs] for inputs in self.calibration[:EXAMPLES]]

    @cached_property
    def corrected(self) -> KerasEngine:
        """Return the model for files with 8-bit weights: rounded to their steps, where there are calibration frames."""
        if not self.examples:
            return self.engine
        return KerasEngine(round_weights(self.engine.model, self.examples), self.card)

    @cached_property
    def ranges(self) -> Mapping[str, Range]:
        """Return the ranges of the tensors of an int8 TFLite file, by layer name."""
        return ranges_for(self.corrected.model, self.card, self.examples)


def subject_from_run(
    folder: str | Path, *, data: str | Path | None = None, calibrate: str | Path | None = None, seed: int = 0
) -> Subject:
    """Prepare a finished run for export.

    Calibration frames come from the training split through the recipe's own noise, held-out frames from the
    validation split.

    Args:
        folder: the run folder.
        data: where its data are now; None: where they were when it was trained.
        calibrate: a folder of images to calibrate with, instead of the training split.
        seed: of the calibration and held-out noise.

    Raises SourceError: not a run folder, its data are gone, or they hold other classes than at the training.
    """
    run = load_run(folder)
    model = load_keras(run.model_path)
    recipe = run.recipe
    kind = recipe.data
    splits = kind.load(data or run.data_path, recipe, seed=run.seed, limit=run.limit)
    if run.classes and splits.classes != run.classes:
        theirs, ours = ", ".join(run.classes), ", ".join(splits.classes)
        raise SourceError(
            f"{run.folder}: trained on the classes {theirs}; the data hold {ours}: pass its own with --data"
        )
    labels = splits.classes if "classify" in recipe.task else ()
    card = card_for_run(run, model, sha256(run.model_path), labels=labels)
    rng = np.random.default_rng(seed)
    engine = KerasEngine(model, card)
    calibrating = splits if calibrate is None else kind.replace_training(splits, calibrate)
    origin = kind.frames_from if calibrate is None else calibrate
    frames = kind.calibration(recipe, calibrating, card.macs_per_pixel, rng)
    samples = kind.held_out(recipe, splits, card.macs_per_pixel, rng)
    test = None
    if len(splits.test):
        name = f"{run.data.name} test"
        test = TestSet(name, splits.test, recipe, [metric for metric in run.measured if metric.set == name])
    return Subject(
        engine=engine,
        card=card,
        calibration=[encode(engine, card, *each) for each in frames],
        held_out=samples,
        calibrated_with=f"{len(frames)} frames from {origin}, noise: {recipe.noise.describe()}",
        held_out_from=f"{len(samples)} frames of the validation split",
        test=test,
    )


def subject_from_keras(
    path: str | Path,
    card: ModelCard | None = None,
    *,
    calibrate: str | Path,
    noise: str = "gaussian:25",
    unsafe: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] = lambda text: None,
) -> Subject:
    """Prepare any Keras model for export.

    Of the images, three quarters calibrate and a quarter is held out. For a denoiser they count as clean and get noise,
    unless they come in pairs; a classifier's files are compared with Keras' own answers.

    Args:
        path: the .keras or .h5 file.
        card: its card, whose precision, parameters and checksum do not matter; None: drafted, see `draft_card`.
        calibrate: images, in one of the forms that `read_frames` takes.
        noise: for a denoiser, what `parse_noise` takes.
        unsafe: also load Lambda layers, which are Python code that runs here.
        seed: of the noise and the patches.
        progress: called with one line for each field of a drafted card that is a guess.

    Raises ModelLoadError: the file cannot be loaded, or the card does not fit; SourceError: too few images; UsageError:
    another noise, or tensors that a card has to explain.
    """
    added = parse_noise(noise)
    model = load_keras(Path(path), unsafe=unsafe)
    if card is None:
        card, guesses = draft_for_keras(model, Path(path))
        for line in guesses:
            progress(f"guessed {line}")
    own = {"source_sha256": sha256(Path(path)), "created_with": versions(), "parameters": model.count_params()}
    card = replace(card, precision="fp32", **own)
    engine = KerasEngine(model, card)
    frames = read_frames(calibrate, card, added, np.random.default_rng(seed))
    level = None if frames.paired else added.sigma_255
    return Subject(
        engine=engine,
        card=card,
        calibration=[encode(engine, card, sample.frame, level) for sample in frames.calibration],
        held_out=frames.held_out,
        calibrated_with=f"{len(frames.calibration)} frames from {frames.origin}",
        held_out_from=f"{len(frames.held_out)} other frames from {frames.origin}",
    )


def encode(
    engine: Engine,
    card: ModelCard,
    frame: NDArray[np.uint8],
    sigma_255: float | None,
    before: Sequence[NDArray[np.uint8]] = (),
) -> Mapping[str, NDArray[np.float32]]:
    """Encode a frame and its noise level as the model's float tensors, with the runtime's own code.

    sigma_255: None: estimated. before: the frames that a model which remembers has seen.
    """
    if card.task == "classify":
        return Classifier(engine, card=card).prepare(frame)
    level = None if card.conditioning == "none" or sigma_255 is None else float(sigma_255)
    # A gray model takes a colour frame channel by channel, a tiled one in pieces: the first will do.
    denoise = open_denoiser(engine, card=card, sigma_255=level)
    for each in before:
        denoise(each)
    return next(denoise.prepare(frame))
