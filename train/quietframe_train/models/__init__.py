"""The architectures, by the names that recipes use."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras

from quietframe_train.models.camera import camera_unet
from quietframe_train.models.digits import dense_classifier, latent_autoencoder

BUILDERS: Mapping[str, Callable[..., keras.Model]] = {
    "camera_unet": camera_unet,
    "dense_classifier": dense_classifier,
    "latent_autoencoder": latent_autoencoder,
}
