"""Training state on disk: written whole after every epoch, so that a killed training goes on where it was."""

from __future__ import annotations

import csv
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from quietframe.errors import SourceError
from quietframe_train.recipe import EarlyStopping
from quietframe_train.run_folder import HISTORY, STATE

BEST = "best.weights.h5"
"""Weights of the best epoch so far, where the recipe restores them. `STATE` holds weights, optimizer (with its
step count and moving averages) and metrics after the last whole epoch.
"""

SECONDS = "seconds"
"""Column of the history: how long the epoch took, its validation included."""


class Checkpoint(keras.callbacks.Callback):
    """Write history and state at the end of each epoch; stop early where the recipe says so.

    The history row is written before the state: a kill between the two leaves a row too many, which `resume`
    drops, and never a state without its row. Early stopping is decided from the history alone, so a resumed
    training stops where an uninterrupted one would have.
    """

    def __init__(self, folder: Path, rows: list[dict[str, float]], early_stopping: EarlyStopping | None) -> None:
        super().__init__()
        self.folder, self.rows, self.early_stopping = folder, rows, early_stopping
        self.started = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"epoch": epoch + 1} | {key: float(value) for key, value in (logs or {}).items()}
        self.rows.append(row | {SECONDS: round(time.monotonic() - self.started, 3)})
        write_history(self.folder / HISTORY, self.rows)
        stop = self.early_stopping
        if stop and epochs_since_best(self.rows, stop.monitor) == 0:
            _save_weights(self.model, self.folder / BEST)
        _save_weights(self.model, self.folder / STATE)
        if stop and epochs_since_best(self.rows, stop.monitor) >= stop.patience:
            self.model.stop_training = True


def resume(model: keras.Model, folder: Path, steps_per_epoch: int) -> list[dict[str, float]]:
    """Load the state in `folder` into a compiled model and return the history rows of its whole epochs.

    The model must be new, built from the seed that the training was begun with. Without a state there is nothing to
    resume: the model stays as it is and the history is empty.
    Raises SourceError if the state or history is damaged, or of another model.
    """
    state = folder / STATE
    if not state.is_file():
        return []
    model.optimizer.build(model.trainable_variables)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of layers that it finds no weights for
            model.load_weights(state)
        rows = read_history(folder / HISTORY)
    except (OSError, ValueError, KeyError, UserWarning) as exc:
        raise SourceError(f"{folder}: its training cannot be resumed ({exc})") from exc
    epochs = int(model.optimizer.iterations) // steps_per_epoch
    if len(rows) < epochs:
        raise SourceError(f"{folder}: {HISTORY} has {len(rows)} epochs, {STATE} is after {epochs}")
    _skip_draws(model, int(model.optimizer.iterations))
    return rows[:epochs]


def _skip_draws(model: keras.Model, steps: int) -> None:
    """Bring what dropout draws from to where it was after so many steps: Keras counts the draws, and saves no count."""
    for variable in model.non_trainable_variables:
        if variable.path.endswith("seed_generator_state"):
            variable.assign(keras.ops.convert_to_numpy(variable) + np.array([0, steps], variable.dtype))


def should_stop(rows: list[dict[str, float]], early_stopping: EarlyStopping | None) -> bool:
    """Whether a training with this history had already stopped early."""
    return bool(early_stopping and rows and epochs_since_best(rows, early_stopping.monitor) >= early_stopping.patience)


def epochs_since_best(rows: list[dict[str, float]], monitor: str) -> int:
    """How many epochs ago `monitor` was at its lowest; 0: in the last one."""
    values = [row[monitor] for row in rows]
    return len(values) - 1 - values.index(min(values))


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the rows as CSV, whole or not at all; a value that a row does not have stays empty."""
    part = path.with_suffix(".part")
    columns = dict.fromkeys(key for row in rows for key in row)
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns))
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def read_history(path: Path) -> list[dict[str, float]]:
    """Read what `write_history` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: int(value) if key == "epoch" else float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def _save_weights(model: keras.Model, path: Path) -> None:
    part = path.with_name(f"part-{path.name}")
    model.save_weights(part)
    part.replace(path)
