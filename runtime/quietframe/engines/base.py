"""The engine seam: named tensors in, named tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import ModelLoadError


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as its engine takes or gives it.

    Attributes:
        name: its name in the signature.
        shape: its axes; None where the size is free.
        dtype: of its arrays.
        scale, zero_point: of an integer tensor, real = scale · (stored − zero_point); scale 0 if it is not
            quantized.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def is_integer(self) -> bool:
        """Whether it holds integers, of any size."""
        return self.dtype.kind in "iu"  # np.issubdtype takes many times as long, several times a frame

    @property
    def declared(self) -> TensorInfo:
        """The tensor as the file declares it; an engine may take and give an equivalent form."""
        return self

    def as_declared(self, array: NDArray[Any]) -> NDArray[Any]:
        """Convert an array of this tensor to the form of `declared`."""
        return array

    def from_declared(self, array: NDArray[Any]) -> NDArray[Any]:
        """Convert an array in the form of `declared` to this tensor's: the inverse of `as_declared`."""
        return array


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


class EngineClass(Protocol):
    """An engine's class: what it opens, and with which package.

    Attributes:
        suffixes: of the files that it opens, in lower case.
        package: the module that it runs them with.
    """

    suffixes: tuple[str, ...]
    package: str

    def __call__(self, path: Path, *, threads: int) -> Engine:
        """Open a file. Raises ModelLoadError, or MissingExtraError without the package."""
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


def none_empty(path: Path, results: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The results of a run. Raises ModelLoadError if one of them has no element."""
    for name, array in results.items():
        if array.size == 0:
            raise ModelLoadError(f"{path}: its output {name!r} is empty, of the shape {list(array.shape)}")
    return results


def run_error(
    path: Path, given: Mapping[str, NDArray[Any]], taken: Mapping[str, TensorInfo], exc: Exception
) -> ModelLoadError:
    """The error to raise when an engine refuses its inputs: what was given, what the file takes, and why."""
    received = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in given.items())
    expected = ", ".join(f"{name} {info.dtype}{list(info.shape)}" for name, info in taken.items())
    return ModelLoadError(f"{path}: cannot run on {received}; the file takes {expected} ({first_line(exc)})")
