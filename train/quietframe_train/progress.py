"""What a person sees while a training runs: a bar on a terminal, else a line for each epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import keras
from rich.console import Console
from rich.progress import Progress

from quietframe.cli.terminal import progress_bar


@contextlib.contextmanager
def shown_progress(console: Console) -> Iterator[keras.callbacks.Callback]:
    """A callback that reports to the console; whatever it draws is gone when the block is left."""
    if not console.is_terminal:
        yield EpochLines(console)
        return
    with progress_bar(console) as progress:
        yield ProgressBar(progress)


class EpochLines(keras.callbacks.Callback):
    """One line at the end of each epoch."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console, self.started = console, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        whole = {key: value for key, value in (logs or {}).items() if "/" not in key}  # others: of one set alone
        figures = "  ".join(f"{key} {float(value):.4g}" for key, value in whole.items())
        line = f"epoch {epoch + 1}/{self.params['epochs']}  {figures}  {time.monotonic() - self.started:.1f} s"
        self.console.print(line, highlight=False, soft_wrap=True)


class ProgressBar(EpochLines):
    """Those lines, and a bar of the epoch's steps below them."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress.console)
        self.progress, self.bar = progress, progress.add_task("")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch, logs)
        description = f"epoch {epoch + 1}/{self.params['epochs']}"
        self.progress.reset(self.bar, total=self.params["steps"], description=description)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.progress.update(self.bar, completed=batch + 1)
