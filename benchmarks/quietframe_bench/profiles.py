"""What profiles of both engines share: operators, their times, and their work and bytes from tensors' shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import msgspec
from numpy.typing import NDArray

from quietframe.errors import QuietFrameError
from quietframe_bench.rows import Time

Shape = Sequence[int]
Inputs = Mapping[str, NDArray[Any]]


class ProfileUnavailableError(QuietFrameError):
    """An engine does not profile single operators, or not of this model."""


@dataclass(frozen=True)
class Node:
    """An operator as the file has it, before an engine fuses or rewrites it.

    Attributes:
        kind: its type by the format's name, such as `CONV_2D` or `Conv`.
        name: what the file calls it, shortened.
        output_shape: of its first output.
        macs: multiply-accumulates of one run; 0 for all that is no convolution or matrix product.
        bytes: of its inputs, weights and outputs, each read or written once.
        weights: how many numbers its kernel or matrix has; 0 without one, and in TFLite, where `bytes` holds them.
    """

    kind: str
    name: str
    output_shape: tuple[int, ...]
    macs: int
    bytes: int
    weights: int = 0


class Operator(msgspec.Struct):
    """An operator as an engine runs it, or what lies between operators.

    Attributes:
        kind: its type, by the engine's own name.
        name, output_shape: of the layer in the file that it computes, where it multiplies and that is known.
        macs, bytes: as of `Node`; None where unknown.
        samples_ns: its time in each run.
        index: its place in the run.
        median_ms, share: its median time, and that as a share of the medians of all operators.
        max_gmacs_per_s, limit: what it could reach under the roofline, and whether `arithmetic` or `memory` limits it.
    """

    kind: str
    name: str = ""
    output_shape: tuple[int, ...] = ()
    macs: int | None = None
    bytes: int | None = None
    samples_ns: list[Time] = msgspec.field(default_factory=list)
    index: int = 0
    median_ms: float = 0.0
    share: float | None = None
    max_gmacs_per_s: float | None = None
    limit: str | None = None

    @property
    def gmacs_per_s(self) -> float | None:
        """10⁹ multiply-accumulates a second at the median."""
        return self.macs / self.median_ms / 1e6 if self.macs and self.median_ms else None

    @property
    def gbytes_per_s(self) -> float | None:
        """10⁹ bytes a second at the median."""
        return self.bytes / self.median_ms / 1e6 if self.bytes and self.median_ms else None

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates for each byte of its inputs, weights and outputs."""
        return self.macs / self.bytes if self.macs and self.bytes else None


class Profiled(msgspec.Struct):
    """The result of a profile.

    Attributes:
        source: who measured the times.
        operators: in the order in which they ran.
        notes: what a reader must know.
        runs_ns: each whole run, by the profiler's clock.
    """

    source: str
    operators: list[Operator]
    notes: list[str]
    runs_ns: list[int] = msgspec.field(default_factory=list)


Times = list[tuple[int, list[int]]]
"""(the whole run, each of its operators) of runs, in nanoseconds."""


def convolution_macs(image: Shape, kernel: Shape, channels: int) -> int:
    """Return those of a convolution, grouped and depthwise ones too: each pixel takes every weight once.

    image: the output; of a transposed convolution the input, and what falls off its edges counts too. channels: of
    that. kernel: its input channels are those of one group.
    """
    return prod(image) // channels * prod(kernel)


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
