"""The digit denoisers: 28×28 gray images in [0, 1] in, the same out; noise may exceed that range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

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
    """Three strided convolutions with LeakyReLU to a dense bottleneck, and a mirrored decoder.

    Its source starts the decoder at 7×7 and so ends at 56×56; here it starts at 4×4, where the encoder ends, and
    the first step back goes to 7×7.
    """
    image = keras.Input((28, 28, 1), name="image")
    x = image
    for width in (32, 64, 128):
        x = layers.LeakyReLU(0.2)(layers.Conv2D(width, 3, strides=2, padding="same")(x))
    x = layers.Dense(latents, name="latent")(layers.Flatten()(x))
    x = layers.Reshape((4, 4, 128))(layers.Dense(4 * 4 * 128)(x))
    x = layers.LeakyReLU(0.2)(layers.Conv2DTranspose(64, 3, strides=2, padding="same", output_padding=0)(x))
    x = layers.LeakyReLU(0.2)(layers.Conv2DTranspose(32, 3, strides=2, padding="same")(x))
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
