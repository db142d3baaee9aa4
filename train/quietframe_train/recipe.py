"""What a recipe is: everything that a training needs to know, as frozen dataclasses. Imports no framework."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from quietframe.card import Task
from quietframe.errors import UsageError
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.clips import ClipNoise
from quietframe_train.corruption import ImageCorruption
from quietframe_train.data.base import Data


@dataclass(frozen=True)
class ModelConfig:
    """Which architecture, and its arguments: `builder` names an entry of `quietframe_train.models.BUILDERS`."""

    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its settings.

    Attributes:
        name: `adam`, or `muon` for the kernels and Adam for the rest: see `optimizers.ConvMuon`.
        learning_rate: of both, the highest of a schedule.
        clipnorm: the greatest norm of a variable's gradient; None: no limit.
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
    """A constant learning rate."""


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
class Phase:
    """One stretch of a training, with an optimizer of its own.

    Attributes:
        name: of its weights' file, `NAME.weights.h5`, and in the history.
        batch: images in a step.
        loss: one of `quietframe_train.losses.LOSSES` or of Keras, by name.
        steps_per_epoch: of photographs; None: as many as the data gives.
        data: override the recipe's data settings, such as the patch; the split stays the recipe's.
        frozen_norms: batch normalization keeps the statistics of earlier phases, as in use, and does not train. Those
            of each batch add noise to every feature, which helps at first and costs accuracy at the end.
    """

    name: str
    epochs: int
    batch: int
    loss: str
    steps_per_epoch: int | None = None
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Constant | WarmupCosine = Constant()
    early_stopping: EarlyStopping | None = None
    data: Data | None = None
    frozen_norms: bool = False

    @property
    def key(self) -> int:
        """Number the phase by its name: seeds of two differ, and one's do not depend on those before."""
        return zlib.crc32(self.name.encode())


@dataclass(frozen=True)
class Recipe:
    """One reproducible training.

    Attributes:
        name: of the recipe and of the model it makes.
        summary: one line for `quietframe train --list`.
        data: the kind of data, with its settings.
        noise: what is added to clean images in training.
        source: the write-up or paper that the recipe follows.
        phases: trained in their order; empty for a composed model.
        test_noises: what the test images are measured with; empty: `noise` alone.
        parts: recipes whose models this one is composed of, by layers of their names; nothing is trained but they.
        starts_from: name of the recipe whose trained model this one starts from: its run folder beside this one's, or
            the built-in model; empty: it starts from random weights.
        dtype_policy: Keras' policy while training, such as `mixed_bfloat16`; the saved model is float32.
        limits: what the model is not good for, in plain words, for its card.
    """

    name: str
    summary: str
    task: Task
    model: ModelConfig
    data: Data
    noise: ImageCorruption | CameraNoise | ClipNoise
    source: str
    phases: tuple[Phase, ...] = ()
    test_noises: tuple[ImageCorruption, ...] = ()
    parts: tuple[str, ...] = ()
    starts_from: str = ""
    dtype_policy: str = "float32"
    limits: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.noise, self.data.noise_type):
            kinds = f"{type(self.noise).__name__} does not fit data {type(self.data).__name__}"
            raise UsageError(f"{self.name}: noise {kinds}")

    @property
    def epochs(self) -> int:
        """Count the epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)

    def with_epochs(self, first: int) -> Recipe:
        """Override the first phase's number of epochs; those of the others change in proportion."""
        share = first / self.phases[0].epochs
        return replace(
            self, phases=tuple(replace(phase, epochs=max(1, round(share * phase.epochs))) for phase in self.phases)
        )

    def with_phases(self, **changes: Any) -> Recipe:
        """Override fields of every phase, as in `with_phases(steps_per_epoch=10)`."""
        return replace(self, phases=tuple(replace(phase, **changes) for phase in self.phases))

    def from_phase(self, name: str) -> Recipe:
        """Leave out the phases before the one of that name. Raises UsageError if there is none."""
        names = [phase.name for phase in self.phases]
        if name not in names:
            raise UsageError(f"{self.name}: no phase {name!r}: it has {', '.join(names) or 'none'}")
        return replace(self, phases=self.phases[names.index(name) :])

    @property
    def measured_with(self) -> tuple[ImageCorruption, ...]:
        """List the noises that test images are measured with; none for cameras, which have levels of their own."""
        return self.test_noises or ((self.noise,) if isinstance(self.noise, ImageCorruption) else ())
