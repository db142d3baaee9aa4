"""Weights of another training, to start one from: as it left them, or packed small."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from quietframe.card import DataTerms
from quietframe.errors import SourceError, UsageError
from quietframe.images import write_whole
from quietframe_train.run_folder import MODEL, RECIPE, load_run
from quietframe_train.splits import UNKNOWN_TERMS

PACKED = ".npz"
_DATA = "data"  # name and terms; the other arrays are weights, named by their number


@dataclass(frozen=True)
class Start:
    """The weights that a training begins with.

    Attributes:
        file: a `.keras` file, or one that `pack` wrote.
        identity: its name and content, for the record.
        arrays: the weights, in the order of `get_weights`.
        data: what they were trained on; None: the file does not say.
    """

    file: Path
    identity: str
    arrays: Sequence[NDArray[np.float32]]
    data: DataTerms | None

    def with_its_data(self, data: DataTerms) -> DataTerms:
        """What a model has seen that began here and went on with `data`."""
        if self.data == data:
            return data
        before = self.data or DataTerms(f"what {self.file.name} was trained on", UNKNOWN_TERMS)
        return DataTerms(f"{data.name}; before: {before.name}", f"{data.terms}; {before.terms}")


def find_start(path: str | Path) -> Start:
    """The weights at a path: a finished run folder, a `.keras` file, or packed weights.

    Raises SourceError if there are none, or they cannot be read.
    """
    path = Path(path)
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        what = f"no {MODEL} in it" if path.is_dir() else "no such file or folder"
        raise SourceError(f"{path}: {what}; start from a finished run folder, a .keras file, or packed weights (.npz)")
    of_run = file.name == MODEL and (file.parent / RECIPE).is_file()
    name = f"{file.parent.name}/{MODEL}" if of_run else file.name
    identity = f"{name}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    if file.suffix == PACKED:
        return Start(file, identity, *_read_packed(file))
    return Start(file, identity, _read_keras(file), load_run(file.parent).data if of_run else None)


def set_start(model: keras.Model, start: Start) -> None:
    """Give a model the weights it is to begin with. Raises SourceError if they are not of such a model."""
    try:
        model.set_weights(list(start.arrays))
    except ValueError as exc:
        reason = " ".join(str(exc).split())
        raise SourceError(f"{start.file}: not weights of this recipe's model ({reason[:200]})") from exc


def pack(model: keras.Model, data: DataTerms | None, path: Path) -> None:
    """Write a model's weights as float16 and what they were trained on, whole or not at all.

    path: ends in `.npz`. Raises UsageError if it does not, or a weight is beyond what half precision holds.
    """
    if path.suffix != PACKED:
        raise UsageError(f"{path}: packed weights are known by their suffix: name the file NAME{PACKED}")
    weights = model.get_weights()
    if any(np.abs(array).max(initial=0) > np.finfo(np.float16).max for array in weights):
        raise UsageError("a weight is beyond what half precision holds: start from the run folder itself")
    arrays: dict[str, Any] = {f"{index:04}": array.astype(np.float16) for index, array in enumerate(weights)}
    if data:
        arrays[_DATA] = np.array([data.name, data.terms])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def _read_packed(file: Path) -> tuple[list[NDArray[np.float32]], DataTerms | None]:
    try:
        with file.open("rb") as stream, np.load(stream) as stored:
            names = [name for name in sorted(stored.files) if name != _DATA]
            data = DataTerms(*map(str, stored[_DATA])) if _DATA in stored.files else None
            return [stored[name].astype(np.float32) for name in names], data
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as exc:
        raise SourceError(f"{file}: not packed weights, cannot be read ({exc})") from exc


def _read_keras(file: Path) -> list[NDArray[np.float32]]:
    try:
        arrays: list[NDArray[np.float32]] = keras.saving.load_model(file, compile=False).get_weights()
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise SourceError(f"{file}: not a Keras model that can be read ({' '.join(str(exc).split())[:200]})") from exc
    return arrays
