"""The digit models: denoising autoencoders and classifiers for 28×28 gray pictures in [0, 1]."""

from __future__ import annotations

import keras
from keras import layers


def latent_autoencoder(latents: int = 16) -> keras.Model:
    """A convolutional encoder to a latent vector and the decoder back; each is a model of its own.

    `model.get_layer("encoder")` and `model.get_layer("decoder")` give the parts.

    Input and output shape: (batch, 28, 28, 1), [0, 1].
    """
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Flatten()(x)
    encoder = keras.Model(image, layers.Dense(latents, name="latent")(x), name="encoder")

    latent = keras.Input((latents,), name="latent")
    x = layers.Dense(7 * 7 * 64)(latent)
    x = layers.Reshape((7, 7, 64))(x)
    x = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Conv2DTranspose(1, 3, padding="same", activation="sigmoid", name="denoised")(x)
    decoder = keras.Model(latent, x, name="decoder")

    whole = keras.Input((28, 28, 1), name="image")
    return keras.Model(whole, decoder(encoder(whole)), name="latent_autoencoder")


def dense_classifier(classes: int = 10) -> keras.Model:
    """784 → 256 → 256 → classes, ReLU, softmax (269,322 parameters for ten classes).

    Input shape: (batch, 28, 28, 1), [0, 1]. Output shape: (batch, classes), probabilities.
    """
    image = keras.Input((28, 28, 1), name="image")
    x = layers.Flatten()(image)
    x = layers.Dense(256, activation="relu")(x)
    x = layers.Dense(256, activation="relu")(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax", name="scores")(x), name="dense_classifier")
