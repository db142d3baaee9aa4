"""The recipes, by name. Imports no framework.

The published designs come with the noise, loss, optimizer, batch and epochs of their sources. What of a source is
not copied: one noise array for every image (each showing draws its own); an error measured on the noisy images (it
is the denoised ones'); a choice of weights by the test set (a part of the training set decides).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from quietframe.errors import UsageError
from quietframe_train.augmentation import Augmentation
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.clips import ClipNoise
from quietframe_train.corruption import ImageCorruption, MixedNoise, NoNoise, NormalNoise, UniformNoise
from quietframe_train.data.clips import ClipData
from quietframe_train.data.digits import DigitData
from quietframe_train.data.photos import PhotoData
from quietframe_train.data.pictures import PictureData
from quietframe_train.recipe import EarlyStopping, ModelConfig, OptimizerConfig, Phase, Recipe, WarmupCosine

UNIFORM = UniformNoise(0.9)
"""Of the dense autoencoder."""
UNCLIPPED = NormalNoise(mean=0, sigma=0.55, clip=False)
"""Of the convolutional autoencoder; `CLIPPED` is what 8 bits leave of it."""
CLIPPED = replace(UNCLIPPED, clip=True)
LATENT = tuple(NormalNoise(mean=0.5, sigma=sigma) for sigma in (0.5, 0.75, 1.0))
"""Of the latent-vector autoencoder, the first one in training."""
BOTTLENECK = NormalNoise(mean=0, sigma=0.5)
"""Of the bottleneck autoencoders."""
DIGIT_NOISES: tuple[ImageCorruption, ...] = (UNIFORM, UNCLIPPED, CLIPPED, *LATENT, BOTTLENECK)

_DIGITS_ONLY = "28x28 handwritten digits, white on black, only"


def _main(epochs: int, batch: int, loss: str, **options: Any) -> tuple[Phase, ...]:
    return (Phase("main", epochs, batch, loss, **options),)


def _averaged(learning_rate: float, ema_momentum: float, warmup_steps: int) -> dict[str, Any]:
    """Return the options of a phase that ends with a moving average of its weights."""
    return {
        "optimizer": OptimizerConfig(learning_rate=learning_rate, clipnorm=1.0, ema_momentum=ema_momentum),
        "schedule": WarmupCosine(warmup_steps, final_rate=1e-5),
    }


def _digits(name: str, summary: str, builder: str, noise: ImageCorruption, source: str, **others: Any) -> Recipe:
    """Make a recipe for digits; `others` may override what they share."""
    shared: dict[str, Any] = {
        "task": "denoise",
        "model": ModelConfig(builder),
        "data": DigitData(),
        "limits": _DIGITS_ONLY,
    }
    return Recipe(name=name, summary=summary, noise=noise, source=source, **(shared | others))


_BOTTLENECK = _digits(
    "bottleneck-autoencoder",
    "844k-parameter MNIST denoiser: strided convolutions, a dense bottleneck of 128, and back",
    "bottleneck_autoencoder",
    BOTTLENECK,
    "published convolutional autoencoder with a dense bottleneck, on MNIST; it reports a test BCE of 0.0939, "
    "in a log that goes on from an earlier training",
    phases=_main(
        20,
        128,
        "binary_crossentropy",
        optimizer=OptimizerConfig(learning_rate=2e-4),
        early_stopping=EarlyStopping(),
    ),
)

_COLOR = Recipe(
    name="color-autoencoder",
    summary="752k-parameter denoiser of 256x256 colour images, gray noise of sigma 0.4",
    task="denoise",
    model=ModelConfig("color_autoencoder"),
    data=PictureData(),
    noise=NormalNoise(mean=0, sigma=0.4, shared=True),
    phases=_main(50, 32, "mse"),
    limits="images like those it was trained on, brought to 256x256",
    source="published 256x256 colour denoising autoencoder (convolutions, two poolings)",
)

# On patches, then fine-tuned on larger ones with frozen batch norm.
_CAMERA_MAIN = Phase(
    "main",
    epochs=80,
    batch=16,
    loss="mae_and_means",
    steps_per_epoch=1000,
    optimizer=OptimizerConfig(
        name="muon", learning_rate=1e-2, clipnorm=1.0, ema_momentum=0.999, adam_layers=("level", "residual")
    ),
    schedule=WarmupCosine(warmup_steps=500, final_rate=1e-5),
)
_CAMERA_FINETUNE = replace(
    _CAMERA_MAIN,
    name="finetune",
    epochs=50,
    batch=4,
    loss="log_mse_and_means",
    data=PhotoData(patch=128),
    optimizer=replace(_CAMERA_MAIN.optimizer, learning_rate=5e-3),
    frozen_norms=True,
)
_CAMERA = Recipe(
    name="camera-small",
    summary="305k-parameter colour camera denoiser, noise-conditioned, any frame size",
    task="denoise",
    model=ModelConfig(
        "camera_unet",
        {"widths": (32, 48, 64, 96), "encoder_convs": (1, 1, 1, 2), "decoder_convs": (1, 1, 1), "last_kernel": 1},
    ),
    data=PhotoData(),
    noise=CameraNoise(),
    phases=(_CAMERA_MAIN, _CAMERA_FINETUNE),
    limits="trained on photographs with simulated noise: white and of sensors, as RGB, YUYV, JPEG and H.264 deliver it",
    source="QuietFrame: residual U-Net on pixel-unshuffled frames, after FFDNet (Zhang et al. 2018)",
)

_NANO = replace(
    _CAMERA,
    name="camera-nano",
    summary="63k-parameter colour camera denoiser, noise-conditioned, any frame size",
    model=ModelConfig(
        "camera_unet",
        {"widths": (16, 32, 48), "encoder_convs": (1, 1, 2), "decoder_convs": (0, 1), "last_kernel": 1},
    ),
)
_BASE = replace(
    _CAMERA,
    name="camera-base",
    summary="1635k-parameter colour camera denoiser, noise-conditioned, any frame size",
    model=ModelConfig(
        "camera_unet", {"widths": (48, 96, 128, 160), "encoder_convs": (1, 3, 2, 3), "decoder_convs": (1, 2, 1)}
    ),
    phases=(replace(_CAMERA_MAIN, epochs=24), replace(_CAMERA_FINETUNE, epochs=12)),
)

# Starts from the camera model of its size, whose batch norm stays as it is. Muon, not Adam, for the convolutions that
# judge what may be trusted: under Adam all of their weights went the same way in the first steps, until every ReLU6
# stood at 6 and nothing was ever trusted again.
_VIDEO_MAIN = replace(
    _CAMERA_FINETUNE,
    name="main",
    epochs=24,
    batch=6,
    steps_per_epoch=500,
    data=None,
    optimizer=replace(
        _CAMERA_MAIN.optimizer, learning_rate=3e-3, adam_layers=("level", "residual", "trust_logits", "noise_removed")
    ),
)

_ALL: tuple[Recipe, ...] = (
    _digits(
        "dense-autoencoder",
        "101k-parameter MNIST denoiser, 784-64-784",
        "dense_autoencoder",
        UNIFORM,
        "published dense denoising autoencoder in front of an MNIST classifier",
        data=DigitData(validation_share=0.2),
        phases=_main(100, 512, "binary_crossentropy", early_stopping=EarlyStopping(restore_best=False)),
    ),
    _digits(
        "digit-classifier",
        "269k-parameter MNIST classifier, 784-256-256-10, trained on clean digits",
        "dense_classifier",
        NoNoise(),
        "published dense MNIST classifier that is fed by a denoising autoencoder",
        task="classify",
        phases=_main(5, 512, "sparse_categorical_crossentropy"),
        test_noises=(NoNoise(), UNIFORM),
        limits=f"{_DIGITS_ONLY}; denoise first",
    ),
    _digits(
        "denoise-and-classify",
        "dense-autoencoder and digit-classifier as one model with two outputs; composed, not trained",
        "denoise_and_classify",
        UNIFORM,
        "published dense denoising autoencoder and classifier, one behind the other",
        task="denoise+classify",
        parts=("dense-autoencoder", "digit-classifier"),
    ),
    _digits(
        "conv-autoencoder",
        "47k-parameter MNIST denoiser, convolutions at full size, for noise that is not clipped",
        "conv_autoencoder",
        UNCLIPPED,
        "published convolutional denoising autoencoder with max-norm constraints, on MNIST",
        data=DigitData(validation_share=0.2),
        phases=_main(30, 150, "binary_crossentropy"),
        test_noises=(UNCLIPPED, CLIPPED),
        limits=f"{_DIGITS_ONLY}; trained on values from about -2.5 to 3.5, of which 8-bit images hold only 0 to 1",
    ),
    _digits(
        "latent-autoencoder",
        "178k-parameter MNIST denoiser: convolutional encoder, 16 latent numbers, decoder",
        "latent_autoencoder",
        LATENT[0],
        "published latent-vector denoising autoencoder on MNIST (2 strided convolutions, 16 latents)",
        phases=_main(10, 32, "mse"),
        test_noises=LATENT,
    ),
    _BOTTLENECK,
    replace(
        _BOTTLENECK,
        name="bottleneck-autoencoder-long",
        summary="bottleneck-autoencoder, trained until its validation loss no longer falls",
        phases=(replace(_BOTTLENECK.phases[0], epochs=100),),
    ),
    replace(
        _BOTTLENECK,
        name="bottleneck-autoencoder-deep",
        summary="712k-parameter MNIST denoiser: three strided convolutions, LeakyReLU, a dense bottleneck of 128",
        model=ModelConfig("bottleneck_autoencoder_deep"),
        source="published deeper variant of the bottleneck autoencoder; its source shows no training",
    ),
    _digits(
        "digit-unet",
        "95k-parameter MNIST denoiser for all of the digit noises: a small U-Net",
        "digit_unet",
        MixedNoise(
            (
                UNIFORM,
                UNCLIPPED,
                CLIPPED,
                NormalNoise(mean=0.5, sigma=1.0, lowest_sigma=0.4),
                NormalNoise(mean=0, sigma=1.2, lowest_sigma=0.0),
            ),
            name="digit-noises",
        ),
        "QuietFrame: U-Net after Ronneberger et al. 2015, batch normalization and ReLU6",
        data=DigitData(validation_share=0.05),
        phases=_main(12, 128, "binary_crossentropy", **_averaged(3e-3, 0.998, 300)),
        test_noises=DIGIT_NOISES,
    ),
    _digits(
        "digit-cnn",
        "73k-parameter MNIST classifier: six convolutions",
        "small_cnn",
        NoNoise(),
        "QuietFrame: small convolutional network with batch normalization and augmentation",
        task="classify",
        data=DigitData(0.05, Augmentation(rotate_degrees=12, shift_share=0.07, zoom_share=0.12)),
        phases=_main(10, 128, "sparse_categorical_crossentropy", **_averaged(3e-3, 0.998, 300)),
        test_noises=(NoNoise(), UNIFORM),
        limits=f"{_DIGITS_ONLY}; denoise first",
    ),
    _COLOR,
    replace(
        _COLOR,
        name="color-autoencoder-k02",
        summary="color-autoencoder for gray noise of sigma 0.2",
        noise=NormalNoise(mean=0, sigma=0.2, shared=True),
    ),
    replace(
        _COLOR,
        name="color-autoencoder-plain-split",
        summary="color-autoencoder on its source's split, which puts twins of training images into the test",
        data=PictureData(split="file"),
    ),
    replace(
        _COLOR,
        name="color-unet",
        summary="537k-parameter denoiser of 256x256 colour images, gray noise of any sigma to 0.5",
        model=ModelConfig("color_unet"),
        data=PictureData(
            augmentation=Augmentation(flip=True, rotate_degrees=10, shift_share=0.05, zoom_share=0.15, gain_share=0.2)
        ),
        noise=NormalNoise(mean=0, sigma=0.5, shared=True, lowest_sigma=0.05),
        phases=_main(400, 4, "mse", **_averaged(1e-3, 0.998, 200)),
        test_noises=tuple(NormalNoise(mean=0, sigma=sigma, shared=True) for sigma in (0.2, 0.4)),
        source="QuietFrame: U-Net on the pixel-unshuffled image, batch normalization and ReLU6",
    ),
    Recipe(
        name="image-classifier",
        summary="117k-parameter classifier of images in folders of yours, one sub-folder for each class",
        task="classify",
        model=ModelConfig("small_cnn", {"side": 128, "channels": 3, "widths": (16, 32, 48, 64)}),
        data=PictureData(
            side=128,
            folds=5,
            validation_share=0.1,
            augmentation=Augmentation(flip=True, rotate_degrees=15, shift_share=0.08, zoom_share=0.15, gain_share=0.2),
            cross_validate=True,
        ),
        noise=NoNoise(),
        phases=_main(40, 16, "sparse_categorical_crossentropy", **_averaged(2e-3, 0.98, 50)),
        limits="images like those it was trained on; it has no answer for `none of these`",
        source="QuietFrame: small convolutional network with batch normalization and augmentation",
    ),
    _NANO,
    _CAMERA,
    _BASE,
    *(
        replace(
            camera,
            name=camera.name.replace("camera", "video"),
            summary=f"{camera.name} behind a recursive filter: denoises frames in their order",
            model=ModelConfig("video_unet", {**camera.model.options, "trust_width": trust_width}),
            data=ClipData(),
            noise=ClipNoise(),
            phases=(_VIDEO_MAIN,),
            starts_from=camera.name,
        )
        for camera, trust_width in ((_NANO, 16), (_CAMERA, 24), (_BASE, 24))
    ),
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UsageError with the nearest one."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(RECIPES)}"
    raise UsageError(f"unknown recipe {name!r}: {hint}")
