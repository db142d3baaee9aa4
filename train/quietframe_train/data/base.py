"""What every kind of data can do. A new kind is one subclass of `Data` in a file of its own."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms, Metric
from quietframe.errors import UsageError

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from quietframe_train.recipe import Phase, Recipe

UNKNOWN_TERMS = "unknown: not stated when the model was trained"

Batch: TypeAlias = tuple[Any, NDArray[Any], NDArray[np.float32] | None]
"""Model inputs (an array, or a dictionary by input name), targets, and the weight of each sample's loss."""


class NoisyFrame(NamedTuple):
    """A frame, its noise level for the model in 8-bit levels, and the frames before, for models that remember."""

    frame: NDArray[np.uint8]
    sigma_255: Any
    before: Sequence[NDArray[np.uint8]] = ()


class Batches(ABC):
    """The batches of one phase. Picklable and free of Keras, so that threads and processes can draw them."""

    @abstractmethod
    def __len__(self) -> int:
        """Count the batches of an epoch."""

    @abstractmethod
    def draw(self, epoch: int, step: int) -> Batch:
        """Draw one batch; the same at every call."""


@dataclass(frozen=True)
class Sample:
    """One held-out frame, for verifying exported files.

    Attributes:
        frame: what the model is given: (H, W, 3) BGR or (H, W) gray, uint8.
        clean: for denoisers, the image without noise, same shape and dtype.
        label: for classifiers, the right label; None: unknown.
        group: what the frame stands for, such as `sigma 25`; results are also reported by group.
        before: the frames before, for models that remember.
    """

    frame: NDArray[np.uint8]
    clean: NDArray[np.uint8] | None = None
    label: str | None = None
    group: str = ""
    before: Sequence[NDArray[np.uint8]] = ()


@dataclass(frozen=True)
class Splits:
    """What trains, what validates, and what is measured once, at the end: sized collections of images.

    Photographs are lists of (H, W, 3) uint8 BGR, of many sizes; there is no test set of them.

    Attributes:
        classes: the classes' names, in the order of the labels; empty where there are none.
        terms: name and terms of the data where the content tells them, else None.
        unreadable: one line for each file that was skipped, with the reason.
    """

    training: Any
    validation: Any
    test: Any
    classes: tuple[str, ...] = ()
    terms: DataTerms | None = None
    unreadable: Sequence[str] = ()

    def arrays(self) -> Iterator[NDArray[Any]]:
        """Yield every array that trains or validates."""
        yield from self.training
        yield from self.validation

    @property
    def sha256(self) -> str:
        """Hash everything that trains or validates, so that a resumed training notices other data."""
        digest = hashlib.sha256()
        for array in self.arrays():
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


class Data(ABC):
    """A kind of training data with its settings: how it is read, shown to a model, and measured with.

    Attributes:
        kind: short name, as in `digits`.
        frames_from: what an export's report calls the training images.
        one_shape: whether all training batches of a phase have one shape, so that XLA compiles one program.
        noise_type: the noises that suit it.
    """

    kind: ClassVar[str]
    frames_from: ClassVar[str]
    one_shape: ClassVar[bool] = False
    noise_type: ClassVar[type]

    @abstractmethod
    def source(self, task: str) -> str:
        """Describe in a few words what `--data` is to name."""

    @abstractmethod
    def load(
        self, path: str | Path | None, recipe: Recipe, *, seed: int = 0, limit: int | None = None, fold: int = 0
    ) -> Splits:
        """Read and split the data; the same from the same path, seed and limit.

        path: a file or folder; None: what is downloaded. seed: of the shuffle, where the content does not decide.
        limit: use only so many images. fold: which part tests.
        Raises SourceError if the data cannot be read, UsageError for a path or limit that leaves nothing to train on.
        """

    @abstractmethod
    def batches(self, recipe: Recipe, phase: Phase, splits: Splits, *, seed: int) -> Batches:
        """Make the training batches of a phase."""

    @abstractmethod
    def validation(self, recipe: Recipe, splits: Splits, *, seed: int) -> Mapping[str, Batch]:
        """Make what is measured after every epoch, by name; the same at every call."""

    @abstractmethod
    def evaluate(self, model: keras.Model, recipe: Recipe, splits: Splits, terms: DataTerms) -> list[Metric]:
        """Measure a trained model."""

    @abstractmethod
    def samples(self, model: keras.Model, recipe: Recipe, splits: Splits) -> Figure:
        """Draw a few images and what the model makes of them."""

    @abstractmethod
    def calibration(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[NoisyFrame]:
        """Draw noisy training frames to calibrate an int8 file with."""

    @abstractmethod
    def held_out(
        self, recipe: Recipe, splits: Splits, macs_per_pixel: float, rng: np.random.Generator
    ) -> Sequence[Sample]:
        """Draw noisy validation frames to verify files on."""

    @abstractmethod
    def card_fields(self, recipe: Recipe, model: keras.Model) -> Mapping[str, Any]:
        """Give the card's `inputs`, `spatial` and `conditioning`, and `states`: outputs behind those of the task."""

    def required(self, path: str | Path | None, recipe: Recipe) -> Path:
        """Return the path of data that nothing downloads. Raises UsageError without one."""
        if path is None:
            raise UsageError(f"{recipe.name} needs --data FOLDER ({self.source(recipe.task)})")
        return Path(path)

    def training_model(self, model: keras.Model) -> keras.Model:
        """Make what is trained: the model itself, or another with its weights."""
        return model

    def fit_to(self, recipe: Recipe, splits: Splits) -> Recipe:
        """Adapt a recipe to the data, such as its number of classes."""
        return recipe

    def other_folds(self) -> Sequence[int]:
        """List the folds that a cross-validation trains on beside the first."""
        return ()

    def without_folds(self) -> Self:
        """Return this kind of data without its cross-validation."""
        return self

    def replace_training(self, splits: Splits, folder: str | Path) -> Splits:
        """Take the images of another folder to calibrate with.

        Raises UsageError where only the training split will do.
        """
        raise UsageError(f"--calibrate is for camera models: this one calibrates with its {self.frames_from}")

    def describe(self, splits: Splits, path: str | Path | None, name: str | None, terms: str | None) -> DataTerms:
        """Say what the model card says of the data: as stated, as known by content, or unknown; never guessed."""
        known = splits.terms or DataTerms(Path(path).resolve().name if path else "MNIST", UNKNOWN_TERMS)
        return DataTerms(name or known.name, terms or known.terms)
