"""Streams over HTTP: JPEGs one after the other, as IP cameras and web previews send them."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator

from quietframe.sources.address import split_login
from quietframe.sources.connection import Connection, ConnectionLostError, Taken, reason_of, refusal
from quietframe.sources.mjpeg import JpegSplitter, looks_like_mjpeg
from quietframe.sources.network import connect_ffmpeg

_CHUNK_BYTES = 1 << 16
_MJPEG_TYPES = {"video/x-motion-jpeg", "video/x-mjpeg", "video/mjpeg", "image/x-mjpeg"}
_UNKNOWN_TYPES = {"application/octet-stream", "text/plain"}  # what a server says that does not know; see RFC 9110 8.3


class MjpegConnection:
    """JPEGs in an HTTP answer, with headers between them or without."""

    def __init__(self, answer: http.client.HTTPResponse, head: bytes, timeout_s: float) -> None:
        self._answer, self._head, self._timeout_s = answer, head, timeout_s
        self.live, self.damaged = True, 0

    def __iter__(self) -> Iterator[Taken | None]:
        splitter, data, error = JpegSplitter(), self._head, None
        while data:
            jpegs = splitter.feed(data)
            self.damaged = splitter.damaged
            yield from [(jpeg, None) for jpeg in jpegs] or (None,)
            try:
                data = self._answer.read1(_CHUNK_BYTES)
            except (OSError, http.client.HTTPException) as exc:
                data, error = b"", exc
        yield from [(jpeg, None) for jpeg in splitter.finish()]
        self.damaged = splitter.damaged
        if error is not None:
            raise ConnectionLostError(reason_of(error, self._timeout_s)) from error

    def close(self) -> None:
        """See `Connection`."""
        self._answer.close()


def connect_http(address: str, timeout_s: float) -> Connection:
    """Open an HTTP address; see `Connect`. What is not MJPEG is left to FFmpeg."""
    try:
        answer = _get(address, timeout_s)
        kind = answer.headers.get_content_type()
        head = answer.read1(_CHUNK_BYTES)
    except urllib.error.HTTPError as exc:
        exc.close()
        raise ConnectionLostError(refusal(exc.code, has_login=split_login(address)[1] is not None)) from exc
    except urllib.error.URLError as exc:
        cause = exc.reason if isinstance(exc.reason, Exception) else exc
        raise ConnectionLostError(reason_of(cause, timeout_s)) from exc
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise ConnectionLostError(reason_of(exc, timeout_s)) from exc
    if kind.startswith("multipart/") or kind in _MJPEG_TYPES or (kind in _UNKNOWN_TYPES and looks_like_mjpeg(head)):
        return MjpegConnection(answer, head, timeout_s)
    answer.close()
    if kind.startswith("image/"):
        raise ConnectionLostError(f"is a single picture ({kind}), expected a stream: download it and give the file")
    if kind == "text/html":
        raise ConnectionLostError("is a web page, expected a stream: give the address of the video in it")
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
