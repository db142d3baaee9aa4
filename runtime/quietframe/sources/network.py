"""Streams that FFmpeg reads: RTSP, RTMP, MPEG-TS over UDP, and what comes over HTTP that is not MJPEG."""

from __future__ import annotations

from urllib.parse import urlsplit

from quietframe.sources.address import scheme_of, split_login
from quietframe.sources.connection import ConnectionLostError, reason_of, refusal
from quietframe.sources.container import Container, UnreadableError

_ANALYZE_US = "2000000"  # how long FFmpeg may look at a stream before its first frame is given
_STATUS = {"HTTPBadRequestError": 400, "HTTPUnauthorizedError": 401, "HTTPForbiddenError": 403}
_STATUS |= {"HTTPNotFoundError": 404, "HTTPOtherClientError": 400, "HTTPServerError": 500}


def connect_ffmpeg(address: str, timeout_s: float) -> Container:
    """Open a stream; see `Connect`. RTSP comes over TCP where the server has it, with `?udp` over UDP."""
    scheme = scheme_of(address)
    # Frames by which FFmpeg would measure a rate come late, and all at once.
    options, lossy = {"analyzeduration": _ANALYZE_US, "fpsprobesize": "0"}, False
    try:
        _, user, _ = split_login(address)
        parts = urlsplit(address)
        if not parts.hostname and scheme != "udp":
            raise ValueError
    except ValueError as exc:
        raise ConnectionLostError(reason_of(exc, timeout_s)) from None
    if scheme in ("rtsp", "rtsps"):
        lossy = "udp" in parts.query.split("&")
        options |= {"rtsp_transport": "udp"} if lossy else {"rtsp_flags": "prefer_tcp"}
    if scheme == "udp":
        options["overrun_nonfatal"] = "1"
    try:
        return Container(address, options=options, live=True, lossy=lossy, timeout_s=timeout_s)
    except UnreadableError as exc:
        raise ConnectionLostError(reason_unreadable(exc, timeout_s, has_login=user is not None)) from None


def reason_unreadable(exc: UnreadableError, timeout_s: float, *, has_login: bool = True) -> str:
    """What FFmpeg's error means; its own text holds the address."""
    import av

    error = exc.error
    if isinstance(error, av.error.ExitError):
        return reason_of(TimeoutError(), timeout_s)
    if (status := _STATUS.get(type(error).__name__)) is not None:
        return refusal(status, has_login=has_login)
    if isinstance(error, OSError) and not isinstance(error, ValueError | EOFError):
        return str(error.strerror)
    return "gives no video that can be read" if error else str(exc)
