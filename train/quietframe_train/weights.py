"""Weights of another training, to start one from: as it left them, or packed small."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from quietframe.card import DataTerms
from quietframe.errors import SourceError
from quietframe.images import write_whole
from quietframe_train.run_folder import MODEL, RECIPE, load_run
from quietframe_train.splits import UNKNOWN_TERMS

_PACKED = ".npz"
_DATA = "data"  # name and terms; the other arrays are weights, named by their number


@dataclass(frozen=True)
class Start:
    """The file that a training begins with.

    Attributes:
        file: a `.keras` file, or weights that `pack` wrote.
        identity: its name and content, for the record.
        data: what it was trained on; None: it does not say.
    """

    file: Path
    identity: str
    data: DataTerms | None

    def with_its_data(self, data: DataTerms) -> DataTerms:
        """What a model has seen that began here and went on with `data`."""
        if self.data == data:
            return data
        before = self.data or DataTerms(f"what {self.file.name} was trained on", UNKNOWN_TERMS)
        return DataTerms(f"{data.name}; before: {before.name}", f"{data.terms}; {before.terms}")


def find_start(path: str | Path) -> Start:
    """The weights at a path: a finished run folder, a `.keras` file, or packed weights. Raises SourceError if none."""
    path = Path(path)
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        what = f"no {MODEL} in it" if path.is_dir() else "no such file or folder"
        raise SourceError(f"{path}: {what}; start from a finished run folder, a .keras file, or packed weights (.npz)")
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    if file.suffix == _PACKED:
        return Start(file, f"{file.name}, sha256 {content}", _read_packed(file)[1])
    of_run = file.name == MODEL and (file.parent / RECIPE).is_file()
    name = f"{file.parent.name}/{MODEL}" if of_run else file.name
    return Start(file, f"{name}, sha256 {content}", load_run(file.parent).data if of_run else None)


def set_start(model: keras.Model, start: Start) -> None:
    """Give a model the weights it is to begin with. Raises SourceError if they are not of such a model."""
    try:
        if start.file.suffix == _PACKED:
            arrays = _read_packed(start.file)[0]
        else:
            arrays = keras.saving.load_model(start.file, compile=False).get_weights()
        model.set_weights(arrays)
    except (OSError, ValueError, TypeError, KeyError) as exc:
        reason = " ".join(str(exc).split())
        raise SourceError(f"{start.file}: not weights of this recipe's model ({reason[:200]})") from exc


def pack(model: keras.Model, data: DataTerms | None, path: Path) -> None:
    """Write a model's weights as float16 and what they were trained on, whole or not at all."""
    arrays = {f"{index:04}": weights.astype(np.float16) for index, weights in enumerate(model.get_weights())}
    if data:
        arrays[_DATA] = np.array([data.name, data.terms])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def _read_packed(file: Path) -> tuple[list[np.ndarray], DataTerms | None]:
    try:
        with file.open("rb") as stream, np.load(stream) as stored:
            names = [name for name in sorted(stored.files) if name != _DATA]
            data = DataTerms(*map(str, stored[_DATA])) if _DATA in stored.files else None
            return [stored[name].astype(np.float32) for name in names], data
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as exc:
        raise SourceError(f"{file}: not packed weights, cannot be read ({exc})") from exc
