"""Report a training on stderr: a line for each epoch, and on a terminal a bar of its steps below them."""

from __future__ import annotations

import time
from typing import Any

import keras
from rich.progress import Progress


class Report(keras.callbacks.Callback):
    """Report to a progress bar's console."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress, self.bar, self.started = progress, progress.add_task(""), 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.monotonic()
        description = f"epoch {epoch + 1}/{self.params['epochs']}"
        self.progress.reset(self.bar, total=self.params["steps"], description=description)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.progress.update(self.bar, completed=batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        whole = {key: value for key, value in (logs or {}).items() if "/" not in key}  # others: of one set alone
        figures = "  ".join(f"{key} {float(value):.4g}" for key, value in whole.items())
        line = f"epoch {epoch + 1}/{self.params['epochs']}  {figures}  {time.monotonic() - self.started:.1f} s"
        self.progress.console.print(line, highlight=False, soft_wrap=True)
