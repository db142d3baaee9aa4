"""The recipes, by name. Imports no framework.

The published designs come with the noise, loss, optimizer, batch and epochs of their sources. What of a source is
not copied: one noise array for every image (each showing draws its own); an error measured on the noisy images (it
is the denoised ones'); a choice of weights by the test set (a part of the training set decides).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from quietframe.errors import UsageError
from quietframe_train.augmentation import Augmentation
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.corruption import ImageCorruption, MixedNoise, NoNoise, NormalNoise, UniformNoise
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

_BOTTLENECK = Recipe(
    name="bottleneck-autoencoder",
    summary="844k-parameter MNIST denoiser: strided convolutions, a dense bottleneck of 128, and back",
    task="denoise",
    model=ModelConfig("bottleneck_autoencoder"),
    data=DigitData(),
    noise=BOTTLENECK,
    phases=(
        Phase(
            "main",
            epochs=20,
            batch=128,
            loss="binary_crossentropy",
            optimizer=OptimizerConfig(learning_rate=2e-4),
            early_stopping=EarlyStopping(),
        ),
    ),
    limits=_DIGITS_ONLY,
    source="published convolutional autoencoder with a dense bottleneck, on MNIST; it reports a test BCE of 0.0939, "
    "in a log that goes on from an earlier training",
)

_COLOR = Recipe(
    name="color-autoencoder",
    summary="752k-parameter denoiser of 256x256 colour pictures, gray noise of sigma 0.4",
    task="denoise",
    model=ModelConfig("color_autoencoder"),
    data=PictureData(),
    noise=NormalNoise(mean=0, sigma=0.4, shared=True),
    phases=(Phase("main", epochs=50, batch=32, loss="mse"),),
    dtype_policy="mixed_bfloat16",
    limits="pictures like those it was trained on, brought to 256x256",
    source="published 256x256 colour denoising autoencoder (convolutions, two poolings)",
)


def _camera_phases() -> tuple[Phase, ...]:
    """Train on patches, then fine-tune on larger ones with frozen batch norm; 1,000 steps an epoch."""
    main = Phase(
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
    finetune = replace(
        main,
        name="finetune",
        epochs=50,
        batch=4,
        loss="log_mse_and_means",
        data=PhotoData(patch=128),
        optimizer=replace(main.optimizer, learning_rate=5e-3),
        frozen_norms=True,
    )
    return main, finetune


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
    phases=_camera_phases(),
    limits="trained on photographs with simulated noise: white and of sensors, as RGB, YUYV, JPEG and H.264 deliver it",
    source="QuietFrame: residual U-Net on pixel-unshuffled frames, after FFDNet (Zhang et al. 2018)",
)

_ALL: tuple[Recipe, ...] = (
    Recipe(
        name="dense-autoencoder",
        summary="101k-parameter MNIST denoiser, 784-64-784",
        task="denoise",
        model=ModelConfig("dense_autoencoder"),
        data=DigitData(validation_share=0.2),
        noise=UNIFORM,
        phases=(
            Phase(
                "main",
                epochs=100,
                batch=512,
                loss="binary_crossentropy",
                early_stopping=EarlyStopping(restore_best=False),
            ),
        ),
        limits=_DIGITS_ONLY,
        source="published dense denoising autoencoder in front of an MNIST classifier",
    ),
    Recipe(
        name="digit-classifier",
        summary="269k-parameter MNIST classifier, 784-256-256-10, trained on clean digits",
        task="classify",
        model=ModelConfig("dense_classifier"),
        data=DigitData(),
        noise=NoNoise(),
        phases=(Phase("main", epochs=5, batch=512, loss="sparse_categorical_crossentropy"),),
        test_noises=(NoNoise(), UNIFORM),
        limits=f"{_DIGITS_ONLY}; denoise first",
        source="published dense MNIST classifier that is fed by a denoising autoencoder",
    ),
    Recipe(
        name="denoise-and-classify",
        summary="dense-autoencoder and digit-classifier as one model with two outputs; composed, not trained",
        task="denoise+classify",
        model=ModelConfig("denoise_and_classify"),
        data=DigitData(),
        noise=UNIFORM,
        parts=("dense-autoencoder", "digit-classifier"),
        limits=_DIGITS_ONLY,
        source="published dense denoising autoencoder and classifier, one behind the other",
    ),
    Recipe(
        name="conv-autoencoder",
        summary="47k-parameter MNIST denoiser, convolutions at full size, for noise that is not clipped",
        task="denoise",
        model=ModelConfig("conv_autoencoder"),
        data=DigitData(validation_share=0.2),
        noise=UNCLIPPED,
        phases=(Phase("main", epochs=30, batch=150, loss="binary_crossentropy"),),
        dtype_policy="mixed_bfloat16",
        test_noises=(UNCLIPPED, CLIPPED),
        limits=f"{_DIGITS_ONLY}; trained on values from about -2.5 to 3.5, of which 8-bit pictures hold only 0 to 1",
        source="published convolutional denoising autoencoder with max-norm constraints, on MNIST",
    ),
    Recipe(
        name="latent-autoencoder",
        summary="178k-parameter MNIST denoiser: convolutional encoder, 16 latent numbers, decoder",
        task="denoise",
        model=ModelConfig("latent_autoencoder"),
        data=DigitData(),
        noise=LATENT[0],
        phases=(Phase("main", epochs=10, batch=32, loss="mse"),),
        test_noises=LATENT,
        limits=_DIGITS_ONLY,
        source="published latent-vector denoising autoencoder on MNIST (2 strided convolutions, 16 latents)",
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
    Recipe(
        name="digit-unet",
        summary="95k-parameter MNIST denoiser for all of the digit noises: a small U-Net",
        task="denoise",
        model=ModelConfig("digit_unet"),
        data=DigitData(validation_share=0.05),
        noise=MixedNoise(
            parts=(
                UNIFORM,
                UNCLIPPED,
                CLIPPED,
                NormalNoise(mean=0.5, sigma=1.0, lowest_sigma=0.4),
                NormalNoise(mean=0, sigma=1.2, lowest_sigma=0.0),
            ),
            name="digit-noises",
        ),
        phases=(
            Phase(
                "main",
                epochs=12,
                batch=128,
                loss="binary_crossentropy",
                optimizer=OptimizerConfig(learning_rate=3e-3, clipnorm=1.0, ema_momentum=0.998),
                schedule=WarmupCosine(warmup_steps=300, final_rate=1e-5),
            ),
        ),
        test_noises=DIGIT_NOISES,
        limits=_DIGITS_ONLY,
        source="QuietFrame: U-Net after Ronneberger et al. 2015, batch normalization and ReLU6",
    ),
    Recipe(
        name="digit-cnn",
        summary="73k-parameter MNIST classifier: six convolutions",
        task="classify",
        model=ModelConfig("small_cnn"),
        data=DigitData(
            validation_share=0.05,
            augmentation=Augmentation(rotate_degrees=12, shift_share=0.07, zoom_share=0.12),
        ),
        noise=NoNoise(),
        phases=(
            Phase(
                "main",
                epochs=10,
                batch=128,
                loss="sparse_categorical_crossentropy",
                optimizer=OptimizerConfig(learning_rate=3e-3, clipnorm=1.0, ema_momentum=0.998),
                schedule=WarmupCosine(warmup_steps=300, final_rate=1e-5),
            ),
        ),
        test_noises=(NoNoise(), UNIFORM),
        limits=f"{_DIGITS_ONLY}; denoise first",
        source="QuietFrame: small convolutional network with batch normalization and augmentation",
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
        summary="color-autoencoder on its source's split, which puts twins of training pictures into the test",
        data=PictureData(split="file"),
    ),
    replace(
        _COLOR,
        name="color-unet",
        summary="537k-parameter denoiser of 256x256 colour pictures, gray noise of any sigma to 0.5",
        model=ModelConfig("color_unet"),
        data=PictureData(
            augmentation=Augmentation(flip=True, rotate_degrees=10, shift_share=0.05, zoom_share=0.15, gain_share=0.2)
        ),
        noise=NormalNoise(mean=0, sigma=0.5, shared=True, lowest_sigma=0.05),
        phases=(
            Phase(
                "main",
                epochs=400,
                batch=4,
                loss="mse",
                optimizer=OptimizerConfig(learning_rate=1e-3, clipnorm=1.0, ema_momentum=0.998),
                schedule=WarmupCosine(warmup_steps=200, final_rate=1e-5),
            ),
        ),
        dtype_policy="mixed_bfloat16",
        test_noises=tuple(NormalNoise(mean=0, sigma=sigma, shared=True) for sigma in (0.2, 0.4)),
        source="QuietFrame: U-Net on the pixel-unshuffled picture, batch normalization and ReLU6",
    ),
    Recipe(
        name="image-classifier",
        summary="117k-parameter classifier of pictures in folders of yours, one sub-folder for each class",
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
        phases=(
            Phase(
                "main",
                epochs=40,
                batch=16,
                loss="sparse_categorical_crossentropy",
                optimizer=OptimizerConfig(learning_rate=2e-3, clipnorm=1.0, ema_momentum=0.98),
                schedule=WarmupCosine(warmup_steps=50, final_rate=1e-5),
            ),
        ),
        limits="pictures like those it was trained on; it has no answer for `none of these`",
        source="QuietFrame: small convolutional network with batch normalization and augmentation",
    ),
    replace(
        _CAMERA,
        name="camera-nano",
        summary="63k-parameter colour camera denoiser, noise-conditioned, any frame size",
        model=ModelConfig(
            "camera_unet",
            {"widths": (16, 32, 48), "encoder_convs": (1, 1, 2), "decoder_convs": (0, 1), "last_kernel": 1},
        ),
    ),
    _CAMERA,
    replace(
        _CAMERA,
        name="camera-base",
        summary="1635k-parameter colour camera denoiser, noise-conditioned, any frame size",
        model=ModelConfig(
            "camera_unet", {"widths": (48, 96, 128, 160), "encoder_convs": (1, 3, 2, 3), "decoder_convs": (1, 2, 1)}
        ),
        dtype_policy="mixed_bfloat16",
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
