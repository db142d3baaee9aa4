"""What is exported: a Keras model with its card, frames to calibrate with, and held-out frames to prove it on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from quietframe.card import ModelCard
from quietframe.errors import ModelLoadError, UsageError
from quietframe.noise import add_gaussian
from quietframe.tasks import Classifier, Denoiser
from quietframe_export.cards import card_for_run, versions
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.test_set import TestSet
from quietframe_train.corruption import CameraNoise, NoNoise, NormalNoise
from quietframe_train.photos import cut_patches, load_photos
from quietframe_train.recipe import Recipe
from quietframe_train.run_folder import load_run
from quietframe_train.splits import ImageSet, ImageSplits, load_splits

CALIBRATION_FRAMES = 128
CALIBRATION_DIGITS = 1000
CALIBRATION_SIDE = 256
HELD_OUT_DIGITS = 5000
HELD_OUT_SIGMAS_255 = (5.0, 15.0, 25.0, 50.0)
HELD_OUT_FRAMES = 64


@dataclass(frozen=True)
class Sample:
    """One held-out frame.

    Attributes:
        frame: what the model is given: (H, W, 3) BGR or (H, W) gray, uint8.
        clean: for denoisers, the picture without noise, same shape and dtype.
        label: for classifiers, the right label; None where nobody knows it.
        group: what the frame stands for, such as `sigma 25`; results are also reported by group.
    """

    frame: NDArray[np.uint8]
    clean: NDArray[np.uint8] | None = None
    label: str | None = None
    group: str = ""


@dataclass(frozen=True)
class Subject:
    """A model ready to be exported.

    Attributes:
        engine: the Keras model behind the engine seam.
        card: its card, with precision fp32; the exporter fills in each file's own.
        calibration: example inputs by name, batch size 1, float32; empty if there is no data.
        held_out: frames that were neither trained on nor calibrated with.
        calibrated_with, held_out_from: one line each for the report.
        test: what the files that pass are measured on at the end, where there is such a set.
    """

    engine: KerasEngine
    card: ModelCard
    calibration: Sequence[Mapping[str, NDArray[np.float32]]]
    held_out: Sequence[Sample]
    calibrated_with: str
    held_out_from: str
    test: TestSet | None = None


def subject_from_run(
    folder: str | Path, *, data: str | Path | None = None, calibrate: str | Path | None = None, seed: int = 0
) -> Subject:
    """A finished training.

    Calibration frames come from the training split through the recipe's own noise, held-out frames from the
    validation split.

    Args:
        folder: the run folder.
        data: where its data are now; None: where they were when it was trained.
        calibrate: a folder of pictures to calibrate with, in place of the training split.
        seed: of the calibration and held-out noise.

    Raises:
        SourceError: not a run folder, or its data are gone.
    """
    run = load_run(folder)
    model = load_keras(run.folder / "model.keras")
    card = card_for_run(run, model, sha256(run.folder / "model.keras"))
    splits = load_splits(run.recipe, Path(data) if data else run.data_path, seed=run.seed, limit=run.limit)
    rng = np.random.default_rng(seed)
    engine = KerasEngine(model, card)
    if isinstance(splits, ImageSplits):
        if calibrate is not None:
            raise UsageError("--calibrate is for models of photographs: digits calibrate with their training split")
        frames = _noisy_digits(run.recipe, splits.training, CALIBRATION_DIGITS, rng)
        samples = _digit_samples(run.recipe, splits.validation, rng)
        origin = "training digits"
        name = f"{run.data.name} test"
        test = TestSet(name, splits.test, run.recipe, run.metrics.get("sets", {}).get(name, {}))
    else:
        photos = splits.training if calibrate is None else _pictures(calibrate)
        frames = _noisy_patches(run.recipe, photos, rng)
        samples = _photo_samples(splits.validation, rng)
        test = None
        origin = "training photographs" if calibrate is None else str(calibrate)
    return Subject(
        engine=engine,
        card=card,
        calibration=[encode(engine, card, frame, told) for frame, told in frames],
        held_out=samples,
        calibrated_with=f"{len(frames)} frames from {origin}, noise: {run.recipe.noise.describe()}",
        held_out_from=f"{len(samples)} frames of the validation split",
        test=test,
    )


def subject_from_keras(
    path: str | Path, card: ModelCard, *, calibrate: str | Path, noise_sigma_255: float = 25.0, seed: int = 0
) -> Subject:
    """Any Keras model, with a card that the user states.

    Of the pictures, three quarters calibrate and a quarter is held out. For a denoiser they count as clean and
    get Gaussian noise; a classifier's files are compared with Keras' own answers.

    Args:
        path: the .keras file.
        card: its card; the precision in it does not matter.
        calibrate: a folder of at least four pictures.
        noise_sigma_255: noise to add for a denoiser, in 8-bit levels.
        seed: of the noise and the patches.

    Raises:
        ModelLoadError: the file cannot be loaded, or the card does not fit.
        SourceError: too few pictures.
    """
    model = load_keras(Path(path))
    card = replace(
        card,
        precision="fp32",
        source_sha256=sha256(Path(path)),
        created_with=versions(),
        parameters=model.count_params(),
    )
    engine = KerasEngine(model, card)
    rng = np.random.default_rng(seed)
    photos = _pictures(calibrate)
    held_out = max(1, len(photos) // 4)
    sigma_255 = noise_sigma_255 if "denoise" in card.task else 0.0

    def frames(chosen: Sequence[NDArray[np.uint8]], count: int) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        patches = cut_patches(chosen, count, min(CALIBRATION_SIDE, _smallest_side(chosen)), rng)
        return [(add_gaussian(patch, sigma_255, rng), patch) for patch in patches]

    calibration = [encode(engine, card, frame, sigma_255) for frame, _ in frames(photos[held_out:], CALIBRATION_FRAMES)]
    samples = [
        Sample(frame=frame, clean=clean if sigma_255 else None)
        for frame, clean in frames(photos[:held_out], HELD_OUT_FRAMES)
    ]
    noise = f"Gaussian noise sigma {sigma_255:g}" if sigma_255 else "no noise added"
    return Subject(
        engine=engine,
        card=card,
        calibration=calibration,
        held_out=samples,
        calibrated_with=f"{len(calibration)} patches from {calibrate}, {noise}",
        held_out_from=f"{len(samples)} patches of {held_out} other pictures from {calibrate}, {noise}",
    )


def load_keras(path: Path) -> keras.Model:
    """Load a .keras file. Raises ModelLoadError if it is missing, damaged or holds layers that are not known."""
    import quietframe_train.layers  # noqa: F401  registers our layers

    if not path.is_file():
        raise ModelLoadError(f"{path}: no such file, expected a .keras model")
    try:
        model = keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError) as exc:
        raise ModelLoadError(f"{path}: not a Keras model that loads here ({str(exc).splitlines()[0]})") from exc
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ModelLoadError(f"{path}: only functional Keras models with known inputs can be exported")
    return model


def encode(
    engine: KerasEngine, card: ModelCard, frame: NDArray[np.uint8], sigma_255: float
) -> Mapping[str, NDArray[np.float32]]:
    """A frame and its noise level as the float tensors that the model takes, through the runtime's own code."""
    if card.task == "classify":
        return Classifier(engine, card=card).prepare(frame)
    told = None if card.conditioning == "none" else sigma_255
    # A gray model takes a colour frame channel by channel, a tiled one in pieces: the first will do.
    return Denoiser(engine, card=card, sigma_255=told).prepare(frame)[0]


