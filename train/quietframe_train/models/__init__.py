"""The architectures, by the names that recipes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras

from quietframe_train.models.camera import camera_unet, camera_unet_geometry
from quietframe_train.models.classifiers import denoise_and_classify, dense_classifier, small_cnn
from quietframe_train.models.colour import color_autoencoder, color_unet
from quietframe_train.models.digits import (
    bottleneck_autoencoder,
    bottleneck_autoencoder_deep,
    conv_autoencoder,
    dense_autoencoder,
    digit_unet,
    latent_autoencoder,
)

BUILDERS: Mapping[str, Callable[..., keras.Model]] = {
    "bottleneck_autoencoder": bottleneck_autoencoder,
    "bottleneck_autoencoder_deep": bottleneck_autoencoder_deep,
    "camera_unet": camera_unet,
    "color_autoencoder": color_autoencoder,
    "color_unet": color_unet,
    "conv_autoencoder": conv_autoencoder,
    "dense_autoencoder": dense_autoencoder,
    "dense_classifier": dense_classifier,
    "denoise_and_classify": denoise_and_classify,
    "digit_unet": digit_unet,
    "latent_autoencoder": latent_autoencoder,
    "small_cnn": small_cnn,
}

GEOMETRIES: Mapping[str, Callable[..., tuple[int, int]]] = {"camera_unet": camera_unet_geometry}
"""For models of any frame size: (multiple, halo) in pixels from the same arguments: what sizes they take, and how far
an output pixel sees.
"""
