"""Denoisers of whole colour images, (side, side, 3) in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from quietframe_train.layers import PixelShuffle, PixelUnshuffle
from quietframe_train.models.unet import conv, unet


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
    x = layers.Conv2D(3, 3, padding="same", activation="sigmoid", dtype="float32", name="denoised")(x)
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
    x = layers.Activation("sigmoid", dtype="float32", name="denoised")(PixelShuffle(2, name="shuffle")(x))
    return keras.Model(image, x, name="color_unet")


def _conv(x: Any, width: int) -> Any:
    return layers.Conv2D(width, 3, padding="same", activation="relu")(x)
