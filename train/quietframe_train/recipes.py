"""The recipes: everything that a training needs to know, as frozen dataclasses. Imports no framework."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from quietframe.card import Task
from quietframe.errors import UsageError
from quietframe_train.corruption import CameraNoise, Corruption, NoNoise, NormalNoise


@dataclass(frozen=True)
class ModelConfig:
    """Which architecture, and its arguments: `builder` names an entry of `quietframe_train.models.BUILDERS`."""

    builder: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DigitData:
    """MNIST; the last `validation_share` of the training images, after a seeded shuffle, validates."""

    validation_share: float = 0.1


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
class OptimizerConfig:
    """Adam. `ema_momentum` above 0 keeps a moving average of the weights, which is what is measured and saved at the
    end; the validation figures of each epoch are those of the weights themselves.
    """

    learning_rate: float = 1e-3
    clipnorm: float | None = None
    ema_momentum: float = 0.0


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
        loss: a Keras loss by name.
        batch: images in a step.
        epochs: passes over the data; for photographs, of `steps_per_epoch` steps each.
        steps_per_epoch: None: as many as the data gives.
        early_stopping: None: never.
        quantization: None: the exporter quantizes what the epochs above gave.
        test_sigmas: noise levels at which the digits' robustness is measured.
        source: the write-up or paper that the recipe follows.
        limits: what the model is not good for, in plain words, for its card.
    """

    name: str
    summary: str
    task: Task
    model: ModelConfig
    data: DigitData | PhotoData
    noise: Corruption
    loss: str
    batch: int
    epochs: int
    source: str
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Constant | WarmupCosine = Constant()
    steps_per_epoch: int | None = None
    early_stopping: EarlyStopping | None = None
    quantization: QuantizationPhase | None = None
    test_sigmas: tuple[float, ...] = ()
    limits: str = ""

    @property
    def kind(self) -> Literal["digits", "photos"]:
        """Which data the recipe takes."""
        return "digits" if isinstance(self.data, DigitData) else "photos"


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="latent-autoencoder",
            summary="178k-parameter MNIST denoiser: convolutional encoder, 16 latent numbers, decoder",
            task="denoise",
            model=ModelConfig("latent_autoencoder"),
            data=DigitData(),
            noise=NormalNoise(mean=0.5, sigma=0.5),
            loss="mse",
            batch=32,
            epochs=10,
            test_sigmas=(0.5, 0.75, 1.0),
            limits="28x28 handwritten digits, white on black, only",
            source="published latent-vector denoising autoencoder on MNIST (2 strided convolutions, 16 latents)",
        ),
        Recipe(
            name="digit-classifier",
            summary="269k-parameter MNIST classifier, 784-256-256-10, trained on clean digits",
            task="classify",
            model=ModelConfig("dense_classifier"),
            data=DigitData(),
            noise=NoNoise(),
            loss="sparse_categorical_crossentropy",
            batch=512,
            epochs=5,
            limits="28x28 handwritten digits, white on black, only; noise must be taken away first",
            source="published dense MNIST classifier that is fed by a denoising autoencoder",
        ),
        Recipe(
            name="camera-nano",
            summary="31k-parameter colour camera denoiser, told the noise level, any frame size",
            task="denoise",
            model=ModelConfig("camera_unet", {"widths": (16, 32), "encoder_convs": (1, 3), "decoder_convs": (1,)}),
            data=PhotoData(),
            noise=CameraNoise(),
            loss="mae",
            batch=16,
            epochs=60,
            steps_per_epoch=1000,
            optimizer=OptimizerConfig(learning_rate=2e-3, clipnorm=1.0, ema_momentum=0.999),
            schedule=WarmupCosine(warmup_steps=500, final_rate=1e-5),
            quantization=QuantizationPhase(),
            limits="trained on white and signal-dependent noise; noise that was demosaiced or JPEG-compressed "
            "reads as less than it is, and some of it stays",
            source="QuietFrame: residual U-Net on pixel-unshuffled frames, after FFDNet (Zhang et al. 2018)",
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError with the nearest one."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(RECIPES)}"
    raise UsageError(f"unknown recipe {name!r}: {hint}")
