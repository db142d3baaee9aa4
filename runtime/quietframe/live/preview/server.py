"""The preview as a sink: it keeps the newest frame, and serves it from a thread of its own."""

from __future__ import annotations

import errno
import ipaddress
import re
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import MissingExtraError, OutputError, UsageError
from quietframe.live.controls import Controls
from quietframe.live.preview.pictures import Pair, Pictures
from quietframe.sinks import Sink
from quietframe.sources import Frame

if TYPE_CHECKING:
    import uvicorn

DEFAULT_ADDRESS = "127.0.0.1:8080"

_ADDRESS = re.compile(r"((?P<name>[A-Za-z0-9][\w.-]*)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])?(:(?P<port>\d{1,5}))?", re.ASCII)
_MOST_CONNECTIONS = 64
_MOST_MESSAGE_BYTES = 64  # a page says "shown" and no more
_UNSENT_BYTES = 1 << 16  # what the kernel queues for a client that reads slowly: old pictures
_CLOSE_S = 5


class Preview(Sink):
    """Shows the running loop in a browser: the frame before and after, figures and controls.

    `write` keeps references and no more; pictures are encoded for clients who look, in another thread, once for all.
    On any address but this machine's own loopback, every request needs the token that is part of `url`.

    Args:
        address: `HOST:PORT`; HOST or PORT alone is completed from `DEFAULT_ADDRESS`. Port 0: one that is free.
        controls: what the page's controls change.
        stats: the loop's figures, as JSON takes them; called in the server's thread, twice a second at most.
        token: in place of a random one: links stay valid from run to run. With it the loopback asks for it, too.

    Attributes:
        url: the link that opens the page, with the token where one is needed. Port 0 is replaced by `start`.

    Raises:
        UsageError: an address that cannot be understood, a token that would not fit into a link.
    """

    def __init__(
        self, address: str, controls: Controls, stats: Callable[[], Mapping[str, Any]], *, token: str | None = None
    ) -> None:
        super().__init__()
        self._host, self._port = _parse(address)
        if token is not None and not re.fullmatch("[A-Za-z0-9_-]{8,}", token):
            raise UsageError("Expected a token of at least 8 letters, digits, - and _")
        self._token = token if token is not None or _is_loopback(self._host) else secrets.token_urlsafe(16)
        self._controls = controls
        self._stats = stats
        self._pictures = Pictures()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """See the class."""
        host = _own_address(self._host) if self._host in ("0.0.0.0", "::") else self._host
        query = "" if self._token is None else f"?token={self._token}"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/{query}"

    def start(self) -> None:
        """Bind the port and serve from now on.

        Raises:
            MissingExtraError: the extra `serve` is not installed.
            OutputError: the port is in use, or the address is not this machine's.
        """
        try:
            import uvicorn
            import websockets  # noqa: F401  uvicorn imports it later: too late to say that it is missing

            from quietframe.live.preview.app import App
            from quietframe.live.preview.guard import Guard
        except ImportError as exc:
            raise MissingExtraError(exc.name or "the preview's server", "serve") from exc
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        app = App(self._pictures, self._controls, self._stats).starlette()
        config = uvicorn.Config(
            Guard(app, self._host, self._port, self._token),
            loop="asyncio",
            http="h11",
            ws="websockets-sansio",
            ws_max_size=_MOST_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # JPEG is compressed already
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="preview", daemon=True)
        self._thread.start()

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`. Neither the frame nor the pixels may be changed afterwards."""
        self._pictures.put(Pair(frame, pixels))

    def close(self) -> None:
        """Send all clients away and give the port back."""
        self._pictures.end()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_CLOSE_S)
        self._pictures.close()

    def discard(self) -> None:
        """The same as `close`: there is nothing to keep."""
        self.close()


def _parse(address: str) -> tuple[str, int]:
    """(host, port) of an address; localhost is 127.0.0.1. Raises UsageError."""
    default_host, default_port = DEFAULT_ADDRESS.split(":")
    found = _ADDRESS.fullmatch(f":{address}" if address.isdecimal() else address)
    port = int((found and found["port"]) or default_port)
    if not address or found is None or port > 65535:
        raise UsageError(
            f"Expected an address as in {DEFAULT_ADDRESS}, 0.0.0.0:8080 or [::1]:8080. Received: {address!r}"
        )
    host = (found["name"] or found["ipv6"] or "localhost").lower()
    return default_host if host == "localhost" else host, port


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name: who knows where it leads
        return False


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises OutputError."""
    place = f"{host}:{port}"
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except socket.gaierror as exc:
        raise OutputError(f"{place}: no such address ({exc.strerror})") from exc
    except OSError as exc:
        reasons = {
            errno.EADDRINUSE: "the port is in use: choose another",
            errno.EADDRNOTAVAIL: "is not an address of this machine: 0.0.0.0 stands for all that it has",
            errno.EACCES: "ports below 1024 are the administrator's: choose another",
        }
        raise OutputError(f"{place}: {reasons.get(exc.errno or 0, exc.strerror or str(exc))}") from exc
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)  # connections inherit it
    return listener


def _own_address(host: str) -> str:
    """The address that others in the network reach this machine at, as far as it can tell; no packet is sent."""
    family, elsewhere = (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
