"""End a training in good order on SIGINT, SIGTERM and SIGHUP."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STDERR = 2
_NOTED = b"quietframe: interrupted; ends in a moment, at once if interrupted again\n"

_entered: list[Signals] = []


class Signals:
    """While entered, note the first of these signals for `check_interrupted`; a second one kills the process.

    A handler that raises would do so in whatever code runs: the exception is lost in a destructor or a garbage
    collector's callback, and fatal to TensorFlow in what it calls from C++. A signal that is ignored, as under nohup,
    stays ignored.
    """

    def __init__(self) -> None:
        self._received: int | None = None

    @property
    def exit_code(self) -> int:
        """Return what a shell gives for a process that the signal ended: 130 for Ctrl-C."""
        return 128 + (self._received or signal.SIGINT)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came."""
        if self._received is not None:
            raise KeyboardInterrupt

    def __enter__(self) -> Signals:
        _entered.append(self)
        self._before = {n: signal.signal(n, self._receive) for n in NUMBERS if signal.getsignal(n) != signal.SIG_IGN}
        return self

    def __exit__(self, kind: type[BaseException] | None, *others: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        _entered.remove(self)
        if kind is None:
            self.check()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        with contextlib.suppress(OSError):  # as where the terminal is gone
            os.write(_STDERR, _NOTED)


def check_interrupted() -> None:
    """Raise KeyboardInterrupt if a signal came: called wherever a training may end, as behind a step."""
    for signals in _entered:
        signals.check()


@contextmanager
def blocked() -> Iterator[None]:
    """Hold these signals back from this thread, and for good from processes that are started meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
