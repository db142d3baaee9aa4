"""The U-shaped network that the denoisers share: it survives 8-bit integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from quietframe_train.layers import FakeQuantization, PixelShuffle, RangeLimit

_WAY_UP, _SUM, _GAIN = 2.5, 6.0, 6.0
_LAST = 6.0  # what ReLU6 lets through


def unet(
    x: Any,
    widths: Sequence[int],
    encoder_convs: Sequence[int],
    decoder_convs: Sequence[int],
    *,
    fake_quantize: bool = False,
    level: Any = None,
    gains: bool = False,
) -> Any:
    """Turn the first linear features of an image into others at its own size.

    Each deeper level halves the size with a stride-2 convolution; each way up is a 1×1 convolution, a pixel shuffle
    and an addition of the skip. All convolutions carry batch normalization, which the exporter folds away, and ReLU6
    but for the ways up: what a skip carries and what is added to it stay linear. Behind ReLU6 they would learn an
    offset of several standard deviations to get through unclipped, and 8 bits would spend most of their steps on it.
    Their outliers are left to the quantization phase and to the exporter's choice of ranges.

    Args:
        x: first features, (batch, height, width, widths[0]), height and width multiples of 2^(len(widths) - 1).
        widths: channels of each level, from the first down.
        encoder_convs: 3×3 convolutions of each level on the way down, with the strided one and the one that made `x`.
        decoder_convs: 3×3 convolutions of each level but the deepest on the way up.
        fake_quantize: train the linear tensors for their 8 bits from the start: see `fake_quantized`. On the ways up
            the limit is low: the scale of a sum is free, as normalization follows, and grows if nothing holds it, but
            what the skip carries needs the finer steps. What ReLU6 gives at the first level's size on the way up is
            rounded, too: a tenth of the noise is a tenth of these features, and nothing else keeps them above a step.
        level: features of the noise level, (batch, height / 2, width / 2, widths[1]): added to the first features of
            the second level.
        gains: multiply the first skip by gains that the second level finds for each feature and place. The features
            are linear filters of the image; what they find is kept on a leaf and removed on a wall, as wavelet
            shrinkage does (Donoho and Johnstone 1994).

    Returns (batch, height, width, widths[0]).
    """
    skips = []
    for depth, width in enumerate(widths):
        for index in range(encoder_convs[depth]):
            if depth == index == 0:
                continue
            x = conv(x, width, f"down{depth}_{index}", strides=2 if depth and index == 0 else 1)
            if level is not None and depth == 1 and index == 0:
                x = layers.Add(name="conditioned")([x, level])
        skips.append(x)
    for depth in range(len(widths) - 2, -1, -1):
        if gains and depth == 0:
            gain = layers.Conv2D(4 * widths[0], 1, bias_initializer="ones", name="gain")(x)
            gain = PixelShuffle(2, name="gain_shuffle")(fake_quantized(gain, _GAIN, "gain"))
            skips[0] = fake_quantized(layers.Multiply(name="gained")([skips[0], gain]), _SUM, "gained")
        x = layers.Conv2D(4 * widths[depth], 1, use_bias=False, name=f"up{depth}")(x)
        x = layers.BatchNormalization(name=f"up{depth}_bn")(x)
        x = fake_quantized(x, _WAY_UP, f"up{depth}") if fake_quantize else x
        x = PixelShuffle(2, name=f"up{depth}_shuffle")(x)
        x = layers.Add(name=f"up{depth}_add")([x, skips[depth]])
        x = fake_quantized(x, _SUM, f"up{depth}_add") if fake_quantize else x
        for index in range(decoder_convs[depth]):
            x = conv(x, widths[depth], f"out{depth}_{index}")
            if fake_quantize and depth == 0:
                x = FakeQuantization(_LAST / 2, name=f"out{depth}_{index}_quantized")(x)
    return x


def fake_quantized(x: Any, limit: float, name: str) -> Any:
    """Train a linear tensor for its 8 bits: values beyond ±limit cost, those within are rounded to the steps."""
    return FakeQuantization(limit, activity_regularizer=RangeLimit(limit), name=f"{name}_quantized")(x)


def conv(x: Any, width: int, name: str, *, strides: int = 1, activate: bool = True, constraint: Any = None) -> Any:
    """A 3×3 convolution, batch normalization and, unless switched off, ReLU6."""
    x = layers.Conv2D(
        width, 3, strides=strides, padding="same", use_bias=False, kernel_constraint=constraint, name=name
    )(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activate else x
