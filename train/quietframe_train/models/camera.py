"""Camera denoisers: small residual U-Nets that keep their quality in 8-bit integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from quietframe_train.layers import PixelShuffle, PixelUnshuffle, TrainedSteps, ZeroMean
from quietframe_train.models.unet import calmed, conv, unet

_FIRST = 6.0  # the first features reach about so far, in deviations
_GAIN = 6.0
_RESIDUAL = 4.0  # and what is taken away, in what the noise level makes the unit of it


def camera_unet(
    widths: Sequence[int], encoder_convs: Sequence[int], decoder_convs: Sequence[int], last_kernel: int = 3
) -> keras.Model:
    """A residual U-Net on pixel-unshuffled frames, told the noise level.

    The frame is unshuffled by 2 and passes `unet`. The last convolution starts at zero, so that training starts
    from the identity, and its result is added to the frame.

    The noise level passes two 1×1 convolutions and is added to the first features of the second level: the same as a
    constant input plane, without the plane. By two others it sets one factor for the first features and one for what is
    taken away from the frame. So the network works in units of the noise, and 8 bits are as fine beside faint noise as
    beside strong noise. One number each: integer kernels multiply faster by one than by one for each channel.

    Args:
        widths: channels of each level, from the first (half size) down; at least two.
        encoder_convs: 3×3 convolutions of each level on the way down, the first or strided one included.
        decoder_convs: 3×3 convolutions of each level but the deepest on the way up.
        last_kernel: side of the last convolution, 1 or 3.

    Input shape:
        image: (batch, height, width, 3), [0, 1], BGR; height and width multiples of 2^len(widths).
        sigma: (batch, 1, 1, 1), noise standard deviation / 255.
    Output shape:
        (batch, height, width, 3), the denoised frame, not clipped.
    """
    image = keras.Input((None, None, 3), name="image")
    sigma = keras.Input((1, 1, 1), name="sigma")
    hidden, gate, scale = _conditions(sigma)
    level = layers.Conv2D(widths[1], 1, activation="relu6", name="level")(hidden)
    frame = PixelUnshuffle(2, dtype="float32", name="unshuffle")(image)
    x = calmed(conv(frame, widths[0], "down0_0", activate=False, constraint=ZeroMean()), _FIRST, "down0_0")
    x = calmed(layers.Multiply(name="gated")([x, gate]), _FIRST, "gated")
    x = unet(x, widths, encoder_convs, decoder_convs, calm=True, level=level)
    x = layers.Conv2D(12, last_kernel, padding="same", kernel_initializer="zeros", name="residual")(x)
    x = layers.Multiply(name="scaled")([calmed(x, _RESIDUAL, "residual"), scale])
    x = layers.Add(dtype="float32", name="denoised_planes")([x, frame])  # a frame in bfloat16 is rounded to 8 bits
    x = PixelShuffle(2, dtype="float32", name="denoised")(x)
    return keras.Model([image, sigma], x, name="camera_unet")


def camera_nano(width: int, deep_widths: Sequence[int]) -> keras.Model:
    """The smallest denoiser: a few filters of the frame, and a network at quarter size that says what they take away.

    The filters look for noise. A coarse network sees their answers and gives a gain for each of them at every place,
    high where it finds nothing but noise, low on texture: shrinkage, as of wavelets (Donoho and Johnstone 1994), with
    learned filters and gains. Where noise is strong the coarse network also says outright what to take away. In a
    model so small that took far more of noise for its time than a `camera_unet` of two levels; and it moves less about:
    the first convolution takes the frame as it is.

    Answers beyond ±1 are edges, and are cut off there, before the noise level's factor and behind it: that is the
    activation of a convolution and of a product, and costs nothing. Without the first, 8 bits were too coarse for faint
    noise.

    Told the noise level as `camera_unet` is, and it starts from the identity, too.

    Args:
        width: filters, at half size.
        deep_widths: channels of each 3×3 convolution at quarter size; the first is strided.

    Input and output shapes: those of `camera_unet`; height and width multiples of 4.
    """
    image = keras.Input((None, None, 3), name="image")
    sigma = keras.Input((1, 1, 1), name="sigma")
    hidden, gate, scale = _conditions(sigma)
    level = layers.Conv2D(deep_widths[0], 1, name="level")(hidden)
    x = layers.Conv2D(
        width, 3, strides=2, padding="same", use_bias=False, kernel_constraint=ZeroMean(), name="down0_0"
    )(image)
    sixth = keras.initializers.Constant(1 / 6)  # so that six deviations of all noise pass
    x = layers.BatchNormalization(gamma_initializer=sixth, name="down0_0_bn")(x)
    x = TrainedSteps(1.0, name="down0_0_calm")(layers.Activation("hard_tanh", name="down0_0_bounded")(x))
    x = layers.Activation("hard_tanh", name="bounded")(layers.Multiply(name="gated")([x, gate]))
    fine = TrainedSteps(1.0, name="bounded_calm")(x)
    x = fine
    for index, deep_width in enumerate(deep_widths):
        x = conv(x, deep_width, f"down1_{index}", strides=1 if index else 2)
        x = x if index else layers.Add(name="told")([x, level])
    gain = layers.Conv2D(4 * width, 1, bias_initializer="ones", name="gain")(x)
    gain = PixelShuffle(2, name="gain_shuffle")(calmed(gain, _GAIN, "gain"))
    fine = calmed(layers.Multiply(name="gained")([fine, gain]), _FIRST / 3, "gained")
    fine = layers.Conv2D(12, 1, kernel_initializer="zeros", name="residual_fine")(fine)
    coarse = layers.Conv2D(4 * 12, 1, kernel_initializer="zeros", name="up0")(x)
    coarse = PixelShuffle(2, name="up0_shuffle")(calmed(coarse, _RESIDUAL, "up0"))
    x = layers.Add(name="residual")([coarse, calmed(fine, _RESIDUAL, "residual_fine")])
    x = layers.Multiply(name="scaled")([calmed(x, _RESIDUAL, "residual"), scale])
    x = PixelShuffle(2, dtype="float32", name="removed")(x)
    x = layers.Add(dtype="float32", name="denoised")([x, image])  # a frame in bfloat16 is rounded to 8 bits
    return keras.Model([image, sigma], x, name="camera_nano")


def camera_nano_geometry(width: int, deep_widths: Sequence[int]) -> tuple[int, int]:
    """(multiple, halo) in pixels of a `camera_nano`: see `camera_unet_geometry`."""
    first, strided, deep = 1, 2, 4 * (len(deep_widths) - 1)
    return 4, first + strided + deep + 4 - 1


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


def _conditions(sigma: Any) -> tuple[Any, Any, Any]:
    """What a noise level gives: the features that it becomes, a factor for the first features, and one for what is
    taken away.
    """
    steep = keras.initializers.RandomUniform(0.0, 4.0)  # a level is a small number
    later = keras.initializers.RandomUniform(-0.6, 0.1)  # so that it bends at levels of its own
    hidden = layers.Conv2D(
        16, 1, activation="relu6", kernel_initializer=steep, bias_initializer=later, name="level_hidden"
    )(sigma)
    gate = layers.Conv2D(1, 1, activation="relu6", bias_initializer="ones", name="level_gate")(hidden)
    weak, faint = keras.initializers.RandomUniform(0.0, 1 / 8), keras.initializers.Constant(0.01)
    scale = layers.Conv2D(
        1, 1, activation="relu6", kernel_initializer=weak, bias_initializer=faint, name="level_scale"
    )(hidden)
    return hidden, gate, scale
