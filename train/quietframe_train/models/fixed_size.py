"""Models for images of one size in [0, 1]: denoisers of digits (28, 28, 1) and colour images, and classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from quietframe_train.layers import PixelShuffle, PixelUnshuffle
from quietframe_train.models.unet import conv, unet

_LAST: dict[str, Any] = {"dtype": "float32", "name": "denoised"}


def dense_autoencoder(units: int = 64) -> keras.Model:
    """784 → `units` ReLU → 784 sigmoid (101,200 parameters with 64)."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Dense(units, activation="relu")(layers.Flatten()(image))
    x = layers.Dense(28 * 28, activation="sigmoid", dtype="float32")(x)
    x = layers.Reshape((28, 28, 1), **_LAST)(x)
    return keras.Model(image, x, name="dense_autoencoder")


def conv_autoencoder() -> keras.Model:
    """Two valid 3×3 convolutions, two transposed ones back, and a last convolution (47,425 parameters).

    Kernels start from `he_uniform` and are held to a norm of 2, along Keras' default axis, as in the source.
    """
    image = keras.Input((28, 28, 1), name="image")
    x, limit = image, keras.constraints.MaxNorm(2.0)
    for layer, widths in ((layers.Conv2D, (64, 32)), (layers.Conv2DTranspose, (32, 64))):
        for width in widths:
            x = layer(width, 3, activation="relu", kernel_initializer="he_uniform", kernel_constraint=limit)(x)
    x = layers.Conv2D(1, 3, padding="same", activation="sigmoid", kernel_constraint=limit, **_LAST)(x)
    return keras.Model(image, x, name="conv_autoencoder")


def bottleneck_autoencoder(latents: int = 128) -> keras.Model:
    """Two strided convolutions to a dense bottleneck, and back (843,649 parameters with 128)."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(latents, name="latent")(layers.Flatten()(x))
    x = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64)(x))
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid", **_LAST)(x)
    return keras.Model(image, x, name="bottleneck_autoencoder")


def bottleneck_autoencoder_deep(latents: int = 128) -> keras.Model:
    """Three strided convolutions with LeakyReLU (slope 0.3) to a dense bottleneck, and a mirrored decoder.

    Its source starts the decoder at 7×7 and so ends at 56×56; here it starts at 4×4, where the encoder ends, and
    the first step back goes to 7×7.
    """
    image = keras.Input((28, 28, 1), name="image")
    x = image
    for width in (32, 64, 128):
        x = layers.LeakyReLU(0.3)(layers.Conv2D(width, 3, strides=2, padding="same")(x))
    x = layers.Dense(latents, name="latent")(layers.Flatten()(x))
    x = layers.Reshape((4, 4, 128))(layers.Dense(4 * 4 * 128)(x))
    x = layers.LeakyReLU(0.3)(layers.Conv2DTranspose(64, 3, strides=2, padding="same", output_padding=0)(x))
    x = layers.LeakyReLU(0.3)(layers.Conv2DTranspose(32, 3, strides=2, padding="same")(x))
    x = layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid", **_LAST)(x)
    return keras.Model(image, x, name="bottleneck_autoencoder_deep")


def digit_unet(
    widths: Sequence[int] = (16, 32, 64),
    encoder_convs: Sequence[int] = (2, 2, 2),
    decoder_convs: Sequence[int] = (1, 1),
) -> keras.Model:
    """`unet` at full size with a sigmoid at its end. For the arguments see `unet`."""
    image = keras.Input((28, 28, 1), name="image")
    x = unet(conv(image, widths[0], "down0_0"), widths, encoder_convs, decoder_convs)
    x = layers.Conv2D(1, 3, padding="same", activation="sigmoid", **_LAST)(x)
    return keras.Model(image, x, name="digit_unet")


def latent_autoencoder(latents: int = 16) -> keras.Model:
    """A convolutional encoder to a latent vector and the decoder back: the layers `encoder` and `decoder`."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Flatten()(x)
    encoder = keras.Model(image, layers.Dense(latents, name="latent")(x), name="encoder")

    latent = keras.Input((latents,), name="latent")
    x = layers.Reshape((7, 7, 64))(layers.Dense(7 * 7 * 64)(latent))
    x = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid", **_LAST)(x)
    decoder = keras.Model(latent, x, name="decoder")

    whole = keras.Input((28, 28, 1), name="image")
    return keras.Model(whole, decoder(encoder(whole)), name="latent_autoencoder")


