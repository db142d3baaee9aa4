"""SIGINT, SIGTERM and SIGHUP end a training alike: behind a step, with what is finished kept."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered, these signals raise KeyboardInterrupt: behind the step or epoch at hand while one runs, so that
    no step and no file is left half done, and at once otherwise; the second signal always at once. A signal that is
    ignored, as under nohup, stays ignored.

    Python raises in whatever code runs, and drops what is raised in a destructor or a garbage collector callback:
    so the signal is looked for again behind every step, and when this is left.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._training = False

    @property
    def exit_code(self) -> int:
        """What a shell gives for a process that the signal ended: 130 for Ctrl-C."""
        return 128 + (self._received or signal.SIGINT)

    def __enter__(self) -> Signals:
        heeded = [number for number in NUMBERS if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._receive) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None and self._received is not None:
            raise KeyboardInterrupt

    def callback(self) -> keras.callbacks.Callback:
        """Make the callback that a training needs to end behind a step."""
        import keras

        def begin(epoch: int, logs: Any = None) -> None:
            self._training = True

        def check(batch: int, logs: Any = None) -> None:
            if self._received is not None:
                self._training = False
                raise KeyboardInterrupt

        def end(epoch: int, logs: Any = None) -> None:
            self._training = False
            check(epoch)

        return keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_epoch_end=end, on_train_batch_end=check)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        first, self._received = self._received is None, number
        if not (first and self._training):
            raise KeyboardInterrupt
