"""The models of the zoo: after keras.io's examples, keras.applications, published designs, and one of each odd kind.

Each has random weights, scaled by `spread_outputs` so that the outputs differ from image to image.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

Build = Callable[[], keras.Model]
TFLITE = ("tflite-fp32", "tflite-int8")
PHOTO, DIGIT, ANY = (64, 64, 3), (28, 28, 1), (None, None, 3)


@dataclass(frozen=True)
class Entry:
    """A model, and what the export has to know of it.

    Attributes:
        build: makes it.
        kind: what it stands for.
        digits: whether its images are gray digits of 28×28; else they are photographs in RGB.
        unsafe: see `load_keras`.
        suffix: of the file that it is saved as.
        max_error: of float files, where Keras computes less precisely than they do.
        refused: by target, or `all`, a regular expression of the reason that is the true one.
    """

    build: Build
    kind: str
    digits: bool = False
    unsafe: bool = False
    suffix: str = ".keras"
    max_error: float = 1e-3
    refused: Mapping[str, str] = field(default_factory=dict)


def conv(filters: int, size: int = 3, **options: Any) -> Any:
    return layers.Conv2D(filters, size, padding="same", **options)


def small() -> Any:
    """The initializer of a last layer that adds a little to its input."""
    return keras.initializers.RandomNormal(stddev=0.03)


def residual(*middle: Any, shape: tuple[int | None, ...] = ANY) -> keras.Model:
    """A denoiser that adds a little to its input."""
    image = keras.Input(shape)
    x = conv(8, activation="relu")(image)
    for layer in middle:
        x = layer(x)
    return keras.Model(image, layers.Add()([image, conv(shape[-1] or 1, kernel_initializer=small())(x)]))


def sequence(shape: tuple[int | None, ...], *middle: Any, last: str | None = "softmax") -> keras.Model:
    """A classifier of ten classes."""
    return keras.Sequential([keras.Input(shape), *middle, layers.Dense(10, activation=last)])


# Denoisers


def dncnn() -> keras.Model:
    image = keras.Input(ANY)
    x = conv(16, activation="relu")(image)
    for _ in range(4):
        x = layers.ReLU()(layers.BatchNormalization()(conv(16, use_bias=False)(x)))
    return keras.Model(image, layers.Subtract()([image, conv(3, kernel_initializer=small())(x)]))


def ffdnet() -> keras.Model:
    """With a map of the noise level as its second input."""
    image, sigma = keras.Input(ANY, name="image"), keras.Input((None, None, 1), name="sigma")
    x = layers.Concatenate()([ops.space_to_depth(image, 2), ops.space_to_depth(sigma, 2)])
    for _ in range(3):
        x = conv(16, activation="relu")(x)
    return keras.Model([image, sigma], image - ops.depth_to_space(conv(12, kernel_initializer=small())(x), 2))


def film() -> keras.Model:
    """Scaled and shifted by one noise level of shape (batch, 1)."""
    image, sigma = keras.Input(ANY, name="noisy"), keras.Input((1,), name="level")
    x = conv(8, activation="relu")(image)
    scale, shift = (layers.Reshape((1, 1, 8))(layers.Dense(8)(sigma)) for _ in range(2))
    return keras.Model([image, sigma], image + conv(3, kernel_initializer=small())(x * (1 + scale) + shift))


def conv_autoencoder() -> keras.Model:
    """keras.io/examples/vision/autoencoder."""
    image = keras.Input(DIGIT)
    x = layers.MaxPooling2D(padding="same")(conv(32, activation="relu")(image))
    x = layers.MaxPooling2D(padding="same")(conv(32, activation="relu")(x))
    for _ in range(2):
        x = layers.Conv2DTranspose(32, 3, strides=2, activation="relu", padding="same")(x)
    return keras.Model(image, conv(1, activation="sigmoid")(x))


def variational() -> keras.Model:
    """keras.io/examples/generative/vae, with the mean as its code."""
    encoder = keras.Sequential([keras.Input(DIGIT), layers.Conv2D(32, 3, strides=2, activation="relu", padding="same")])
    image = keras.Input(DIGIT)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(encoder(image)))
    code, _ = layers.Dense(8)(x), layers.Dense(8)(x)
    x = layers.Reshape((7, 7, 16))(layers.Dense(7 * 7 * 16, activation="relu")(code))
    x = layers.Conv2DTranspose(16, 3, strides=2, activation="relu", padding="same")(x)
    return keras.Model(image, layers.Conv2DTranspose(1, 3, strides=2, activation="sigmoid", padding="same")(x))


def unet(up: Any, shape: tuple[int | None, ...] = ANY) -> keras.Model:
    image = keras.Input(shape)
    skip = conv(8, activation="relu")(image)
    x = conv(8, activation="relu")(layers.AveragePooling2D(2)(layers.MaxPooling2D()(skip)))
    x = layers.Concatenate()([layers.UpSampling2D()(up(x)), skip])
    return keras.Model(image, conv(3, activation="sigmoid")(x))


def unet_xception() -> keras.Model:
    """keras.io/examples/vision/oxford_pets_image_segmentation."""
    image = keras.Input(PHOTO)
    x = layers.ReLU()(layers.BatchNormalization()(conv(8, strides=2)(image)))
    before = x
    for filters in (16, 32):
        x = layers.BatchNormalization()(layers.SeparableConv2D(filters, 3, padding="same")(layers.ReLU()(x)))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = before = layers.add([x, conv(filters, 1, strides=2)(before)])
    for filters in (32, 16, 8):
        x = layers.BatchNormalization()(layers.Conv2DTranspose(filters, 3, padding="same")(layers.ReLU()(x)))
        x = layers.UpSampling2D(2)(x)
        x = before = layers.add([x, conv(filters, 1)(layers.UpSampling2D(2)(before))])
    return keras.Model(image, conv(3, activation="sigmoid")(x))


def attention_unet() -> keras.Model:
    image = keras.Input(ANY)
    skip = conv(8, activation="relu")(image)
    x = layers.UpSampling2D()(conv(8, activation="relu")(conv(8, strides=2, activation="relu")(skip)))
    gate = conv(1, 1, activation="sigmoid")(layers.ReLU()(layers.Add()([conv(8, 1)(x), conv(8, 1)(skip)])))
    return keras.Model(image, conv(3, activation="sigmoid")(layers.Concatenate()([x, skip * gate])))


def pix2pix() -> keras.Model:
    """tensorflow.org/tutorials/generative/pix2pix, three levels deep."""
    x = image = keras.Input(PHOTO)
    skips = []
    for filters in (8, 16, 32):
        x = layers.BatchNormalization()(conv(filters, 4, strides=2, use_bias=False)(x))
        x = layers.LeakyReLU(0.3)(x)
        skips.append(x)
    for filters, skip in zip((16, 8), reversed(skips[:-1]), strict=True):
        x = layers.Conv2DTranspose(filters, 4, strides=2, padding="same", use_bias=False)(x)
        x = layers.Concatenate()([layers.ReLU()(layers.Dropout(0.5)(layers.BatchNormalization()(x))), skip])
    return keras.Model(image, layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")(x))


def zero_dce() -> keras.Model:
    """keras.io/examples/vision/zero_dce."""
    image = keras.Input(ANY)
    first = conv(8, activation="relu")(image)
    second = conv(8, activation="relu")(first)
    third = conv(8, activation="relu")(second)
    x = conv(8, activation="relu")(layers.Concatenate()([second, third]))
    curves = conv(24, activation="tanh")(layers.Concatenate()([first, x]))
    x = image
    for curve in ops.split(curves, 8, axis=-1):
        x = x + curve * 0.2 * (ops.square(x) - x)
    return keras.Model(image, x)


def mirnet() -> keras.Model:
    """The selective kernel fusion and the attention of keras.io/examples/vision/mirnet."""
    image = keras.Input(ANY)
    x = conv(8)(image)
    streams = [conv(8, activation="relu")(x), layers.UpSampling2D()(conv(8)(layers.MaxPooling2D()(x)))]
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(layers.Add()(streams))
    squeezed = conv(2, 1, activation="relu")(pooled)
    x = layers.Add()([stream * conv(8, 1, activation="softmax")(squeezed) for stream in streams])
    mean, largest = ops.mean(x, axis=-1, keepdims=True), ops.max(x, axis=-1, keepdims=True)
    x = x * conv(1, activation="sigmoid")(layers.Concatenate()([mean, largest]))
    return keras.Model(image, conv(3, kernel_initializer=small())(x) + image)


def nafnet() -> keras.Model:
    """A block of Chen et al. 2022: gates in place of activations, attention to channels."""
    image = keras.Input(ANY)
    x = before = conv(8)(image)
    x = layers.DepthwiseConv2D(3, padding="same")(conv(16, 1)(layers.LayerNormalization(epsilon=1e-6)(x)))
    left, right = ops.split(x, 2, axis=-1)
    x = left * right
    x = before + conv(8, 1)(x * conv(8, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x)))
    return keras.Model(image, conv(3, kernel_initializer=small())(x) + image)


def restormer() -> keras.Model:
    """Attention between channels (Zamir et al. 2022), in images of one size."""
    image = keras.Input(PHOTO)
    x = conv(8)(image)
    query, key, value = (layers.Reshape((64 * 64, 8))(layers.DepthwiseConv2D(3, padding="same")(x)) for _ in range(3))
    query, key = (layers.UnitNormalization(axis=1)(each) for each in (query, key))
    attention = ops.softmax(ops.matmul(ops.transpose(query, (0, 2, 1)), key))
    x = x + layers.Reshape((64, 64, 8))(ops.matmul(value, attention))
    return keras.Model(image, conv(3, kernel_initializer=small())(x) + image)


def swin() -> keras.Model:
    """Attention in windows of 8×8 (Liang et al. 2021), shifted by four."""
    image = keras.Input((32, 32, 3))
    x = before = conv(16)(image)
    x = ops.roll(layers.LayerNormalization()(x), (-4, -4), axis=(1, 2))
    x = ops.reshape(ops.transpose(ops.reshape(x, (-1, 4, 8, 4, 8, 16)), (0, 1, 3, 2, 4, 5)), (-1, 64, 16))
    x = layers.MultiHeadAttention(2, 8)(x, x)
    x = ops.reshape(ops.transpose(ops.reshape(x, (-1, 4, 4, 8, 8, 16)), (0, 1, 3, 2, 4, 5)), (-1, 32, 32, 16))
    x = before + ops.roll(x, (4, 4), axis=(1, 2))
    return keras.Model(image, conv(3, kernel_initializer=small())(x) + image)


def non_local() -> keras.Model:
    image = keras.Input((32, 32, 3))
    x = conv(8, strides=2)(image)
    flat = layers.Reshape((256, 8))(x)
    x = layers.Add()([x, layers.Reshape((16, 16, 8))(layers.Attention(use_scale=True)([flat, flat]))])
    return keras.Model(image, conv(3, kernel_initializer=small())(layers.UpSampling2D()(x)) + image)


def convnext_block(x: Any) -> Any:
    before = x
    x = layers.LayerNormalization(epsilon=1e-6)(layers.DepthwiseConv2D(7, padding="same")(x))
    return before + layers.Dense(8)(layers.Activation("gelu")(layers.Dense(32)(x)))


def levels() -> keras.Model:
    """From 8-bit levels to 8-bit levels."""
    image = keras.Input(ANY)
    x = conv(8, activation="silu")(layers.Rescaling(1 / 127.5, -1)(image))
    return keras.Model(image, layers.Rescaling(127.5, 127.5)(conv(3, activation="tanh")(x)))


def channels_first() -> keras.Model:
    image = keras.Input((3, 32, 32))
    x = conv(8, data_format="channels_first", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(axis=1, beta_initializer="random_normal")(x))
    x = layers.UpSampling2D(data_format="channels_first")(layers.MaxPooling2D(data_format="channels_first")(x))
    return keras.Model(image, conv(3, data_format="channels_first", activation="sigmoid")(x))


def squeeze_and_excite(x: Any) -> Any:
    gate = layers.GlobalAveragePooling2D(keepdims=True)(conv(8, activation="hard_swish")(x))
    return x * conv(8, 1, activation="sigmoid")(gate)


def normalized() -> keras.Model:
    image = keras.Input(ANY)
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.1])(image)
    x = layers.GaussianNoise(0.1)(layers.RandomContrast(0.2)(layers.RandomFlip()(x)))
    return keras.Model(image, conv(3, kernel_initializer=small())(x) + image)


def shared() -> keras.Model:
    """One submodel, called twice."""
    image = keras.Input(ANY)
    block = keras.Sequential([conv(8, activation="relu"), conv(8)])
    x = conv(8)(image)
    return keras.Model(image, conv(3, kernel_initializer=small())(block(layers.ReLU()(block(x)))) + image)


def deep_supervision() -> keras.Model:
    """Of its two outputs the second is smaller than the image, and for training alone."""
    image = keras.Input(ANY)
    x = conv(8, activation="relu", strides=2)(image)
    fine = conv(3, activation="sigmoid")(layers.UpSampling2D()(x))
    return keras.Model(image, [fine, conv(3, activation="sigmoid")(x)])


def two_tasks() -> keras.Model:
    """The outputs are known by their shapes, whatever their order."""
    image = keras.Input(DIGIT)
    x = conv(4, activation="relu")(image)
    scores = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    return keras.Model(image, [scores, conv(1, activation="sigmoid")(x)])


@keras.saving.register_keras_serializable("zoo")
class FakeQuantized(layers.Layer):
    """Quantization-aware training's: values on 256 steps of [-1, 1]."""

    def call(self, inputs: Any) -> Any:
        return keras.quantizers.fake_quant_with_min_max_vars(inputs, -1.0, 1.0, num_bits=8)


