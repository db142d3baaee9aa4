"""The engine seam: named tensors in, named tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import ModelLoadError

SIGN = 128
"""The bit, and the difference, between a signed byte and an unsigned one that stands for the same."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its engine takes or gives it.

    Attributes:
        name: its name in the signature.
        shape: its axes; None where the size is free.
        dtype: of its arrays.
        scale, zero_point: of an integer tensor, real = scale · (stored − zero_point); scale 0 if it is not
            quantized.
        turned: the file holds int8, and the engine takes or gives uint8, all 128 higher, as 8-bit pictures are: it
            turns them round while it copies them, which costs no pass of its own.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0
    turned: bool = False

    @property
    def is_integer(self) -> bool:
        """Whether it holds integers, of any size."""
        return self.dtype.kind in "iu"  # np.issubdtype takes many times as long, several times a frame

    @property
    def declared(self) -> TensorInfo:
        """The tensor as the file declares it."""
        if not self.turned:
            return self
        return replace(self, dtype=np.dtype(np.int8), zero_point=self.zero_point - SIGN, turned=False)

    def as_declared(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of this tensor as the file would hold it."""
        return (array ^ np.uint8(SIGN)).view(np.int8) if self.turned else array

    def from_declared(self, array: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `as_declared`."""
        return array.view(np.uint8) ^ np.uint8(SIGN) if self.turned else array


class Engine(Protocol):
    """Runs one model. Engines move tensors; what the numbers mean is the tasks' business."""

    @property
    def inputs(self) -> Mapping[str, TensorInfo]:
        """The input tensors, by name."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorInfo]:
        """The output tensors, by name."""
        ...

    @property
    def card_json(self) -> str | None:
        """The text of the card that the file carries, if any."""
        ...

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Run the model once.

        inputs: an array for each input tensor, by name, of that tensor's dtype; a free axis may have any size
        and may change from call to call. Returns arrays of the output tensors' dtypes, by name. They belong to the
        caller: a later call does not change them. Threads may share an engine: their calls take turns.
        Raises ModelLoadError if the file does not take these inputs.
        """
        ...


def read_model_file(path: Path) -> bytes:
    """Read a model file whole. Raises ModelLoadError if it is missing, unreadable or empty."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ModelLoadError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    if not data:
        raise ModelLoadError(f"{path}: the file is empty")
    return data


def first_line(exc: BaseException) -> str:
    """The first line of an engine's own message; the rest is advice for its developers."""
    return str(exc).strip().partition("\n")[0]


def run_error(
    path: Path, given: Mapping[str, NDArray[Any]], taken: Mapping[str, TensorInfo], exc: Exception
) -> ModelLoadError:
    """The error to raise when an engine refuses its inputs: what was given, what the file takes, and why."""
    received = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in given.items())
    expected = ", ".join(f"{name} {info.dtype}{list(info.shape)}" for name, info in taken.items())
    return ModelLoadError(f"{path}: cannot run on {received}; the file takes {expected} ({first_line(exc)})")
