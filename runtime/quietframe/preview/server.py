"""The preview as a sink: keep the newest frame before and after, and serve it from a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import ipaddress
import logging
import os
import re
import secrets
import socket
import struct
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.controls import Controls
from quietframe.errors import MissingExtraError, OutputError, UsageError
from quietframe.log import log
from quietframe.preview.health import Health
from quietframe.sinks import Sink
from quietframe.sources import Frame

if TYPE_CHECKING:
    import uvicorn

DEFAULT_ADDRESS = "127.0.0.1:8080"

_ADDRESS = re.compile(r"((?P<name>[A-Za-z0-9][\w.-]*)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])?(:(?P<port>\d{1,5}))?", re.ASCII)
_MAX_MESSAGE_BYTES = 64  # a page says "shown" and no more
_UNSENT_BYTES = 1 << 16  # what the kernel queues for a client that reads slowly: old frames
_CLOSE_S = 5
_JPEG_QUALITY = 80
_ENCODER_NICENESS = 10

Form = Literal["message", "after_jpeg", "png_pair"]


class Preview(Sink):
    """Show the running loop in a browser: the frame before and after, figures and controls.

    `write` keeps references and no more; frames are encoded where a client watches, in another thread, once for all.
    On any address but this machine's own loopback, every request needs the token that is part of `url`.

    >>> Pipeline(0, sinks=[Preview("0.0.0.0:8080")]).run()

    Args:
        address: `HOST:PORT`; HOST or PORT alone is completed from `DEFAULT_ADDRESS`. Port 0: one that is free.
        token: the access token, so that links stay valid from run to run; with it the loopback asks for it, too.
            None: a random one.

    Attributes:
        url: the link that opens the page, with the token where one is needed. Port 0 is replaced by `begin`.

    Raises:
        UsageError: an address that cannot be understood, a token that would not fit into a link.
    """

    interactive = True
    keeps_16bit = False

    def __init__(self, address: str = DEFAULT_ADDRESS, *, token: str | None = None) -> None:
        super().__init__()
        self._host, self._port = _parse(address)
        if token is not None and not re.fullmatch("[A-Za-z0-9_-]{8,}", token):
            raise UsageError("Expected a token of at least 8 letters, digits, - and _")
        self._token = token if token is not None or _is_loopback(self._host) else secrets.token_urlsafe(16)
        self._frames = Frames()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """See `Preview`."""
        host = _own_address(self._host) if self._host in ("0.0.0.0", "::") else self._host
        query = "" if self._token is None else f"?token={self._token}"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/{query}"

    def begin(self, record: Callable[[], Mapping[str, Any]], controls: Controls) -> None:
        """Bind the port, serve from now on, and log the link.

        Args:
            record: the loop's figures for JSON; called in the server's thread, twice a second at most. The machine's
                health is added to them.
            controls: what the page's controls change.

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
        health, protocol = Health(), connections.protocol()
        app = App(self._frames, controls, lambda: {**health(), **record()}).starlette()
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

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`. Neither the frame nor the pixels may be changed afterwards."""
        self._frames.put(Pair(frame, pixels))

    def close(self) -> None:
        """Disconnect all clients and release the port."""
        self._frames.end()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_CLOSE_S)
        self._frames.close()

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


class Pair:
    """Hold a frame before and after, in the forms that clients take. Each is made once, in the one encoder thread.

    Args:
        frame: as captured.
        after: (H, W, 3) or (H, W) uint8, the result.
    """

    def __init__(self, frame: Frame, after: NDArray[np.uint8]) -> None:
        self.index = frame.index
        self._before = frame.pixels
        self._after = after

    @cached_property
    def after_jpeg(self) -> bytes:
        """The clean frame as JPEG."""
        return _encode(".jpg", self._after)

    @cached_property
    def message(self) -> bytes:
        """For the page: frame index and length of the first JPEG (uint32, big-endian), JPEG before, JPEG after."""
        before = _encode(".jpg", self._before)
        return struct.pack(">II", self.index & 0xFFFFFFFF, len(before)) + before + self.after_jpeg

    @cached_property
    def png_pair(self) -> bytes:
        """A ZIP of two PNG files: the pixels as they were."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:  # stored: PNG is compressed already
            for name, pixels in (("before", self._before), ("after", self._after)):
                archive.writestr(f"frame-{self.index:06d}-{name}.png", _encode(".png", pixels))
        return packed.getvalue()


class Frames:
    """Hold the newest pair. `put` is for the loop's thread; `newer` and `encoded` are for the server's event loop.

    One encoder thread of low priority serves all clients: however many watch, the preview takes at most one core, and
    gives way to the model there.
    """

    def __init__(self) -> None:
        self.newest: Pair | None = None
        self._ended = False
        self._waiting = 0
        self._bell = Bell()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._encoder = ThreadPoolExecutor(1, "preview-encoder", _be_nice)

    def put(self, pair: Pair) -> None:
        """Replace the newest. Wakes the server if a client waits; otherwise it costs an assignment."""
        self.newest = pair
        self._wake()

    async def newer(self, seen: Pair | None) -> bool:
        """Wait until the newest is another than `seen`. False: there will be none, the server ends."""
        self._loop = asyncio.get_running_loop()
        self._waiting += 1  # before the look: a `put` after it wakes
        try:
            while self.newest is seen and not self._ended:
                await self._bell.wait()
        finally:
            self._waiting -= 1
        return not self._ended

    async def encoded(self, form: Form) -> tuple[Pair, bytes]:
        """Return the newest pair when the encoder turns to it, and a form of it."""
        return await asyncio.get_running_loop().run_in_executor(self._encoder, self._encode_newest, form)

    def end(self) -> None:
        """Wake all that wait, from any thread: there will be no more."""
        self._ended = True
        self._wake()

    def close(self) -> None:
        """End the encoder: no form can be asked for afterwards."""
        self._encoder.shutdown(wait=False, cancel_futures=True)

    def _wake(self) -> None:
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._bell.ring)

    def _encode_newest(self, form: Form) -> tuple[Pair, bytes]:
        pair = self.newest
        assert pair is not None  # clients ask after `newer`, or after they looked
        return pair, getattr(pair, form)


class Bell:
    """Wake all tasks that wait, in one event loop."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    async def wait(self) -> None:
        """Wait until it rings."""
        await self._rung.wait()

    def ring(self) -> None:
        """Wake the tasks that wait now."""
        self._rung.set()
        self._rung = asyncio.Event()


def _encode(suffix: str, pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def _be_nice() -> None:
    """Let the model go first. Elsewhere than on Linux it would be the whole process that gives way."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a system that forbids it: frames matter more
            os.nice(_ENCODER_NICENESS)
