"""Camera denoisers: small residual U-Nets that keep their quality in 8-bit integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from quietframe_train.layers import FakeQuantization, PixelShuffle, PixelUnshuffle, SplitLuma
from quietframe_train.models.unet import conv, fake_quantized, unet

_FIRST = 6.0  # the first features reach about so far, in deviations
_MAX_SCALE = 0.5  # of a residual within ±1: 127 of 255 levels, as far as an int8 tensor of whole levels reaches


def camera_unet(
    widths: Sequence[int], encoder_convs: Sequence[int], decoder_convs: Sequence[int], last_kernel: int = 3
) -> keras.Model:
    """Build a residual U-Net on pixel-unshuffled frames, conditioned on the noise level.

    The frame is unshuffled by 2 and passes `unet`. The last convolution starts at zero, so that training starts
    from the identity, and its result is added to the frame.

    The noise level is a map at the size of the second level. It passes two 1×1 convolutions and is added to that
    level's first features: the same as an input plane, at a quarter of its size. Its mean passes two others and sets
    the unit of the residual, which the last convolution gives within ±1. So 8 bits are as fine beside faint noise as
    beside strong noise. One number: a factor for each pixel would cost 5 % of the time.

    Noise of sigma 50 is often stronger than the 127 levels either way that an int8 tensor in steps of one level holds.
    So the unit is split: its first part keeps the residual within that, and what exceeds it, which is nothing under
    fainter noise, is added afterwards.

    Args:
        widths: channels of each level, from the first (half size) down; at least two.
        encoder_convs: 3×3 convolutions of each level on the way down, the first or strided one included.
        decoder_convs: 3×3 convolutions of each level but the deepest on the way up.
        last_kernel: side of the last convolution, 1 or 3.

    Input shape:
        image: (batch, height, width, 3), [0, 1], BGR; height and width multiples of 2^len(widths).
        sigma: (batch, height / 4, width / 4, 1), noise standard deviation / 255.
    Output shape:
        (batch, height, width, 3), the denoised frame, not clipped.
    """
    image = keras.Input((None, None, 3), name="image")
    sigma = keras.Input((None, None, 1), name="sigma")
    frame = PixelUnshuffle(2, dtype="float32", name="unshuffle")(image)
    x = denoised(frame, sigma, sigma, widths, encoder_convs, decoder_convs, last_kernel)
    return keras.Model([image, sigma], x, name="camera_unet")


def denoised(
    frame: Any,
    level: Any,
    sigma: Any,
    widths: Sequence[int],
    encoder_convs: Sequence[int],
    decoder_convs: Sequence[int],
    last_kernel: int,
) -> Any:
    """Apply what `camera_unet` describes to an unshuffled frame.

    level: the map of noise levels. sigma: the same, or another one whose mean sets the unit of the residual.
    """
    features = level_features(level, widths[1], "level")
    scales = _residual_scales(layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name="level_mean")(sigma))
    x = fake_quantized(conv(frame, widths[0], "down0_0", activate=False, constraint=SplitLuma()), _FIRST, "down0_0")
    x = unet(x, widths, encoder_convs, decoder_convs, fake_quantize=True, level=features, gains=True)
    x = layers.Conv2D(12, last_kernel, padding="same", kernel_initializer="zeros", name="residual")(x)
    x = FakeQuantization(1.0, name="residual_quantized")(layers.Activation("hard_tanh", name="residual_bounded")(x))
    planes = frame
    for name, scale in zip(("scaled", "excess"), scales, strict=True):
        part = layers.Multiply(name=name)([x, scale])
        planes = layers.Add(dtype="float32", name=f"{name}_added")([part, planes])  # bfloat16 would round the frame
    return PixelShuffle(2, dtype="float32", name="denoised")(planes)


def level_features(level: Any, width: int, name: str) -> Any:
    """Turn noise levels into so many features at the same size."""
    return layers.Conv2D(width, 1, activation="relu6", name=name)(_hidden(level, f"{name}_hidden"))


def camera_unet_geometry(
    widths: Sequence[int], encoder_convs: Sequence[int], decoder_convs: Sequence[int], last_kernel: int = 3
) -> tuple[int, int]:
    """(multiple, halo) in pixels of a `camera_unet`: what sizes it takes, and how far it sees.

    A pixel of level n is 2^(n+1) pixels wide; a 3×3 convolution sees one pixel further, a strided one a pixel of
    the level above, and an output pixel may sit anywhere in the coarsest pixel that it comes from.
    """
    size = [2 ** (depth + 1) for depth in range(len(widths))]
    down = sum(size[depth] * count for depth, count in enumerate(encoder_convs))
    strided = sum(size[depth - 1] - size[depth] for depth in range(1, len(widths)))
    up = sum(size[depth] * count for depth, count in enumerate(decoder_convs))
    last = size[0] * (last_kernel // 2)
    return size[-1], down + strided + up + last + size[-1] - 1


def _hidden(sigma: Any, name: str) -> Any:
    """Turn noise levels into 16 features each, which bend at levels of their own."""
    steep = keras.initializers.RandomUniform(0.0, 4.0)  # a level is a small number
    later = keras.initializers.RandomUniform(-0.6, 0.1)
    return layers.Conv2D(16, 1, activation="relu6", kernel_initializer=steep, bias_initializer=later, name=name)(sigma)


def _residual_scales(sigma: Any) -> tuple[Any, Any]:
    """Turn one noise level into the unit of the residual: its part up to `_MAX_SCALE`, and what exceeds that."""
    weak, faint = keras.initializers.RandomUniform(0.0, 1 / 2), keras.initializers.Constant(0.04)
    scale = layers.Conv2D(1, 1, kernel_initializer=weak, bias_initializer=faint, name="level_scale")(
        _hidden(sigma, "mean_hidden")
    )
    excess = layers.Rescaling(1.0, -_MAX_SCALE, name="level_beyond")(scale)
    return layers.ReLU(_MAX_SCALE, name="level_first")(scale), layers.ReLU(name="level_excess")(excess)
