"""Signals that end a command: it cleans up, says one line, and exits with what a shell expects."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Ctrl-C, a service's manager, a closed terminal, which Windows lacks."""

_ALARM = getattr(signal, "SIGALRM", None)  # None on Windows
_IMPORTING_S = 0.02  # how often it is looked whether an import is done
_received: list[int] = []


def exit_code() -> int:
    """What a shell gives for a process that the last signal ended; 130, as for Ctrl-C, if none came."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


def has_come() -> bool:
    """Whether one of the signals came since the command began."""
    return bool(_received)


def leave_threads(code: int) -> None:
    """End the process if threads are left: one may wait in FFmpeg, and would crash Python as that ends."""
    if any(thread.name.startswith("quietframe-") for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)


def note(number: int) -> None:
    """Remember a signal for `exit_code`."""
    _received.append(number)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal: raise KeyboardInterrupt, once what is being imported is. One more kills the process.

    In an import, libraries would make another error of it, such as that a package is not installed.
    """
    if number != _ALARM:
        note(number)
        for each in heeded():
            signal.signal(each, signal.SIG_DFL)
    if _ALARM is not None and _imports(frame):
        signal.signal(_ALARM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, _IMPORTING_S)
        return
    raise KeyboardInterrupt


def _imports(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def heeded() -> list[int]:
    """Those that are not ignored, as Ctrl-C is in a job in the background, and a hangup under nohup."""
    return [number for number in NUMBERS if signal.getsignal(number) != signal.SIG_IGN]


@contextmanager
def interruptible() -> Iterator[None]:
    """Let the signals raise KeyboardInterrupt; in the main thread only, where Python handles signals."""
    _received.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, interrupt) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
