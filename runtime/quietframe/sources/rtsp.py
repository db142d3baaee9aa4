"""Streams that FFmpeg reads: RTSP, and what comes over HTTP that is not MJPEG."""

from __future__ import annotations

import atexit
import re
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.sources.address import scheme_of, split_login
from quietframe.sources.connection import Connection, ConnectionLostError, OnDamage, reason_of, refusal
from quietframe.sources.ffmpeg import open_capture, positive

_MOST_FPS = 240.0  # above it is a time base that FFmpeg takes for a rate
_USUAL_FPS = 30.0
_MOST_SKIPPING_S = 1.0
_MOST_MISSES = 5
_PORTS = {"rtsp": 554, "rtsps": 322}
_connections: weakref.WeakSet[FfmpegConnection] = weakref.WeakSet()
_ending = threading.Event()


@atexit.register
def _leave_ffmpeg() -> None:
    """Wait for calls of OpenCV and let no more begin: a thread that Python's end finds in one aborts the process."""
    _ending.set()
    for connection in tuple(_connections):
        connection.calls.acquire()


class FfmpegConnection(Connection):
    """A stream that FFmpeg reads: RTSP, HLS, and whatever else it knows.

    RTSP comes over TCP where the server has it, as OpenCV asks for; OPENCV_FFMPEG_CAPTURE_OPTIONS can change that, for
    the whole process.
    """

    def __init__(self, address: str, timeout_s: float, on_damage: OnDamage) -> None:
        self._timeout_s, self._on_damage = timeout_s, on_damage
        self.calls = threading.Lock()  # held during each call of OpenCV
        _connections.add(self)
        timeout_ms = round(1000 * timeout_s)
        parameters = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms),
            *(cv2.CAP_PROP_N_THREADS, 1),  # each more would hold a frame back
        ]
        with self.calls:
            if _ending.is_set():
                raise ConnectionLostError("Python ends")
            self._capture = open_capture(address, parameters)
            if not self._capture.isOpened():
                raise ConnectionLostError("gives no video that FFmpeg can read")
            fps = positive(self._capture.get(cv2.CAP_PROP_FPS))
            count = positive(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if fps and fps <= _MOST_FPS else None
        self.frame_count = round(count) if count else None

    def __iter__(self) -> Iterator[NDArray[np.uint8] | None]:
        if self.frame_count is None:
            with self.calls:
                self._skip_backlog()
        misses = 0
        while misses < _MOST_MISSES:
            before_s = time.monotonic()
            with self.calls:
                found, pixels = self._capture.read()
            if found:
                if misses:
                    self._on_damage(misses)
                    misses = 0
                yield pixels
            elif time.monotonic() - before_s >= self._timeout_s:
                raise ConnectionLostError(reason_of(TimeoutError(), self._timeout_s))
            else:  # a damaged frame or the end: OpenCV does not tell which
                misses += 1
                yield None

    def _skip_backlog(self) -> None:
        """Pass over what FFmpeg kept while it looked at the stream, until a frame has to be waited for."""
        waited_s = 0.5 / (self.fps or _USUAL_FPS)
        now_s = time.monotonic()
        until_s = now_s + _MOST_SKIPPING_S
        while now_s < until_s and self._capture.grab():
            before_s, now_s = now_s, time.monotonic()
            if now_s - before_s >= waited_s:
                return

    def close(self) -> None:
        """See `Connection`."""
        with self.calls:
            self._capture.release()


def connect_rtsp(address: str, timeout_s: float, on_damage: OnDamage) -> Connection:
    """Open an RTSP address; see `Connect`. The server is asked first and after: OpenCV does not say what is wrong."""
    try:
        bare, user, _ = split_login(address)
        parts = urlsplit(bare)
        if not parts.hostname:
            raise ValueError
        place = parts.hostname, parts.port or _PORTS[scheme_of(address)]
        socket.create_connection(place, timeout_s).close()
        try:
            return FfmpegConnection(address, timeout_s, on_damage)
        except ConnectionLostError:
            status = _describe(bare, place, timeout_s) if parts.scheme == "rtsp" else None
            if status is None or status < 400:
                raise
            raise ConnectionLostError(refusal(status, has_login=user is not None)) from None
    except (OSError, ValueError) as exc:
        raise ConnectionLostError(reason_of(exc, timeout_s)) from exc


def _describe(bare: str, place: tuple[str, int], timeout_s: float) -> int | None:
    """The status with which an RTSP server answers to someone without a login; None: it does not."""
    request = f"DESCRIBE {bare} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    with socket.create_connection(place, timeout_s) as connection:
        connection.sendall(request.encode("ascii"))
        match = re.match(rb"RTSP/\d\.\d (\d{3})", connection.recv(64))
    return int(match[1]) if match else None
