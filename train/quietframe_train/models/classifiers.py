"""The classifiers: an image of one size in [0, 1] in, the probability of each class out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from quietframe_train.models.digits import dense_autoencoder
from quietframe_train.models.unet import conv


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
