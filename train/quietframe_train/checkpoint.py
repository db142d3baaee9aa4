"""Training state on disk: written whole after every epoch, so that a killed training goes on where it was."""

from __future__ import annotations

import csv
import io
import time
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from quietframe.errors import SourceError
from quietframe.images import write_whole
from quietframe_train.recipe import Phase
from quietframe_train.run_folder import HISTORY, best_path, state_path

SECONDS = "seconds"
"""Column of the history: how long the epoch took, its validation included."""

Row: TypeAlias = dict[str, Any]
"""Of the history: the phase's name, the number of the epoch in it, from 1, and figures."""

_WORDS = {"phase": str, "epoch": int}  # columns that are no numbers with a point


class Checkpoint(keras.callbacks.Callback):
    """Write history and state at the end of each epoch; stop early where the phase says so.

    The history row is written before the state: a kill between the two leaves a row too many, which `resume`
    drops, and never a state without its row. Early stopping is decided from the history alone, so a resumed
    training stops where an uninterrupted one would have.
    """

    def __init__(self, folder: Path, phase: Phase, rows: list[Row]) -> None:
        super().__init__()
        self.folder, self.phase, self.rows = folder, phase, rows
        self.started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        name, stop = self.phase.name, self.phase.early_stopping
        row = {"phase": name, "epoch": epoch + 1} | {key: float(value) for key, value in (logs or {}).items()}
        self.rows.append(row | {SECONDS: round(time.monotonic() - self.started, 3)})
        write_history(self.folder, self.rows)
        if stop and stop.restore_best and epochs_since_best(self.rows, name, stop.monitor) == 0:
            save_weights(self.model, best_path(self.folder, name))
        save_weights(self.model, state_path(self.folder, name))
        self.model.stop_training = should_stop(self.rows, self.phase)


def resume(model: keras.Model, folder: Path, phase: str, rows: list[Row], steps_per_epoch: int) -> int:
    """Load the state of a phase, if there is one, into a compiled model, and return the number of its whole epochs.

    Rows of epochs that are not whole are dropped from `rows`.
    Raises SourceError if the state or history is damaged, or of another model.
    """
    state, steps = state_path(folder, phase), 0
    if state.is_file():
        model.optimizer.build(model.trainable_variables)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it finds no weights for
                model.load_weights(state)
        except (OSError, ValueError, KeyError, UserWarning) as exc:
            raise SourceError(f"{folder}: its training cannot be resumed ({exc})") from exc
        steps = int(model.optimizer.iterations)
    epochs, of_phase = steps // steps_per_epoch, [row for row in rows if row["phase"] == phase]
    if len(of_phase) < epochs:
        raise SourceError(f"{folder}: {HISTORY} has {len(of_phase)} epochs, {state.name} is after {epochs}")
    rows[:] = [row for row in rows if row["phase"] != phase] + of_phase[:epochs]
    for variable in model.non_trainable_variables:
        if variable.path.endswith("seed_generator_state"):  # dropout's: Keras counts its draws, and saves no count
            seed = int(keras.ops.convert_to_numpy(variable)[0])
            variable.assign(np.array([seed, steps], variable.dtype))
    return epochs


def should_stop(rows: list[Row], phase: Phase) -> bool:
    """Return whether a phase with this history stops early."""
    stop = phase.early_stopping
    begun = any(row["phase"] == phase.name for row in rows)
    return bool(stop and begun and epochs_since_best(rows, phase.name, stop.monitor) >= stop.patience)


def epochs_since_best(rows: list[Row], phase: str, monitor: str) -> int:
    """Return how many epochs ago `monitor` was at its lowest; 0: in the last one."""
    values = [row[monitor] for row in rows if row["phase"] == phase]
    return len(values) - 1 - values.index(min(values))


def write_history(folder: Path, rows: list[Row]) -> None:
    """Write the rows as CSV, whole or not at all; a value that a row does not have stays empty."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / HISTORY, text.getvalue().encode())


def read_history(folder: Path) -> list[Row]:
    """Read what `write_history` wrote; empty where there is none. Raises SourceError if it is damaged."""
    path = folder / HISTORY
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {key: _WORDS.get(key, float)(value) for key, value in row.items() if value}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError) as exc:
        raise SourceError(f"{path}: not the history of a training ({exc})") from exc


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights, and its optimizer's where it has one, whole or not at all."""
    part = path.with_name(f"part-{path.name}")
    model.save_weights(part)
    part.replace(path)
