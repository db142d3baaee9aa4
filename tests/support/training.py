"""Callbacks for tests of trainings."""

from __future__ import annotations

from typing import Any

import keras


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C at the start of an epoch, or behind a step, of the first training that it is passed to or a later one."""

    def __init__(self, *, epoch: int | None = None, step: int | None = None, training: int = 1) -> None:
        super().__init__()
        self.epoch, self.step, self.training = epoch, step, training
        self.trainings, self.steps = 0, 0

    def on_train_begin(self, logs: Any = None) -> None:
        self.trainings += 1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.trainings == self.training and epoch == self.epoch:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.steps == self.step:
            raise KeyboardInterrupt
        self.steps += 1
