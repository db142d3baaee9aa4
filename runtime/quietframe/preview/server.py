"""The preview's server: frames of one pipeline or several for browsers, from a thread of its own."""

from __future__ import annotations

import errno
import ipaddress
import logging
import re
import secrets
import socket
import threading
from typing import TYPE_CHECKING

from quietframe.controls import Controls
from quietframe.errors import MissingExtraError, OutputError, UsageError
from quietframe.log import log
from quietframe.preview.frames import Record, Stream, View, new_encoder
from quietframe.preview.health import Health

if TYPE_CHECKING:
    import uvicorn

DEFAULT_ADDRESS = "127.0.0.1:8080"

_ONLY = "camera"  # the name of the stream that is alone

_ADDRESS = re.compile(r"((?P<name>[A-Za-z0-9][\w.-]*)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])?(:(?P<port>\d{1,5}))?", re.ASCII)
_MAX_MESSAGE_BYTES = 64  # a page says "shown" and no more
_UNSENT_BYTES = 1 << 16  # what the kernel queues for a client that reads slowly: old frames
_CLOSE_S = 5


class Server:
    """Serve streams to browsers and other programs, from a thread of its own.

    On any address but this machine's own loopback, every request needs the token that is part of `url`.

    Args:
        address: `HOST:PORT`; HOST or PORT alone is completed from `DEFAULT_ADDRESS`. Port 0: one that is free.
        token: the access token, so that links stay valid from run to run; with it the loopback asks for it, too.
            None: a random one.

    Attributes:
        url: the link that opens the page, with the token where one is needed. Port 0 is replaced by `start`.
        streams: what is served.

    Raises:
        UsageError: an address that cannot be understood, a token that would not fit into a link.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, token: str | None = None) -> None:
        self._host, self._port = _parse(address)
        if token is not None and not re.fullmatch("[A-Za-z0-9_-]{8,}", token):
            raise UsageError("Expected a token of at least 8 letters, digits, - and _")
        self._token = token if token is not None or _is_loopback(self._host) else secrets.token_urlsafe(16)
        self.streams: list[Stream] = []
        self._encoder = new_encoder()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """See `Server`."""
        host = _own_address(self._host) if self._host in ("0.0.0.0", "::") else self._host
        query = "" if self._token is None else f"?token={self._token}"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/{query}"

    def add(self, name: str, record: Record | None = None) -> Stream:
        """Return one more stream, for a `View`; before `start`. See `Stream`."""
        self.streams.append(Stream(name, self._encoder, record))
        return self.streams[-1]

    def start(self, *, wall: bool = True) -> None:
        """Bind the port, serve from now on, and log the link.

        wall: show all streams at `/`, and each at `/camera/NAME/`; else there is one, and it is shown at `/`.

        Raises:
            MissingExtraError: the extra `serve` is not installed.
            OutputError: the port is in use, or the address is not this machine's.
        """
        try:
            import uvicorn
            import websockets  # noqa: F401  uvicorn imports it later: too late to say that it is missing

            from quietframe.preview import connections
            from quietframe.preview.app import App
            from quietframe.preview.guard import Guard
        except ImportError as exc:
            raise MissingExtraError(exc.name or "the preview's server", "serve") from exc
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        protocol = connections.protocol()
        app = App(self.streams, Health(), wall=wall).starlette()
        config = uvicorn.Config(
            Guard(app, self._host, self._port, self._token),
            loop="asyncio",
            http=protocol,
            ws="websockets-sansio",
            ws_max_size=_MAX_MESSAGE_BYTES,
            ws_per_message_deflate=False,  # JPEG is compressed already
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=protocol.all.limit,  # of those that wait, too, each may take a descriptor before it is counted
            timeout_graceful_shutdown=1,
        )
        logging.getLogger("uvicorn.error").addFilter(connections.is_own_fault)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="preview", daemon=True)
        self._thread.start()
        log.info("preview: %s", self.url)

    def close(self) -> None:
        """Disconnect all clients and release the port."""
        for stream in self.streams:
            stream.frames.end()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_CLOSE_S)
        self._encoder.shutdown(wait=False, cancel_futures=True)


class Preview(View):
    """Show the running loop in a browser: the frame before and after, figures and controls.

    >>> Pipeline(0, sinks=[Preview("0.0.0.0:8080")]).run()

    Arguments, attributes and errors are those of `Server`, which it starts with the loop and closes with it.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, token: str | None = None) -> None:
        self._server = Server(address, token=token)
        super().__init__(self._server.add(_ONLY))

    @property
    def url(self) -> str:
        """See `Server`."""
        return self._server.url

    def begin(self, record: Record, controls: Controls) -> None:
        """See `Sink` and `Server.start`.

        record: called in the server's thread, twice a second at most. The machine's health is added to it.
        """
        super().begin(record, controls)
        self._server.start(wall=False)

    def close(self) -> None:
        """See `Server`."""
        self._server.close()

    def discard(self) -> None:
        """Do the same as `close`: there is nothing to keep."""
        self.close()


def _parse(address: str) -> tuple[str, int]:
    """Split an address into host and port; localhost is 127.0.0.1. Raises UsageError."""
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
    """Open a listening socket. Raises OutputError."""
    place = f"{host}:{port}"
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError) as exc:  # UnicodeError: empty or too long between two dots
        raise OutputError(f"{place}: no such address ({getattr(exc, 'strerror', 'not a name of a host')})") from exc
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
    """Guess the address that others in the network reach this machine at; no packet is sent."""
    family, elsewhere = (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return socket.gethostname()