# Classifiers


def xception_small() -> keras.Model:
    """keras.io/examples/vision/image_classification_from_scratch."""
    image = keras.Input(PHOTO)
    x = layers.ReLU()(layers.BatchNormalization()(conv(16, strides=2)(layers.Rescaling(1.0 / 255)(image))))
    before = x
    for filters in (32, 64):
        x = layers.BatchNormalization()(layers.SeparableConv2D(filters, 3, padding="same")(layers.ReLU()(x)))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
        x = before = layers.add([x, conv(filters, 1, strides=2)(before)])
    x = layers.Dropout(0.25)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def mlp(x: Any, *widths: int) -> Any:
    for width in widths:
        x = layers.Dropout(0.1)(layers.Dense(width, activation="gelu")(x))
    return x


@keras.saving.register_keras_serializable("zoo")
class WithPosition(layers.Layer):
    """Patches with an embedding of where they are, as in keras.io/examples/vision/image_classification_with_…"""

    def build(self, shape: Any) -> None:
        self.position = self.add_weight(shape=(1, *shape[1:]), initializer="random_normal", name="position")

    def call(self, inputs: Any) -> Any:
        return inputs + self.position


def patches(image: Any, side: int, width: int) -> Any:
    count = (image.shape[1] // side) ** 2
    return layers.Reshape((count, width))(layers.Conv2D(width, side, strides=side)(image))


def vit() -> keras.Model:
    image = keras.Input((32, 32, 3))
    x = WithPosition()(patches(image, 8, 16))
    for _ in range(2):
        inner = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([layers.MultiHeadAttention(2, 8, dropout=0.1)(inner, inner), x])
        x = layers.Add()([mlp(layers.LayerNormalization(epsilon=1e-6)(x), 32, 16), x])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def extracted_vit() -> keras.Model:
    """With `ops.image.extract_patches`."""
    image = keras.Input((32, 32, 3))
    x = layers.Dense(16)(layers.Reshape((16, 192))(ops.image.extract_patches(image, 8)))
    x = x + layers.GroupQueryAttention(8, 4, 2)(x, x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def compact_transformer() -> keras.Model:
    """keras.io/examples/vision/cct: a convolutional tokenizer and pooling by attention."""
    image = keras.Input((32, 32, 3))
    x = layers.MaxPooling2D(3, 2, padding="same")(conv(16, activation="relu", use_bias=False)(image))
    x = layers.Reshape((256, 16))(x)
    x = x + layers.MultiHeadAttention(2, 8)(x, x)
    weights = ops.softmax(layers.Dense(1)(layers.LayerNormalization()(x)), axis=1)
    x = layers.Flatten()(ops.matmul(ops.transpose(weights, (0, 2, 1)), x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def mixer() -> keras.Model:
    """keras.io/examples/vision/mlp_image_classification: MLP-Mixer."""
    image = keras.Input((32, 32, 3))
    x = patches(image, 8, 16)
    inner = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    x = x + layers.Permute((2, 1))(layers.Dense(16)(mlp(inner, 16)))
    x = x + mlp(layers.LayerNormalization()(x), 16)
    return keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def gated_mlp() -> keras.Model:
    """The spatial gating unit of the same example."""
    image = keras.Input((32, 32, 3))
    x = patches(image, 8, 16)
    left, right = ops.split(layers.Dense(32, activation="gelu")(layers.LayerNormalization()(x)), 2, axis=-1)
    right = layers.Permute((2, 1))(layers.Dense(16, bias_initializer="ones")(layers.Permute((2, 1))(right)))
    x = x + layers.Dense(16)(left * right)
    return keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def fourier() -> keras.Model:
    """FNet, of the same example: a Fourier transform in place of attention."""
    image = keras.Input((32, 32, 3))
    x = patches(image, 8, 16)
    real, _ = ops.fft2((x, ops.zeros_like(x)))
    x = layers.LayerNormalization()(x + real)
    return keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def convmixer() -> keras.Model:
    """keras.io/examples/vision/convmixer."""
    image = keras.Input((32, 32, 3))
    x = layers.BatchNormalization()(layers.Activation("gelu")(layers.Conv2D(32, 2, strides=2)(image)))
    for _ in range(2):
        inner = layers.DepthwiseConv2D(5, padding="same")(x)
        x = layers.Add()([layers.BatchNormalization()(layers.Activation("gelu")(inner)), x])
        x = layers.BatchNormalization()(layers.Activation("gelu")(conv(32, 1)(x)))
    return keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


def quantized(mode: str) -> keras.Model:
    model = sequence(DIGIT, layers.Flatten(), layers.Dense(16, activation="relu"))
    with warnings.catch_warnings(action="ignore"):  # Keras warns of each layer that it leaves as it is
        model.quantize(mode)
    return model


def application(name: str, side: int = 64, **options: Any) -> Build:
    def build() -> keras.Model:
        model = getattr(keras.applications, name)
        options_ = {"weights": None, "input_shape": (side, side, 3), "classes": 10, **options}
        return model(**options_)

    return build


def vgg() -> keras.Model:
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
    return keras.Model(base.input, layers.Dense(10, activation="softmax")(base.output))


ZOO: dict[str, Entry] = {
    "dncnn": Entry(dncnn, "residual convolutions, batch normalization"),
    "ffdnet": Entry(ffdnet, "map of the noise level; shuffles of keras.ops"),
    "film": Entry(film, "one noise level, scale and shift"),
    "conv-autoencoder": Entry(conv_autoencoder, "transposed convolutions, one size", digits=True),
    "dense-autoencoder": Entry(
        lambda: keras.Sequential([keras.Input((784,)), layers.Dense(16, "relu"), layers.Dense(784, "sigmoid")]),
        "flat images, .h5",
        digits=True,
        suffix=".h5",
    ),
    "vae": Entry(variational, "variational autoencoder, a model as a layer", digits=True),
    "unet-nearest": Entry(lambda: unet(layers.UpSampling2D()), "upsampling by repetition, any size"),
    "unet-bilinear": Entry(lambda: unet(layers.UpSampling2D(interpolation="bilinear")), "bilinear, any size"),
    "unet-bicubic": Entry(
        lambda: unet(layers.UpSampling2D(interpolation="bicubic"), PHOTO),
        "bicubic upsampling",
        refused=dict.fromkeys(TFLITE, "^TFLite has no ResizeBicubic"),
    ),
    "unet-transposed": Entry(
        lambda: unet(layers.Conv2DTranspose(8, 3, strides=2, padding="same")), "transposed convolution, any size"
    ),
    "unet-xception": Entry(unet_xception, "separable and transposed convolutions"),
    "attention-unet": Entry(attention_unet, "attention gates"),
    "pix2pix": Entry(pix2pix, "tanh output in [-1, 1], dropout"),
    "zero-dce": Entry(zero_dce, "curves applied eight times"),
    "mirnet": Entry(mirnet, "selective kernels, spatial attention"),
    "nafnet": Entry(nafnet, "gates, layer normalization"),
    "restormer": Entry(restormer, "attention between channels"),
    "swin": Entry(swin, "attention in shifted windows"),
    "non-local": Entry(non_local, "attention between pixels"),
    "convnext-denoiser": Entry(lambda: residual(convnext_block), "7×7 depthwise, dense layers on pixels, GELU"),
    "gelu": Entry(
        lambda: residual(layers.GroupNormalization(4), layers.Activation(keras.activations.gelu)),
        "group normalization, exact GELU",
    ),
    "gelu-tanh": Entry(
        lambda: residual(layers.LayerNormalization(), lambda x: ops.gelu(x, approximate=True)), "tanh GELU"
    ),
    "instance-norm": Entry(lambda: residual(layers.GroupNormalization(-1)), "instance normalization"),
    "rms-norm": Entry(lambda: residual(layers.RMSNormalization()), "root mean square normalization"),
    "grouped": Entry(lambda: residual(conv(8, groups=4, activation="relu")), "grouped convolution"),
    "depthwise-dilated": Entry(
        lambda: residual(
            layers.DepthwiseConv2D(3, padding="same"), conv(8, dilation_rate=2), layers.PReLU(shared_axes=[1, 2])
        ),
        "depthwise, dilated, PReLU",
    ),
    "separable": Entry(lambda: residual(layers.SeparableConv2D(8, 3, padding="same"), layers.LeakyReLU()), "separable"),
    "swish": Entry(levels, "8-bit levels in and out, SiLU"),
    "activations": Entry(
        lambda: residual(*(layers.Activation(name) for name in ("mish", "softplus", "selu", "hard_sigmoid", "elu"))),
        "Mish, softplus, SELU, ELU",
        refused={"tflite-int8": r"^holds 3 float operations \(DEQUANTIZE, ELU, QUANTIZE\)"},
    ),
    "squeeze-excite": Entry(lambda: residual(squeeze_and_excite), "squeeze and excite"),
    "normalized": Entry(normalized, "normalization and augmentation inside"),
    "nested": Entry(
        lambda: residual(keras.Sequential([conv(8), layers.ReLU()]), layers.SpatialDropout2D(0.1)), "a nested model"
    ),
    "shared": Entry(shared, "a submodel called twice"),
    "spectral": Entry(
        lambda: residual(layers.SpectralNormalization(conv(8))), "a wrapped layer: spectral normalization"
    ),
    "mixed-float16": Entry(
        lambda: residual(conv(8, dtype="mixed_float16"), layers.BatchNormalization(dtype="mixed_float16")),
        "mixed precision",
    ),
    "channels-first": Entry(channels_first, "channels first"),
    "no-channel-axis": Entry(
        lambda: keras.Sequential([keras.Input((28, 28)), layers.Dense(28, activation="sigmoid")]),
        "gray images without an axis of channels",
        digits=True,
    ),
    "lambda": Entry(lambda: residual(layers.Lambda(lambda x: x / 2)), "a Lambda layer, --unsafe", unsafe=True),
    "fake-quantized": Entry(lambda: residual(FakeQuantized()), "quantization-aware"),
    "deep-supervision": Entry(deep_supervision, "a second output for training alone"),
    "two-tasks": Entry(two_tasks, "an image and scores", digits=True),
    "rgba": Entry(
        lambda: residual(shape=(None, None, 4)), "four channels", refused={"all": r"takes 4 channels \(RGBA\)"}
    ),
    "video": Entry(
        lambda: keras.Sequential([keras.Input((5, 32, 32, 3)), layers.ConvLSTM2D(3, 3, padding="same")]),
        "five frames at once",
        refused={"all": "which is no image"},
    ),
    "mnist-convnet": Entry(
        lambda: sequence(
            DIGIT, conv(16, activation="relu"), layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.5)
        ),
        "keras.io's first classifier",
        digits=True,
    ),
    "logits": Entry(
        lambda: sequence(DIGIT, conv(8, activation="relu", strides=2), layers.GlobalMaxPooling2D(), last=None),
        "logits",
        digits=True,
    ),
    "flat-classifier": Entry(
        lambda: sequence((784,), layers.Dense(16), layers.BatchNormalization(), layers.ReLU()),
        "flat images",
        digits=True,
    ),
    "fixed-batch": Entry(
        lambda: keras.Sequential(
            [keras.Input(batch_shape=(4, *DIGIT)), layers.Flatten(), layers.Dense(10, activation="softmax")]
        ),
        "a fixed batch",
        digits=True,
    ),
    "scores-4-axes": Entry(
        lambda: keras.Sequential([keras.Input(DIGIT), layers.Conv2D(10, 28, activation="softmax")]),
        "scores of four axes",
        digits=True,
    ),
    "keras-int8": Entry(lambda: quantized("int8"), "quantized by Keras to int8", digits=True, max_error=0.02),
    "keras-float8": Entry(
        lambda: quantized("float8"),
        "quantized by Keras to float8",
        digits=True,
        refused={"all": "was quantized by Keras to float8"},
    ),
    "gru-rows": Entry(lambda: sequence((28, 28), layers.GRU(16)), "GRU over rows", digits=True),
    "lstm-rows": Entry(
        lambda: sequence((28, 28), layers.LSTM(16, return_sequences=True), layers.LSTM(8)), "two LSTM", digits=True
    ),
    "bidirectional": Entry(
        lambda: sequence((28, 28), layers.Bidirectional(layers.LSTM(8))), "bidirectional LSTM", digits=True
    ),
    "simple-rnn": Entry(lambda: sequence((28, 28), layers.SimpleRNN(16)), "simple recurrence", digits=True),
    "hierarchical": Entry(
        lambda: sequence(DIGIT, layers.TimeDistributed(layers.GRU(8)), layers.GRU(8)),
        "recurrence over pixels of rows",
        digits=True,
        refused={"tflite-int8": r"^TensorFlow's converter crashed \(SIGSEGV\)$"},
    ),
    "conv1d": Entry(
        lambda: sequence((28, 28), layers.Conv1D(16, 3, activation="relu"), layers.GlobalAveragePooling1D()),
        "convolutions along rows",
        digits=True,
    ),
    "xception-small": Entry(xception_small, "keras.io's cats and dogs"),
    "vit": Entry(vit, "vision transformer"),
    "vit-patches": Entry(extracted_vit, "extracted patches, grouped queries"),
    "compact-transformer": Entry(compact_transformer, "pooling by attention"),
    "mlp-mixer": Entry(mixer, "MLP-Mixer"),
    "gmlp": Entry(gated_mlp, "gated MLP"),
    "fnet": Entry(
        fourier,
        "Fourier transform",
        refused=dict.fromkeys(TFLITE, "^TFLite has no .*FFT2D") | {"onnx-fp32": "Complex"},
    ),
    "convmixer": Entry(convmixer, "ConvMixer"),
    "mobilenet": Entry(application("MobileNet", alpha=0.25), "keras.applications"),
    "mobilenet-v2": Entry(application("MobileNetV2", alpha=0.35), "keras.applications"),
    "mobilenet-v3": Entry(application("MobileNetV3Small", alpha=0.75), "keras.applications, rescales inside"),
    "efficientnet": Entry(application("EfficientNetB0"), "keras.applications, rescales inside"),
    "efficientnet-v2": Entry(application("EfficientNetV2B0"), "keras.applications, rescales inside"),
    "resnet": Entry(application("ResNet50", 32), "keras.applications"),
    "densenet": Entry(application("DenseNet121", 32), "keras.applications"),
    "nasnet": Entry(application("NASNetMobile", 32), "keras.applications"),
    "inception": Entry(application("InceptionV3", 75), "keras.applications"),
    "convnext": Entry(application("ConvNeXtTiny", 32), "keras.applications"),
    "vgg": Entry(vgg, "keras.applications"),
}
"""By name, small ones first."""


def is_channels_first(model: keras.Model) -> bool:
    """Return whether TensorFlow runs a model on a CPU through XLA alone."""
    return any(getattr(layer, "data_format", None) == "channels_first" for layer in model._flatten_layers())


def spread_outputs(model: keras.Model, images: NDArray[np.float32]) -> None:
    """Let a random model tell images apart: otherwise any file of it would be right within tolerance.

    Batch normalizations take the statistics of the images. What goes into a last sigmoid, tanh or softmax gets, in each
    channel, a mean of zero and a deviation of `_LIVELY`. images: as many inputs of the model as there are.
    """
    if is_channels_first(model):
        return
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, layers.BatchNormalization)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    if norms:
        model(images, training=True)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    for output in model.outputs:
        if output._keras_history.operation in model.layers:
            _enliven(model, output._keras_history.operation, images)


_LIVELY = 2.0


def _enliven(model: keras.Model, last: Any, images: NDArray[np.float32]) -> None:
    while not (kernels := last.get_weights()) and len(last._inbound_nodes[0].input_tensors) == 1:
        last = last._inbound_nodes[0].input_tensors[0]._keras_history.operation  # what a softmax of its own follows
    bounded = getattr(last, "activation", None) in (keras.activations.sigmoid, keras.activations.tanh)
    makes_scores = last.output.shape[-1] == 10
    if not isinstance(last, (layers.Dense, layers.Conv2D, layers.Conv2DTranspose)) or not (bounded or makes_scores):
        return
    if last.quantization_mode:
        return
    given = model.inputs if len(model.inputs) > 1 else model.inputs[0]
    activation, last.activation = last.activation, keras.activations.linear
    values = ops.convert_to_numpy(keras.Model(given, last.output)(images, training=False))
    last.activation = activation
    values = values.reshape(-1, values.shape[-1])
    gain = _LIVELY / values.std(axis=0)
    kernel, *bias = kernels
    by_output = gain[:, None] if isinstance(last, layers.Conv2DTranspose) else gain
    last.set_weights([kernel * by_output, *((each - values.mean(axis=0)) * gain for each in bias)])
