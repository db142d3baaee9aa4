"""Camera denoisers: small residual U-Nets that keep their quality in 8-bit integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from quietframe_train.layers import PixelShuffle, PixelUnshuffle


def camera_unet(widths: Sequence[int], encoder_convs: Sequence[int], decoder_convs: Sequence[int]) -> keras.Model:
    """A residual U-Net on pixel-unshuffled frames, told the noise level.

    The frame is unshuffled by 2; each deeper level halves it with a stride-2 convolution; each way up is a 1×1
    convolution, a pixel shuffle and an addition of the skip. The last 3×3 convolution starts at zero, so that
    training starts from the identity, and its result is added to the frame. All other convolutions carry batch
    normalization, which the exporter folds away, and ReLU6 but for the first features and the ways up: what a
    skip carries and what is added to it stay linear. Behind ReLU6 they would learn an offset of several standard
    deviations to get through unclipped, and 8 bits would spend most of their steps on it. Their outliers are left
    to the quantization phase and to the exporter's choice of ranges.

    The noise level passes two 1×1 convolutions and is added to the first features: the same as a constant
    input plane, without the plane.

    Args:
        widths: channels of each level, from the first (half size) down.
        encoder_convs: 3×3 convolutions of each level on the way down, the first or strided one included.
        decoder_convs: 3×3 convolutions of each level but the deepest on the way up.

    Input shape:
        image: (batch, height, width, 3), [0, 1], BGR; height and width multiples of 2^len(widths).
        sigma: (batch, 1, 1, 1), noise standard deviation / 255.
    Output shape:
        (batch, height, width, 3), the denoised frame, not clipped.
    """
    image = keras.Input((None, None, 3), name="image")
    sigma = keras.Input((1, 1, 1), name="sigma")
    level = layers.Conv2D(16, 1, activation="relu6", name="level_hidden")(sigma)
    level = layers.Conv2D(widths[0], 1, name="level")(level)

    frame = PixelUnshuffle(2, name="unshuffle")(image)
    x = layers.Add(name="conditioned")([_conv(frame, widths[0], "down0_0", activate=False), level])
    skips = []
    for depth, width in enumerate(widths):
        for index in range(encoder_convs[depth]):
            if depth == index == 0:
                continue
            x = _conv(x, width, f"down{depth}_{index}", strides=2 if depth and index == 0 else 1)
        skips.append(x)
    for depth in range(len(widths) - 2, -1, -1):
        x = layers.Conv2D(4 * widths[depth], 1, use_bias=False, name=f"up{depth}")(x)
        x = layers.BatchNormalization(name=f"up{depth}_bn")(x)
        x = PixelShuffle(2, name=f"up{depth}_shuffle")(x)
        x = layers.Add(name=f"up{depth}_add")([x, skips[depth]])
        for index in range(decoder_convs[depth]):
            x = _conv(x, widths[depth], f"out{depth}_{index}")
    x = layers.Conv2D(12, 3, padding="same", kernel_initializer="zeros", name="residual")(x)
    x = layers.Add(name="denoised_planes")([x, frame])
    return keras.Model([image, sigma], PixelShuffle(2, name="denoised")(x), name="camera_unet")


def camera_unet_geometry(
    widths: Sequence[int], encoder_convs: Sequence[int], decoder_convs: Sequence[int]
) -> tuple[int, int]:
    """(multiple, halo) in pixels of a `camera_unet`: what sizes it takes, and how far it sees.

    A pixel of level n is 2^(n+1) pixels wide; a 3×3 convolution sees one pixel further, a strided one a pixel of
    the level above, and an output pixel may sit anywhere in the coarsest pixel that it comes from.
    """
    size = [2 ** (depth + 1) for depth in range(len(widths))]
    down = sum(size[depth] * count for depth, count in enumerate(encoder_convs))
    strided = sum(size[depth - 1] - size[depth] for depth in range(1, len(widths)))
    up = sum(size[depth] * count for depth, count in enumerate(decoder_convs))
    return size[-1], down + strided + up + size[0] + size[-1] - 1


def _conv(x: Any, width: int, name: str, *, strides: int = 1, activate: bool = True) -> Any:
    """A 3×3 convolution with batch normalization and, unless told otherwise, ReLU6."""
    x = layers.Conv2D(width, 3, strides=strides, padding="same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activate else x
