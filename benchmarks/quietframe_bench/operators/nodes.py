"""The operators of a model file at the size it runs at: their work and their bytes, from their tensors' shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Shape = Sequence[int]


@dataclass(frozen=True)
class Node:
    """An operator as the file has it, before an engine fuses or rewrites it.

    Attributes:
        index: its place in the file.
        kind: its type by the format's name, such as `CONV_2D` or `Conv`.
        name: what the file calls it, shortened.
        output_shape: of its first output.
        macs: multiply-accumulates of one run; 0 for all that is no convolution or matrix product.
        bytes: of its inputs, weights and outputs, each read or written once.
        weights: how many numbers its kernel or matrix has; 0 without one.
    """

    index: int
    kind: str
    name: str
    output_shape: tuple[int, ...]
    macs: int
    bytes: int
    weights: int = 0


def convolution_macs(output: Shape, weights: Shape, output_channels: int) -> int:
    """Of a convolution, grouped and depthwise ones too: each output pixel takes every weight once.

    output: all axes, channels among them. weights: the kernel's; its input channels are those of one group.
    """
    return prod(output) // output_channels * prod(weights)


def transposed_macs(image: Shape, weights: Shape, image_channels: int) -> int:
    """Of a transposed convolution: each input pixel takes every weight once. What falls off the edges counts too."""
    return prod(image) // image_channels * prod(weights)


def product_macs(left: Shape, output: Shape) -> int:
    """Of a matrix product (…, M, K)·(K, N) → (…, M, N), whichever way its matrices are stored."""
    if not output or not output[-1]:
        return 0
    return prod(left) * output[-1]


_STEPS = {"batchnorm", "convolution", "depthwise", "MatMul"}


def short_name(name: str) -> str:
    """What a layer is called, out of a tensor's or node's full name.

    Converters write the way to an operation and those that were fused behind it: `unet/up0/convolution;unet/up0_bn/…`
    is of layer `up0`.
    """
    layers = name.partition(";")[0].split("/")
    if len(layers) > 1:
        del layers[-1]
    while len(layers) > 1 and layers[-1] in _STEPS:
        del layers[-1]
    return layers[-1]
