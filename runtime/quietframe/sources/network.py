"""Connections to streams: JPEGs over HTTP, and what FFmpeg reads; and why there may be none."""

from __future__ import annotations

import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse, responses
from typing import TypeAlias
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from quietframe.sources.address import scheme_of, split_login
from quietframe.sources.base import Options
from quietframe.sources.container import Container, UnreadableError
from quietframe.sources.mjpeg import JpegSplitter, looks_like_mjpeg

_ANALYZE_US = "2000000"  # how long FFmpeg may look at a stream before its first frame is given
_STATUS = {"HTTPBadRequestError": 400, "HTTPUnauthorizedError": 401, "HTTPForbiddenError": 403}
_STATUS |= {"HTTPNotFoundError": 404, "HTTPOtherClientError": 400, "HTTPServerError": 500}
_CHUNK_BYTES = 1 << 16
_MJPEG_TYPES = {"video/x-motion-jpeg", "video/x-mjpeg", "video/mjpeg", "image/x-mjpeg"}
_UNKNOWN_TYPES = {"application/octet-stream", "text/plain"}  # what a server says that does not know; see RFC 9110 8.3


class MjpegConnection:
    """JPEGs in an HTTP answer, with headers between them or without. It has what a `Container` has of a live stream."""

    live = True

    def __init__(self, answer: HTTPResponse, head: bytes) -> None:
        self._answer, self._head = answer, head
        self._error: Exception | None = None
        self.damaged = 0

    def __iter__(self) -> Iterator[tuple[bytes, None] | None]:
        splitter = JpegSplitter()
        for jpeg in splitter.split(self._read):
            self.damaged = splitter.damaged
            yield None if jpeg is None else (jpeg, None)
        if self._error is not None:
            raise self._error

    def wanted(self, wants: Callable[[int], bool]) -> Iterator[tuple[bytes, None] | None]:
        """Yield JPEGs that are wanted at the time at which they come, None for the others."""
        for taken in self:
            yield taken if taken and wants(time.monotonic_ns()) else None

    def _read(self) -> bytes:
        head, self._head = self._head, b""
        try:
            return head or self._answer.read1(_CHUNK_BYTES)
        except (OSError, HTTPException) as exc:
            self._error = exc  # raised once the JPEG that it ends was given
            return b""

    def close(self) -> None:
        """Hang up."""
        self._answer.close()


Connection: TypeAlias = Container | MjpegConnection
"""An open stream. Iterate over it once: frames and their times, or None when something came that is no whole frame."""

Connect = Callable[[str, Options], Connection]
"""Opens an address; of the options it heeds `timeout_s`, how long the other side may be silent, and `limit`.

Raises UnreadableError, or OSError, ValueError or HTTPException of a library: `reason_of` says what they mean.
"""


def connect_ffmpeg(address: str, how: Options) -> Container:
    """Open a stream; see `Connect`. RTSP comes over TCP where the server has it, with `?udp` over UDP."""
    scheme, parts = scheme_of(address), urlsplit(address)
    if not parts.hostname and scheme != "udp":
        raise ValueError("no host")
    # Frames by which FFmpeg would measure a rate come late, and all at once.
    options, lossy = {"analyzeduration": _ANALYZE_US, "fpsprobesize": "0"}, False
    if scheme in ("rtsp", "rtsps"):
        lossy = "udp" in parts.query.split("&")
        options |= {"rtsp_transport": "udp"} if lossy else {"rtsp_flags": "prefer_tcp"}
    if scheme == "udp":
        options["overrun_nonfatal"] = "1"
    return Container(address, options=options, live=True, lossy=lossy, timeout_s=how.timeout_s, limit=how.limit)


def connect_http(address: str, how: Options) -> Connection:
    """Open an HTTP address; see `Connect`. What is not MJPEG is left to FFmpeg."""
    answer = _get(address, how.timeout_s)
    kind = answer.headers.get_content_type()
    head = answer.read1(_CHUNK_BYTES)
    if kind.startswith("multipart/") or kind in _MJPEG_TYPES or (kind in _UNKNOWN_TYPES and looks_like_mjpeg(head)):
        return MjpegConnection(answer, head)
    answer.close()
    if kind.startswith("image/"):
        raise UnreadableError(f"is a single picture ({kind}), expected a stream: download it and give the file")
    if kind == "text/html":
        raise UnreadableError("is a web page, expected a stream: give the address of the video in it")
    return connect_ffmpeg(address, how)


def _get(address: str, timeout_s: float) -> HTTPResponse:
    """Ask for an address. The login goes into a header once the server wants it, Digest before Basic."""
    bare, user, password = split_login(address)
    handlers: list[urllib.request.BaseHandler] = []
    if user is not None:
        logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        logins.add_password(None, bare, user, password)
        handlers = [urllib.request.HTTPDigestAuthHandler(logins), urllib.request.HTTPBasicAuthHandler(logins)]
    answer: HTTPResponse = urllib.request.build_opener(*handlers).open(bare, timeout=timeout_s)
    return answer


def reason_of(exc: Exception, address: str, timeout_s: float) -> str:
    """What an error of a connection means. A library's own text is not repeated where it may hold the address."""
    error: object = exc.error or exc if isinstance(exc, UnreadableError) else exc
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    status = error.code if isinstance(error, HTTPError) else _STATUS.get(type(error).__name__)
    if status is not None:
        return _refusal(status, has_login="@" in address.partition("://")[2].partition("/")[0])
    if isinstance(error, TimeoutError) or type(error).__name__ == "ExitError":  # FFmpeg's
        reason = f"silent for {timeout_s:g} s"
    elif isinstance(error, ssl.SSLCertVerificationError):
        reason = f"its certificate is not trusted ({error.verify_message})"
    elif isinstance(error, ssl.SSLError):
        reason = f"no secure connection ({error.reason or 'TLS error'})"
    elif isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    elif isinstance(exc, UnreadableError):
        reason = "gives no video that can be read" if exc.error else str(exc)
    else:
        reason = f"no proper address or answer ({type(error).__name__})"
    return reason


def _refusal(status: int, *, has_login: bool) -> str:
    if status == 401 and has_login:
        return "refuses this user or password (401)"
    if status == 401:
        return "asks for a user and a password (401): write USER:PASSWORD@ before the host"
    return f"answers {status} {responses.get(status, '')}".rstrip()
