"""Streams over the network: read by a thread, the newest frame only, opened again when they break."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPException

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import SourceError
from quietframe.log import log
from quietframe.sources.address import scheme_of, without_password
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.container import Container, UnreadableError
from quietframe.sources.mjpeg import JpegDecoder
from quietframe.sources.network import Connect, Connection, connect_ffmpeg, connect_http, reason_of
from quietframe.sources.slot import Latest
from quietframe.sources.video import cut_short

CONNECT: dict[str, Connect] = dict.fromkeys(("http", "https"), connect_http)
CONNECT |= dict.fromkeys(("rtsp", "rtsps", "rtmp", "rtmps", "udp"), connect_ffmpeg)
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
"""Before a broken stream is opened again; the last one repeats."""
_GOODBYE_S = 0.2

_Taken = tuple[NDArray[np.uint8], int, float | None]  # pixels, captured_ns and time_s


class StreamSource(Source):
    """Read a stream over the network, always the newest frame: a slow reader misses some.

    When it breaks, `trouble` says so until frames come again; meanwhile it is opened anew after growing pauses. Its
    end is a break too, unless it said how long it would be: recordings end, and nothing of them is left out.

    Raises:
        SourceError: it cannot be opened, or gives no frame within `Options.timeout_s`.
    """

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        self.limit = options.limit
        self._address, self._shown = spec, without_password(spec)
        self._options, self._timeout_s = options, options.timeout_s
        self._jpegs = JpegDecoder(options.limit)
        self._reader = _Reader(self._address, options, self.wants)
        try:
            self._first = self._take(self._timeout_s)
            if self._first is None:
                raise SourceError(self._why_no_frame())
        except BaseException:  # Ctrl-C too
            self._reader.stop()
            raise
        connection = self._reader.connection
        assert connection is not None  # it gave a frame
        self.endless = self.real_time = self.skips = connection.live
        if isinstance(connection, Container):
            self.adopt(connection, self._shown)
        else:
            self.size_wh, self.fps = (self._first[0].shape[1], self._first[0].shape[0]), options.input_fps

    def __iter__(self) -> Iterator[Frame]:
        index = failures = 0
        taken = (self._take(0) if self.endless else None) or self._first
        while not self._cancelled.is_set():
            if taken is not None:
                if self.trouble is not None:
                    self.reconnects += 1
                    self._take_over()
                self.trouble, failures = None, 0
                yield Frame(taken[0], index, taken[1], time_s=taken[2])
                index += 1
            elif not self.endless and self.video is not None:
                self.failures += cut_short(self._shown, self.video)
                return
            else:
                self.trouble = self._why_no_frame()
                self._reader.stop()
                if self._cancelled.wait(PAUSES_S[min(failures, len(PAUSES_S) - 1)]):
                    return
                failures += 1
                self._left_out, self._reader = self.damaged, _Reader(self._address, self._options, self.wants)
            taken = self._take(max(self._timeout_s, 2 / (self.max_fps or math.inf)))

    def _take_over(self) -> None:
        """Let sound go on after a break."""
        video = self._reader.connection
        if isinstance(video, Container) and self.video is not None:
            if not video.take_over(self.video):
                log.warning("%s: its sound has changed, and is left out from here on", self._shown)
            self.video = video

    def _take(self, timeout_s: float) -> _Taken | None:
        """The newest whole frame, waited for for so long; None when there is none."""
        deadline_s = time.monotonic() + timeout_s
        while not self._cancelled.is_set():
            newest = self._reader.newest.take(max(0.0, deadline_s - time.monotonic()))
            if newest is None:
                break
            data, captured_ns, time_s = newest
            pixels = self._jpegs.decode(data) if isinstance(data, bytes) else data
            if pixels is not None:
                return pixels, captured_ns, time_s
            self._left_out += 1
            if time.monotonic() > deadline_s:  # however many of them there are
                break
        return None

    @property
    def damaged(self) -> int:
        """See `Source`: those of the connection, and those that were left out here or before it."""
        return self._left_out + (self._reader.connection.damaged if self._reader.connection else 0)

    def _why_no_frame(self) -> str:
        silent = str(self.limit) if self.limit.count else f"no frame for {self._timeout_s:g} s"
        return f"{self._shown}: {self._reader.reason or silent}"

    def cancel(self) -> None:
        """See `Source`."""
        super().cancel()
        self._reader.stop()

    def close(self) -> None:
        """Hang up."""
        self.cancel()
        self._reader.join(_GOODBYE_S)  # one that waits for a silent server cannot be woken, and is left to itself


class _Reader(threading.Thread):
    """Open and read one connection in a thread: waiting for its frames can be stopped, and none of them grows old.

    Attributes:
        newest: a frame as the connection gives it and when it was there; closed when there will be no more.
        connection: once it is open.
        reason: why there will be no more.
    """

    def __init__(self, address: str, options: Options, wants: Callable[[int], bool]) -> None:
        super().__init__(name="quietframe-stream", daemon=True)
        self.newest: Latest[tuple[bytes | NDArray[np.uint8], int, float | None]] = Latest()
        self.connection: Connection | None = None
        self.reason: str | None = None
        self._address, self._options, self._wants = address, options, wants
        self.start()

    def run(self) -> None:
        """Read until there is nothing more, or nobody who wants it."""
        try:
            with closing(CONNECT[scheme_of(self._address)](self._address, self._options)) as connection:
                self.connection = connection
                put = self.newest.put if connection.live else self.newest.put_when_empty
                for taken in connection.wanted(self._wants) if connection.live else connection:
                    if taken is not None:
                        put((taken[0], time.monotonic_ns(), None if connection.live else taken[1]))
                    if self.newest.closed:
                        return
            self.reason = "the stream ended"
        except (UnreadableError, OSError, ValueError, HTTPException) as exc:
            self.reason = reason_of(exc, self._address, self._options.timeout_s)
        finally:
            self.newest.close()

    def stop(self) -> None:
        """Want no more frames."""
        self.newest.close()
