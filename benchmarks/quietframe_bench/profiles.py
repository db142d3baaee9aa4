"""What profiles of both engines share: operators, their times, and their work and bytes from tensors' shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

from numpy.typing import NDArray

from quietframe.errors import QuietFrameError

Shape = Sequence[int]
Inputs = Mapping[str, NDArray[Any]]


class ProfileUnavailableError(QuietFrameError):
    """An engine does not profile single operators, or not of this model."""


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


@dataclass
class TimedOperator:
    """An operator as an engine runs it: its type by the engine's own name, the layer that it computes, and its times.

    `macs` and `bytes` are as of `Node`; None where unknown.
    """

    kind: str
    name: str = ""
    output_shape: tuple[int, ...] = ()
    macs: int | None = None
    bytes: int | None = None
    samples_ns: list[int] = field(default_factory=list)


@dataclass
class Profiled:
    """The result of a profile.

    Attributes:
        source: who measured the times.
        runs_ns: each whole run, by the profiler's clock.
        operators: in the order in which they ran.
        notes: what a reader must know.
    """

    source: str
    runs_ns: list[int]
    operators: list[TimedOperator]
    notes: list[str] = field(default_factory=list)


class Profile(Protocol):
    """A model that runs under its engine's profiler."""

    def run(self, *, warmup: int, runs: int) -> None:
        """Run it `warmup` times unseen, then `runs` times."""
        ...

    def result(self) -> Profiled:
        """Return what all runs gave. The last call."""
        ...


def convolution_macs(output: Shape, weights: Shape, output_channels: int) -> int:
    """Return those of a convolution, grouped and depthwise ones too: each output pixel takes every weight once.

    output: all axes, channels among them. weights: the kernel's; its input channels are those of one group.
    """
    return prod(output) // output_channels * prod(weights)


def transposed_macs(image: Shape, weights: Shape, image_channels: int) -> int:
    """Return those of a transposed convolution: each input pixel takes every weight once.

    What falls off the edges counts too.
    """
    return prod(image) // image_channels * prod(weights)


def product_macs(left: Shape, output: Shape) -> int:
    """Return those of a matrix product (…, M, K)·(K, N) → (…, M, N), whichever way its matrices are stored."""
    if not output or not output[-1]:
        return 0
    return prod(left) * output[-1]


_STEPS = {"batchnorm", "convolution", "depthwise", "MatMul"}


def short_name(name: str) -> str:
    """Return the layer's name out of a tensor's or node's full name.

    Converters write the way to an operation and those that were fused behind it: `unet/up0/convolution;unet/up0_bn/…`
    is of layer `up0`.
    """
    layers = name.partition(";")[0].split("/")
    if len(layers) > 1:
        del layers[-1]
    while len(layers) > 1 and layers[-1] in _STEPS:
        del layers[-1]
    return layers[-1]
