"""The architectures, by the names that recipes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras

from quietframe_train.models import camera, classifiers, colour, digits

BUILDERS: Mapping[str, Callable[..., keras.Model]] = {
    builder.__name__: builder
    for builder in (
        camera.camera_unet,
        classifiers.dense_classifier,
        classifiers.denoise_and_classify,
        classifiers.small_cnn,
        colour.color_autoencoder,
        colour.color_unet,
        digits.bottleneck_autoencoder,
        digits.bottleneck_autoencoder_deep,
        digits.conv_autoencoder,
        digits.dense_autoencoder,
        digits.digit_unet,
        digits.latent_autoencoder,
    )
}

GEOMETRIES: Mapping[str, Callable[..., tuple[int, int]]] = {"camera_unet": camera.camera_unet_geometry}
"""For models of any frame size: (multiple, halo) in pixels from the same arguments: what sizes they take, and how far
an output pixel sees.
"""
