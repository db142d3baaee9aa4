"""Video denoisers: what was seen before is fused into the frame, and the result denoised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from quietframe_train.layers import NextState, PixelShuffle, PixelUnshuffle, Warp
from quietframe_train.models.camera import camera_unet_geometry, denoised, level_features

MAX_DIFFERENCE = 128 / 255  # which int8 holds to the level


def video_unet(
    widths: Sequence[int],
    encoder_convs: Sequence[int],
    decoder_convs: Sequence[int],
    last_kernel: int = 3,
    trust_width: int = 16,
) -> keras.Model:
    """Build the step of a video denoiser: a recursive filter in front of a `camera_unet`.

    The state is a mean of the frames before, weighted at every place as in a Kalman filter (1960): it cannot drift. Its
    `confidence` is the weight that such a filter would give it beside the new frame if nothing had moved, 1 / (1 + v)
    for a state whose noise has v times the variance of a frame's; 0: there is no past. Three convolutions at quarter
    size look at the difference of frame and state and say how far it may be trusted; `weight` is that, times the
    confidence. The frame and the state are averaged by it, and the U-Net is given how much noise is left.

    The first frame, with confidence 0, is denoised as by the `camera_unet` of the same weights.

    Args:
        widths, encoder_convs, decoder_convs, last_kernel: see `camera_unet`.
        trust_width: channels of the convolutions that judge the difference.

    Input shape:
        image, state: (batch, height, width, 3), [0, 1], BGR; height and width multiples of 2^len(widths).
        confidence: (batch, height / 2, width / 2, 1), [0, 1).
        sigma: (batch, height / 4, width / 4, 1), noise standard deviation of the frame / 255.
    Output shape:
        denoised: as `image`, not clipped. weight: as `confidence`, of the state in the new one.
    """
    image, state = (keras.Input((None, None, 3), name=name) for name in ("image", "state"))
    confidence, sigma = (keras.Input((None, None, 1), name=name) for name in ("confidence", "sigma"))
    frame, before = PixelUnshuffle(2, name="unshuffle")(image), PixelUnshuffle(2, name="state_unshuffle")(state)
    difference = layers.Subtract(name="difference")([before, frame])
    bounded = layers.Activation("hard_tanh", name="difference_bounded")(
        layers.Rescaling(1 / MAX_DIFFERENCE)(difference)
    )
    coarse_confidence = PixelUnshuffle(2, name="confidence_unshuffle")(confidence)
    trust = _trust(bounded, layers.Concatenate(name="trust_known")([sigma, coarse_confidence]), trust_width)
    weight = layers.Multiply(name="weight")([trust, confidence])
    moved = layers.Multiply(name="moved")([bounded, layers.Rescaling(MAX_DIFFERENCE)(weight)])
    fused = layers.Add(name="fused")([frame, moved])
    left = layers.Subtract(name="level_left")([sigma, _level_removed(weight, coarse_confidence, sigma)])
    level = layers.ReLU(name="level_left_bounded")(left)
    result = denoised(fused, level, sigma, widths, encoder_convs, decoder_convs, last_kernel)
    return keras.Model([image, state, confidence, sigma], [result, weight], name="video_unet")


def video_unet_geometry(*, trust_width: int = 16, **camera: Any) -> tuple[int, int]:
    """(multiple, halo) in pixels of a `video_unet`, as of `camera_unet_geometry`."""
    multiple, halo = camera_unet_geometry(**camera)
    return multiple, halo + 2 + 4 + 4 + 3  # the strided convolution, two others and a pixel of quarter size


def _trust(difference: Any, known: Any, width: int) -> Any:
    """Judge at half size how far the past may be trusted, in [0, 1]."""
    x = layers.Conv2D(
        width, 3, strides=2, padding="same", kernel_initializer=keras.initializers.VarianceScaling(8.0), name="trust0"
    )(difference)
    x = layers.ReLU(6.0, name="trust0_relu")(
        layers.Add(name="trust0_known")([x, level_features(known, width, "trust_level")])
    )
    for index in (1, 2):
        x = layers.Conv2D(width, 3, padding="same", activation="relu6", name=f"trust{index}")(x)
    x = layers.Conv2D(4, 1, kernel_initializer="zeros", bias_initializer="ones", name="trust_logits")(x)
    return layers.Activation("sigmoid", name="trust")(PixelShuffle(2, name="trust_shuffle")(x))


def _level_removed(weight: Any, confidence: Any, sigma: Any) -> Any:
    """Find at quarter size how much lower the noise level is in the fused frame: by exactly 0 where the weight is 0.

    weight: at half size. confidence: four values of half size for each pixel of quarter size.
    """
    weights = PixelUnshuffle(2, name="weight_unshuffle")(weight)
    known = layers.Concatenate(name="noise_known")(
        [weights, layers.Multiply(name="weight_confidence")([weights, confidence])]
    )
    positive = keras.initializers.RandomUniform(0.0, 0.5)
    hidden = layers.Conv2D(
        16, 1, activation="relu6", kernel_initializer=positive, use_bias=False, name="noise_removed_hidden"
    )(known)
    # Linear: a ReLU here went below 0 in the first steps of a training, and stayed there.
    some = keras.initializers.Constant(0.02)
    share = layers.Conv2D(1, 1, kernel_initializer=some, use_bias=False, name="noise_removed")(hidden)
    return layers.Multiply(name="level_removed")([share, sigma])


def unrolled(model: keras.Model, frames: int, patch: int) -> keras.Model:
    """Apply the step to a clip, frame by frame, for training; it has the model's weights.

    Inputs and outputs are those of `data.clips.clip_batch`.
    """
    image = keras.Input((frames * patch, patch, 3), name="image")
    flow = keras.Input((frames * patch, patch, 2), name="flow")
    first = state = keras.Input((patch, patch, 3), name="state")
    known = confidence = keras.Input((patch // 2, patch // 2, 1), name="confidence")
    sigma = keras.Input((patch // 4, patch // 4, 1), name="sigma")
    results = []
    for index in range(frames):
        place = slice(index * patch, (index + 1) * patch)
        frame, moved = image[:, place], flow[:, place]
        if index:
            state = Warp()([state, moved])
            confidence = Warp()([confidence, layers.AveragePooling2D(2)(moved) / 2])
        result, weight = model([frame, state, confidence, sigma])
        state, confidence = NextState()([frame, state, weight, confidence])
        results.append(result)
    inputs = {"image": image, "flow": flow, "state": first, "confidence": known, "sigma": sigma}
    return keras.Model(inputs, layers.Concatenate(axis=1)(results), name="unrolled")
