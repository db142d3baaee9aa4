"""What a service manager hears of a running loop: systemd's notification protocol, sd_notify(3)."""

from __future__ import annotations

import contextlib
import os
import socket


class Service:
    """Tells systemd that the loop runs, and that it still does; without systemd, nothing.

    With `WatchdogSec=` in its unit, systemd restarts a service that falls silent. `alive` is called by the loop itself,
    so that a model or sink that hangs is noticed.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._ready = False

    def alive(self) -> None:
        """The loop has come round once more."""
        self._send("WATCHDOG=1" if self._ready else "READY=1")
        self._ready = True

    def stopping(self) -> None:
        """The run ends; files may still be finished."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # "@" stands for the null byte of an abstract socket's name.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one,
        ):
            one.setblocking(False)
            one.sendto(message.encode(), address)