def sha256(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pictures(folder: str | Path) -> Sequence[NDArray[np.uint8]]:
    photos = load_photos(folder, validation_share=0.5, smallest=32)
    return [*photos.validation, *photos.training]


def _smallest_side(photos: Sequence[NDArray[np.uint8]]) -> int:
    return min(min(photo.shape[:2]) for photo in photos)


def _noisy_patches(
    recipe: Recipe, photos: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> list[tuple[NDArray[np.uint8], float]]:
    assert isinstance(recipe.noise, CameraNoise)
    patches = cut_patches(photos, CALIBRATION_FRAMES, min(CALIBRATION_SIDE, _smallest_side(photos)), rng)
    noisy, told_255 = recipe.noise.apply(patches, rng)
    return [(frame, float(told)) for frame, told in zip(noisy, told_255, strict=True)]


def _photo_samples(photos: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> list[Sample]:
    """Every held-out photograph whole at each noise level, as often as it takes for enough frames."""
    rounds = -(-HELD_OUT_FRAMES // (len(photos) * len(HELD_OUT_SIGMAS_255)))
    return [
        Sample(frame=add_gaussian(photo, sigma_255, rng), clean=photo, group=f"sigma {sigma_255:g}")
        for sigma_255 in HELD_OUT_SIGMAS_255
        for photo in [*photos] * rounds
    ]


def _noisy_digits(
    recipe: Recipe, digits: ImageSet, count: int, rng: np.random.Generator
) -> list[tuple[NDArray[np.uint8], float]]:
    assert isinstance(recipe.noise, (NoNoise, NormalNoise))
    clean = digits.images[:count].astype(np.float32) * np.float32(1 / 255)
    noisy = recipe.noise.apply(clean, rng)
    return [(frame, 0.0) for frame in np.rint(noisy[..., 0] * 255).astype(np.uint8)]


def _digit_samples(recipe: Recipe, digits: ImageSet, rng: np.random.Generator) -> list[Sample]:
    count = min(len(digits.images), HELD_OUT_DIGITS)
    noisy = _noisy_digits(recipe, digits, count, rng)
    rows: Any = zip(noisy, digits.images[:count], digits.labels[:count], strict=True)
    return [Sample(frame=frame, clean=clean[..., 0], label=str(int(label))) for (frame, _), clean, label in rows]
