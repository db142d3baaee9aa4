"""The architectures, by the names that recipes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras

from quietframe_train.models import fixed_size
from quietframe_train.models.camera import camera_unet, camera_unet_geometry
from quietframe_train.models.video import video_unet, video_unet_geometry

BUILDERS: Mapping[str, Callable[..., keras.Model]] = {
    builder.__name__: builder
    for builder in (
        fixed_size.bottleneck_autoencoder,
        fixed_size.bottleneck_autoencoder_deep,
        fixed_size.color_autoencoder,
        fixed_size.color_unet,
        fixed_size.conv_autoencoder,
        fixed_size.dense_autoencoder,
        fixed_size.dense_classifier,
        fixed_size.denoise_and_classify,
        fixed_size.digit_unet,
        fixed_size.latent_autoencoder,
        fixed_size.small_cnn,
        camera_unet,
        video_unet,
    )
}

GEOMETRIES: Mapping[str, Callable[..., tuple[int, int]]] = {
    "camera_unet": camera_unet_geometry,
    "video_unet": video_unet_geometry,
}
"""For models of any frame size: (multiple, halo) in pixels from the same arguments: what sizes they take, and how far
an output pixel sees.
"""