def color_autoencoder(side: int = 256) -> keras.Model:
    """The published convolutional autoencoder: two poolings down, two repetitions up (751,939 parameters).

    side: a multiple of 4.
    """
    image = keras.Input((side, side, 3), name="image")
    x = layers.MaxPooling2D()(_conv(image, 256))
    x = layers.MaxPooling2D()(_conv(x, 128))
    x = _conv(x, 64)
    x = layers.UpSampling2D()(_conv(x, 128))
    x = layers.UpSampling2D()(_conv(x, 256))
    x = layers.Conv2D(3, 3, padding="same", activation="sigmoid", **_LAST)(x)
    return keras.Model(image, x, name="color_autoencoder")


def color_unet(
    side: int = 256,
    widths: Sequence[int] = (32, 48, 64, 96),
    encoder_convs: Sequence[int] = (1, 2, 3, 3),
    decoder_convs: Sequence[int] = (1, 2, 2),
) -> keras.Model:
    """`unet` on the pixel-unshuffled image, with a sigmoid at its end. For the arguments see `unet`.

    side: a multiple of 2^len(widths).
    """
    image = keras.Input((side, side, 3), name="image")
    x = conv(PixelUnshuffle(2, name="unshuffle")(image), widths[0], "down0_0", activate=False)
    x = unet(x, widths, encoder_convs, decoder_convs)
    x = layers.Conv2D(12, 3, padding="same", name="planes")(x)
    x = layers.Activation("sigmoid", **_LAST)(PixelShuffle(2, name="shuffle")(x))
    return keras.Model(image, x, name="color_unet")


def _conv(x: Any, width: int) -> Any:
    return layers.Conv2D(width, 3, padding="same", activation="relu")(x)


def dense_classifier(classes: int = 10) -> keras.Model:
    """784 → 256 → 256 → classes, ReLU, softmax (269,322 parameters for ten classes)."""
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Dense(256, activation="relu")(layers.Flatten()(image))
    x = layers.Dense(256, activation="relu")(x)
    return keras.Model(image, _scores(x, classes), name="dense_classifier")


def small_cnn(
    classes: int = 10,
    side: int = 28,
    channels: int = 1,
    widths: Sequence[int] = (16, 32, 64),
    dropout: float = 0.3,
) -> keras.Model:
    """Two 3×3 convolutions with batch normalization and ReLU6 for each width, the second strided, then a dense layer.

    side, channels: of the image; gray with 1 channel, BGR with 3. dropout: of the features' means over the image.
    """
    image = keras.Input((side, side, channels), name="image")
    x = image
    for depth, width in enumerate(widths):
        x = conv(x, width, f"level{depth}_0")
        x = conv(x, width, f"level{depth}_1", strides=2)
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(image, _scores(x, classes), name="small_cnn")


def denoise_and_classify() -> keras.Model:
    """`dense_autoencoder` and `dense_classifier` as one model: each is a layer of it, by its own name.

    Outputs: the denoised image and the scores.
    """
    image = keras.Input((28, 28, 1), name="image")
    denoised = dense_autoencoder()(image)
    return keras.Model(image, [denoised, dense_classifier()(denoised)], name="denoise_and_classify")


def _scores(x: Any, classes: int) -> Any:
    return layers.Dense(classes, activation="softmax", dtype="float32", name="scores")(x)
