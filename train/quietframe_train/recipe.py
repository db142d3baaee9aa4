"""What a recipe is: everything that a training needs to know, as frozen dataclasses. Imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from quietframe.card import Task
from quietframe_train.corruption import Corruption, ImageCorruption


@dataclass(frozen=True)
class ModelConfig:
    """Which architecture, and its arguments: `builder` names an entry of `quietframe_train.models.BUILDERS`."""

    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Augmentation:
    """What is done at random to a training image each time it is shown, clean, before any noise.

    Attributes:
        flip: left to right, in half of the cases.
        rotate_degrees, shift_share, zoom_share: turned, moved (as a share of the side) and scaled by up to this much,
            either way, in one interpolation; what comes in from outside repeats the edge.
        gain_share: brightness multiplied by up to this much more or less.
    """

    flip: bool = False
    rotate_degrees: float = 0.0
    shift_share: float = 0.0
    zoom_share: float = 0.0
    gain_share: float = 0.0


@dataclass(frozen=True)
class DigitData:
    """MNIST; the last `validation_share` of the training images, after a seeded shuffle, validates."""

    validation_share: float = 0.1
    augmentation: Augmentation | None = None


@dataclass(frozen=True)
class PhotoData:
    """A folder of photographs, from which square patches are cut, flipped and turned.

    Attributes:
        patch: side of a patch in pixels.
        validation_share: share of the photographs (by content hash) that only validate.
    """

    patch: int = 64
    validation_share: float = 0.04


@dataclass(frozen=True)
class PictureData:
    """A folder of pictures, each brought whole to one size; for classifiers each sub-folder is a class.

    Attributes:
        side: height and width in pixels that each picture is resized to.
        folds: the pictures are dealt into so many parts, of which one tests.
        validation_share: share of the others that only validate.
        split: `content` keeps pictures with the same pixels on one side; `file` deals out files, twins or not.
        split_seed: of the shuffle before; the same for every training seed.
        augmentation: what is done to each training picture at each showing.
        cross_validate: train once more for each of the other folds, to say how far the test figure depends on it.
    """

    side: int = 256
    folds: int = 4
    validation_share: float = 0.05
    split: Literal["content", "file"] = "content"
    split_seed: int = 42
    augmentation: Augmentation | None = None
    cross_validate: bool = False


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights move.

    Attributes:
        name: `adam`, or `muon` for the kernels and Adam for the rest: see `optimizers.ConvMuon`.
        learning_rate: of both, the highest of a schedule.
        clipnorm: gradients of a variable longer than this are made shorter; None: none are.
        ema_momentum: above 0 keeps a moving average of the weights, which is what is measured and saved at the end;
            the validation figures of each epoch are those of the weights themselves.
        adam_layers: under `muon`, patterns in the paths of layers whose kernels are Adam's all the same.
    """

    name: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    clipnorm: float | None = None
    ema_momentum: float = 0.0
    adam_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Constant:
    """The learning rate stays as it is."""


@dataclass(frozen=True)
class WarmupCosine:
    """A linear rise over `warmup_steps`, then a cosine down to `final_rate` at the last step."""

    warmup_steps: int
    final_rate: float


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when `monitor` has not fallen for `patience` epochs; keep the best epoch's weights if `restore_best`."""

    monitor: str = "val_loss"
    patience: int = 5
    restore_best: bool = True


@dataclass(frozen=True)
class SettlingPhase:
    """More epochs behind the first ones, in which batch normalization stands still, as it does in use.

    A batch's own mean and deviation are a noise on every feature, which helps a model to find its way and keeps it
    from the last of its accuracy.

    Attributes:
        epochs: of as many steps as the others.
        learning_rate: the highest of the recipe's optimizer and schedule, begun anew.
        loss: in place of the recipe's.
        patch: side in pixels; the batch has as many pixels as before.
    """

    epochs: int
    learning_rate: float
    loss: str
    patch: int


@dataclass(frozen=True)
class QuantizationPhase:
    """More epochs at the end, in which the model feels the rounding of its int8 file.

    Attributes:
        epochs: of as many steps as the others.
        learning_rate: at the start; a cosine takes it down to a hundredth.
    """

    epochs: int = 6
    learning_rate: float = 2e-4


@dataclass(frozen=True)
class Recipe:
    """One reproducible training.

    Attributes:
        name: of the recipe and of the model it makes.
        summary: one line for `quietframe train --list`.
        task: what the model does.
        model, data, noise, optimizer, schedule: see their classes.
        loss: one of `quietframe_train.losses.LOSSES` or of Keras, by name.
        batch: images in a step.
        epochs: passes over the data; for photographs, of `steps_per_epoch` steps each.
        steps_per_epoch: None: as many as the data gives.
        early_stopping: None: never.
        settling: None: none.
        quantization: None: the exporter quantizes what the epochs above gave.
        test_noises: what the test images are measured with; empty: `noise` alone.
        parts: recipes whose models this one is composed of, by layers of their names; nothing is trained then but
            they, and `loss`, `batch` and `epochs` mean nothing.
        dtype_policy: Keras' policy while training, such as `mixed_bfloat16`; the saved model is float32.
        source: the write-up or paper that the recipe follows.
        limits: what the model is not good for, in plain words, for its card.
    """

    name: str
    summary: str
    task: Task
    model: ModelConfig
    data: DigitData | PhotoData | PictureData
    noise: Corruption
    source: str
    loss: str = ""
    batch: int = 0
    epochs: int = 0
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Constant | WarmupCosine = Constant()
    steps_per_epoch: int | None = None
    early_stopping: EarlyStopping | None = None
    settling: SettlingPhase | None = None
    quantization: QuantizationPhase | None = None
    test_noises: tuple[ImageCorruption, ...] = ()
    parts: tuple[str, ...] = ()
    dtype_policy: str = "float32"
    limits: str = ""

    def with_learning_rate(self, rate: float) -> Recipe:
        """This recipe at another highest learning rate, its settling phase's in proportion."""
        settling = self.settling
        if settling is not None:
            share = rate / self.optimizer.learning_rate
            settling = replace(settling, learning_rate=settling.learning_rate * share)
        return replace(self, optimizer=replace(self.optimizer, learning_rate=rate), settling=settling)

    @property
    def settled(self) -> Recipe:
        """The settling phase as a recipe of its own: the rest of this one applies to it."""
        phase = self.settling
        assert phase is not None and isinstance(self.data, PhotoData)
        return replace(
            self,
            loss=phase.loss,
            epochs=phase.epochs,
            data=replace(self.data, patch=phase.patch),
            batch=max(1, self.batch * self.data.patch**2 // phase.patch**2),
            optimizer=replace(self.optimizer, learning_rate=phase.learning_rate),
            settling=None,
        )

    @property
    def kind(self) -> Literal["digits", "photos", "pictures"]:
        """Which data the recipe takes: MNIST, photographs to cut patches from, or whole pictures of one size."""
        return _KIND_OF[type(self.data)]

    @property
    def measured_with(self) -> tuple[ImageCorruption, ...]:
        """The noises that test images are measured with; none for camera models, which have levels of their own."""
        return self.test_noises or ((self.noise,) if isinstance(self.noise, ImageCorruption) else ())


_KIND_OF: Mapping[type, Literal["digits", "photos", "pictures"]] = {
    DigitData: "digits",
    PhotoData: "photos",
    PictureData: "pictures",
}
