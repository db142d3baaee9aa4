"""Weights of another training, to start one from."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import keras

from quietframe.card import DataTerms
from quietframe.errors import SourceError
from quietframe_train.data.base import UNKNOWN_TERMS
from quietframe_train.run_folder import MODEL, RECIPE, load_run


@dataclass(frozen=True)
class Start:
    """The weights that a training begins with: `identity` is the file's name and hash, `data` what they were
    trained on, None where nobody says.
    """

    file: Path
    identity: str
    data: DataTerms | None

    def with_its_data(self, data: DataTerms) -> DataTerms:
        """Say what a model has seen that began here and went on with `data`."""
        if self.data == data:
            return data
        before = self.data or DataTerms(f"what {self.file.name} was trained on", UNKNOWN_TERMS)
        return DataTerms(f"{data.name}; before: {before.name}", f"{data.terms}; {before.terms}")


def find_start(path: str | Path) -> Start:
    """Find the weights at a path: a finished run folder, a `.keras` or a `.weights.h5` file.

    Raises SourceError if there are none.
    """
    path = Path(path)
    file = path / MODEL if path.is_dir() else path
    if not file.is_file():
        what = f"no {MODEL} in it" if path.is_dir() else "no such file or folder"
        raise SourceError(f"{path}: {what}; start from a finished run folder, a .keras or a .weights.h5 file")
    of_run = (file.parent / RECIPE).is_file()
    name = f"{file.parent.name}/{file.name}" if of_run else file.name
    identity = f"{name}, sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    return Start(file, identity, load_run(file.parent).data if of_run else None)


def load_weights(model: keras.Model, file: Path) -> None:
    """Load a `.keras` or `.weights.h5` file's weights. Raises SourceError if they are not of such a model."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it finds no weights for
            if file.name.endswith(".weights.h5"):
                model.load_weights(file)
            else:
                _copy_weights(keras.saving.load_model(file, compile=False), model)
    except (OSError, ValueError, TypeError, KeyError, UserWarning) as exc:
        reason = " ".join(str(exc).split())
        raise SourceError(f"{file}: not weights of this recipe's model ({reason[:200]})") from exc


def _copy_weights(trained: keras.Model, model: keras.Model) -> None:
    """Copy all weights; into a model of another kind, those of the layers of the same names."""
    if trained.name == model.name:
        model.set_weights(trained.get_weights())
        return
    for layer in trained.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
