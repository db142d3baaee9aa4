"""What runs until it is stopped: signals that end it, and what systemd hears of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

from quietframe.cli import ends


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM (a service's manager) or SIGHUP (a closed terminal) call `stop`; a second one interrupts.

    A signal that is ignored stays ignored.
    """

    def first(number: int, _frame: Any) -> None:
        ends.note(number)
        for each in numbers:
            signal.signal(each, ends.interrupt)
        stop()

    numbers = ends.heeded()
    earlier = {number: signal.signal(number, first) for number in numbers}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def notify_service(state: str) -> None:
    """Send a state to systemd, where it started this process: sd_notify(3).

    With `WatchdogSec=` in its unit, systemd restarts a service that falls silent. The loop itself sends, so that a
    model or sink that hangs is noticed.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # which stands for the null byte of an abstract socket's name
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection,
    ):
        connection.setblocking(False)
        connection.sendto(state.encode(), address)
