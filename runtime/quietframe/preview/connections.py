"""The preview's connections: nobody without access can keep the owner out, or descriptors from cameras and files."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from quietframe.log import log

MAX_CONNECTIONS = 64
SILENT_S = 10.0
"""How long a connection may go on without a request that is whole, allowed and answered."""

_LOG_PERIOD_S = 1.0


class Connections:
    """Keep the number of connections below a limit: the address that holds most loses its oldest one.

    Pages and streams that have one of the places stay.

    Args:
        limit: how many; of this process's descriptors a quarter at most.
    """

    def __init__(self, limit: int = MAX_CONNECTIONS) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.limit = limit if descriptors == resource.RLIM_INFINITY else min(limit, max(4, descriptors // 4))
        self._closed = Tally("preview: connections closed, as there were too many")
        self._open: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Take a new one in, and close another where they are too many."""
        self._open = [other for other in self._open if not other.transport.is_closing()]
        self._open.append(connection)
        if len(self._open) <= self.limit:
            return
        others = [other for other in self._open if not other.has_place]
        ((heaviest, _),) = Counter(other.address for other in others).most_common(1)
        next(other for other in others if other.address == heaviest).transport.abort()
        self._closed.add()


class Connection(H11Protocol):
    """One connection of uvicorn's, whose silence ends. `all` is set by `protocol`.

    Attributes:
        is_allowed: its request may pass, and is not answered to its end: set by `Guard`.
        has_place: it is a page or stream: set by `App`.
    """

    all: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self.is_allowed = self.has_place = False
        self.app_state = {"connection": self}  # in the scope of its requests, and of its WebSocket
        self.address = self.client[0] if self.client else ""
        self._latest_s = time.monotonic()
        self.all.add(self)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.is_allowed = self.has_place = False
        self._latest_s = time.monotonic()
        super().on_response_complete()

    def _look(self) -> None:
        """Close what was silent too long; look again when the next silence would be."""
        if self.transport.is_closing():
            return
        now_s = time.monotonic()
        if self.is_allowed:
            self._latest_s = now_s
        if now_s - self._latest_s >= SILENT_S:
            self.transport.abort()
            return
        self.loop.call_later(self._latest_s + SILENT_S - now_s, self._look)


class Tally:
    """Count events of one kind, and log their number once a second at most. For the server's event loop."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0

    def add(self) -> None:
        """Count one."""
        self._count += 1
        if self._count == 1:
            asyncio.get_running_loop().call_later(_LOG_PERIOD_S, self._log)

    def _log(self) -> None:
        log.warning("%s: %d", self._what, self._count)
        self._count = 0


def protocol() -> type[Connection]:
    """Return the class of a server's connections, which share their limit."""
    return type("Connection", (Connection,), {"all": Connections()})


def is_own_fault(record: Any) -> bool:
    """Filter uvicorn's log: no line of it is of clients that send no UTF-8, or leave before their WebSocket stands."""
    return not str(record.msg).startswith(("Invalid UTF-8", "ASGI callable returned without"))
