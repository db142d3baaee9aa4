"""FFDNet, the network that fast denoisers are measured against: its published weights as a Keras model.

Zhang, Zuo and Zhang 2018, FFDNet: Toward a Fast and Flexible Solution for CNN based Image Denoising. The weights are
not shipped: a user points at them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import SourceError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Weights:
    """FFDNet's weights as the authors order their channels.

    Attributes:
        kernels: (3, 3, in, out) float32 each. The first one's inputs are the sub-images, by colour (RGB), then by
            column and row in the block of 2×2, and last the map of the noise level. The last one's outputs are
            the sub-images in that order.
        biases: (out,) float32 each.
        sha256: of the file.
    """

    kernels: Sequence[NDArray[np.float32]]
    biases: Sequence[NDArray[np.float32]]
    sha256: str

    @property
    def channels(self) -> int:
        """Of the pictures: 3 or 1."""
        return int(self.kernels[-1].shape[3]) // 4

    @property
    def parameters(self) -> int:
        """How many numbers there are."""
        return sum(array.size for array in (*self.kernels, *self.biases))

    @property
    def macs_per_pixel(self) -> float:
        """Multiply-accumulates for each pixel of a picture: a kernel's position stands for 2×2 of them."""
        return sum(kernel.size for kernel in self.kernels) / 4

    @property
    def halo(self) -> int:
        """How far it sees, in pixels."""
        return 2 * len(self.kernels) + 1


def read_weights(path: Path) -> Weights:
    """Read weights from a NumPy archive.

    Raises:
        SourceError: no such file, or something else than FFDNet's weights in it.
    """
    try:
        data = path.read_bytes()
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError) as exc:
        raise SourceError(f"{path}: not a NumPy archive of weights ({exc})") from exc
    count = sum(name.startswith("w") for name in arrays)
    try:
        kernels = [arrays[f"w{index}"].astype(np.float32) for index in range(count)]
        biases = [arrays[f"b{index}"].astype(np.float32) for index in range(count)]
    except KeyError as exc:
        raise SourceError(f"{path}: expected arrays w0, b0, w1, b1, …; {exc.args[0]} is missing") from exc
    found = [kernel.shape for kernel in kernels]
    inner = [shape[3] for shape in found[:-1] if len(shape) == 4]
    fits = (
        count > 1
        and all(len(shape) == 4 and shape[:2] == (3, 3) for shape in found)
        and [shape[2] for shape in found[1:]] == inner
        and found[-1][3] in (4, 12)  # sub-images of a gray and of a colour picture
        and found[0][2] == found[-1][3] + 1
        and [bias.shape for bias in biases] == [(shape[3],) for shape in found]
    )
    if not fits:
        shapes = ", ".join("×".join(map(str, shape)) for shape in found[:2])
        raise SourceError(f"{path}: not the weights of an FFDNet (kernels: {shapes or 'none'}, …)")
    return Weights(kernels, biases, hashlib.sha256(data).hexdigest())


def build(weights: Weights) -> keras.Model:
    """The network with its weights, its channels brought to BGR and to the order of `PixelUnshuffle`.

    Input shape:
        image: (batch, height, width, 3) BGR or (batch, height, width, 1), [0, 1]; height and width even.
        sigma: (batch, 1, 1, 1), noise standard deviation / 255.
    Output shape:
        as `image`: the denoised picture itself, not the noise, not clipped.
    """
    import keras
    from keras import layers

    from quietframe_train.layers import PixelShuffle, PixelUnshuffle

    order = channel_order(weights.channels)
    kernels, biases = [*weights.kernels], [*weights.biases]
    kernels[0] = kernels[0][:, :, [*order, len(order)]]
    kernels[-1], biases[-1] = kernels[-1][..., order], biases[-1][list(order)]

    image = keras.Input((None, None, weights.channels), name="image")
    sigma = keras.Input((1, 1, 1), name="sigma")
    planes = PixelUnshuffle(2, name="unshuffle")(image)
    # The map of the level is a plane that ends at the frame, as the padding is zero: a constant added to the
    # features would not be the same there. Ones of the planes' size come from a convolution that ignores them:
    # operations that ask for the size would be frozen at one of them.
    ones = layers.Conv2D(1, 1, kernel_initializer="zeros", bias_initializer="ones", name="ones")(planes)
    x = layers.Concatenate(name="conditioned")([planes, layers.Multiply(name="level")([ones, sigma])])
    convolutions = []
    for index, kernel in enumerate(kernels):
        last = index == len(kernels) - 1
        activation = None if last else "relu"
        layer = layers.Conv2D(kernel.shape[3], 3, padding="same", activation=activation, name=f"conv{index}")
        convolutions.append(layer)
        x = layer(x)
    x = PixelShuffle(2, name="denoised")(x)
    model = keras.Model([image, sigma], x, name="ffdnet")
    for layer, kernel, bias in zip(convolutions, kernels, biases, strict=True):
        layer.set_weights([kernel, bias])
    return model


def channel_order(channels: int) -> Sequence[int]:
    """For each channel of `PixelUnshuffle(2)` on BGR (rows, columns, colours), where it stands in the authors' order.

    They count colours first, from red to blue, then columns, then rows, as MATLAB does.
    """
    return [
        4 * (channels - 1 - colour) + 2 * column + row
        for row in range(2)
        for column in range(2)
        for colour in range(channels)
    ]
