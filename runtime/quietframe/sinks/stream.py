"""Results for other programs: standard output, and streams over the network."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError
from quietframe.log import log
from quietframe.sinks.encoder import Encoder, EncoderError, Form
from quietframe.sinks.video import VideoSink
from quietframe.sources import Frame
from quietframe.sources.address import scheme_of, without_password
from quietframe.sources.stream import PAUSES_S

STDOUT = "-"
PIPES: Mapping[str, Form] = {
    "mpegts": Form("mpegts"),
    "mjpeg": Form("mjpeg", "mjpeg"),
    "bgr": Form("rawvideo", "rawvideo", "bgr24"),
    "i420": Form("rawvideo", "rawvideo", "yuv420p"),
}
"""What standard output takes."""

_SCHEMES: Mapping[str, Form] = {
    "rtsp": Form("rtsp", options={"rtsp_transport": "tcp"}),
    "rtmp": Form("flv"),
    "rtmps": Form("flv"),
    "udp": Form("mpegts"),
}
_GOODBYE_S = 0.3


class StreamSink(VideoSink):
    """Sends a video to standard output (`-`) or to a server: `rtsp://…`, `rtmp://…`, MPEG-TS to `udp://HOST:PORT`.

    Frames are encoded without delay. A server that goes away is called again after growing pauses; what comes meanwhile
    is dropped.

    Raises:
        OutputError: standard output is a terminal or closed, there is no such server, or it refuses the video.
    """

    def _prepare(self) -> None:
        self._fragmented, self._place = True, self._name.strip()
        self._failures, self._retry_s = 0, 0.0
        if self._name == STDOUT:
            if sys.stdout.isatty():
                raise OutputError("-: standard output is a terminal: pipe it into a program, or name a file")
            if (form := self._options.image_format or "mpegts") not in PIPES:
                raise OutputError(f"-: --format {form} is for images: expected {' '.join(PIPES)}")
            self.heeds = (*self.heeds, "image_format")
            self._choose_codec(PIPES[form], immediate=True)
            return
        self._name = without_password(self._place)
        self._choose_codec(form_of_address(self._place), immediate=True)
        if scheme_of(self._place) == "udp" and "?" not in self._place:
            self._place += "?pkt_size=1316"

    @property
    def places(self) -> tuple[str, ...]:
        """See `Sink`."""
        return ("standard output" if self._name == STDOUT else self._name,)

    def _keeps_step(self, frame: Frame) -> bool:
        """See `VideoSink`. A server's frames do not wait for the sound of a live source."""
        return super()._keeps_step(frame) and (self._name == STDOUT or not self._live)

    def _put(self, pixels: NDArray[np.uint8], time_s: float) -> None:
        if not self._live:
            return super()._put(pixels, time_s)
        try:
            self._queue.put_nowait((pixels, time_s))
        except queue.Full:  # a server that does not answer holds nobody up
            log.debug("%s: a frame was dropped", self._name)
        return None

    def _open_first(self) -> Encoder | None:
        """See `VideoSink`. With patience, the thread opens it, and whoever waits for the server is not the loop."""
        return None if self._options.patient and self._live and self._name != STDOUT else self._open()

    def _open(self) -> Encoder:
        place: Any = os.fdopen(os.dup(1), "wb", 0) if self._name == STDOUT else self._place
        return Encoder(place, self._plan, self._size_wh, in_step=self._in_step)

    def _encode(self, pixels: NDArray[np.uint8], time_s: float) -> None:
        if self._name == STDOUT:
            return super()._encode(pixels, time_s)
        try:
            if self._encoder is None:
                if time.monotonic() < self._retry_s:
                    return None
                self._encoder = self._open()
                log.info("%s: is there", self._name)
            self._encoder.encode(pixels, time_s)
            self._failures = 0
        except EncoderError as exc:
            if not self._failures:
                log.warning("%s: %s", self._name, exc)
            self._encoder = None  # without a word to a server that is away
            self._retry_s = time.monotonic() + PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
            self._failures += 1
        return None

    def _end_thread(self) -> None:
        """End soon, whatever the other side does: a thread that waits for it is left to itself."""
        if not self._live:
            super()._end_thread()
        elif self._thread is not None and self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=_GOODBYE_S)
                self._thread.join(_GOODBYE_S)
            if self._thread.is_alive():
                self._encoder = None


def form_of_address(address: str) -> Form:
    """Return the form in which a server takes a video. Raises OutputError."""
    if (scheme := scheme_of(address.strip())) not in _SCHEMES:
        expected = ", ".join(f"{name}://" for name in _SCHEMES)
        raise OutputError(f"{without_password(address)}: no address that can be written to: expected {expected}")
    return _SCHEMES[scheme]
