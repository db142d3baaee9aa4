"""Streams over HTTP: JPEGs one after the other, as IP cameras and web previews send them."""

from __future__ import annotations

import http.client
import urllib.request
from collections.abc import Iterator

from quietframe.sources.address import split_login
from quietframe.sources.container import UnreadableError
from quietframe.sources.mjpeg import JpegSplitter, looks_like_mjpeg
from quietframe.sources.network import Connection, Taken, connect_ffmpeg

_CHUNK_BYTES = 1 << 16
_MJPEG_TYPES = {"video/x-motion-jpeg", "video/x-mjpeg", "video/mjpeg", "image/x-mjpeg"}
_UNKNOWN_TYPES = {"application/octet-stream", "text/plain"}  # what a server says that does not know; see RFC 9110 8.3


class MjpegConnection:
    """JPEGs in an HTTP answer, with headers between them or without."""

    live = True

    def __init__(self, answer: http.client.HTTPResponse, head: bytes) -> None:
        self._answer, self._head = answer, head
        self._error: Exception | None = None
        self.damaged = 0

    def __iter__(self) -> Iterator[Taken | None]:
        splitter = JpegSplitter()
        for jpeg in splitter.split(self._read):
            self.damaged = splitter.damaged
            yield None if jpeg is None else (jpeg, None)
        if self._error is not None:
            raise self._error

    def _read(self) -> bytes:
        head, self._head = self._head, b""
        try:
            return head or self._answer.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as exc:
            self._error = exc  # raised once the JPEG that it ends was given
            return b""

    def close(self) -> None:
        """See `Connection`."""
        self._answer.close()


def connect_http(address: str, timeout_s: float) -> Connection:
    """Open an HTTP address; see `Connect`. What is not MJPEG is left to FFmpeg."""
    answer = _get(address, timeout_s)
    kind = answer.headers.get_content_type()
    head = answer.read1(_CHUNK_BYTES)
    if kind.startswith("multipart/") or kind in _MJPEG_TYPES or (kind in _UNKNOWN_TYPES and looks_like_mjpeg(head)):
        return MjpegConnection(answer, head)
    answer.close()
    if kind.startswith("image/"):
        raise UnreadableError(f"is a single picture ({kind}), expected a stream: download it and give the file")
    if kind == "text/html":
        raise UnreadableError("is a web page, expected a stream: give the address of the video in it")
    return connect_ffmpeg(address, timeout_s)


def _get(address: str, timeout_s: float) -> http.client.HTTPResponse:
    """Ask for an address. The login goes into a header once the server wants it, Digest before Basic."""
    bare, user, password = split_login(address)
    handlers: list[urllib.request.BaseHandler] = []
    if user is not None:
        logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        logins.add_password(None, bare, user, password)
        handlers = [urllib.request.HTTPDigestAuthHandler(logins), urllib.request.HTTPBasicAuthHandler(logins)]
    answer: http.client.HTTPResponse = urllib.request.build_opener(*handlers).open(bare, timeout=timeout_s)
    return answer
