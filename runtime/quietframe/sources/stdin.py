"""Standard input: JPEGs one after the other, raw frames of a stated size, or any video."""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.container import Container, UnreadableError
from quietframe.sources.mjpeg import JpegDecoder, JpegSplitter, looks_like_mjpeg
from quietframe.sources.settings import Known, frames_per_second, parse_settings, size_wh

_STDIN = re.compile(r"-(\?.*)?", re.DOTALL)
_EXAMPLE = "-?size=640x480&format=bgr&fps=30"
_DESCRIPTOR = 0
_CHUNK_BYTES = 1 << 16
_ANALYZE_US = "1000000"
_LOOK_UP_S = 0.1  # how often a wait looks whether it was cancelled

_Taken: TypeAlias = "tuple[NDArray[np.uint8], float | None]"


def is_stdin(spec: str) -> bool:
    """`-`, alone or with settings."""
    return _STDIN.fullmatch(spec) is not None


class StdinSource(Source):
    """Reads frames from standard input until it ends, all of them in order: whoever writes waits for whoever reads.

    A pipe counts as `real_time`: the real-time loop keeps reading and drops what the model is too slow for.

    `-` takes JPEGs and any video that FFmpeg knows, with `?format=h264&fps=30` raw H.264,
    `-?size=640x480&format=bgr&fps=30` raw frames of 8 bits, blue, green, red.

    Raises:
        SourceError: unknown settings, raw frames without a size, a terminal, nothing to read, no video; while
            iterating, JPEGs or raw frames that end without one.
    """

    endless = True

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        match = _STDIN.fullmatch(spec)
        assert match is not None  # the table of sources looked
        settings = parse_settings(spec, match[1] or "", _SETTINGS, _EXAMPLE)
        self._spec, self._format = spec, settings["format"]
        self.size_wh, self.fps = settings["size"], options.input_fps or settings["fps"]
        if (self._format == "bgr") != (self.size_wh is not None):
            raise SourceError(f"{spec}: raw frames need a size, and others have theirs: expected - or {_EXAMPLE}")
        try:
            # A pipe's frames come when they happen; those of a file (< clip.mjpeg) wait.
            self.real_time = not stat.S_ISREG(os.fstat(_DESCRIPTOR).st_mode)
        except OSError as exc:
            raise SourceError(f"{spec}: there is no standard input ({exc.strerror})") from exc
        if os.isatty(_DESCRIPTOR):
            raise SourceError(f"{spec}: standard input is a terminal: pipe frames into it (PROGRAM | quietframe …)")
        self._head = b""
        self._file: BinaryIO | None = None
        if self._format == "auto":
            self._head = self._read()
            self._format = "mjpeg" if looks_like_mjpeg(self._head) or not self._head else None
        if self._format not in ("bgr", "mjpeg"):
            self._open_video(self.fps)

    def _open_video(self, fps: float | None) -> None:
        file: Any = self
        if not self.real_time:  # a file that can be sought in
            os.lseek(_DESCRIPTOR, -len(self._head), os.SEEK_CUR)
            file = self._file = os.fdopen(os.dup(_DESCRIPTOR), "rb")
        options = {"analyzeduration": _ANALYZE_US, "protocol_whitelist": "file"}
        try:
            video = Container(file, shape=self._format, options=options, live=self.real_time, fps=fps)
        except UnreadableError as exc:
            raise SourceError(f"{self._spec}: {exc}") from exc
        self.adopt(video, self._spec)
        self.endless = self.real_time

    def read(self, size: int = _CHUNK_BYTES) -> bytes:
        """Read for PyAV: what was looked at first, then what comes."""
        data, self._head = self._head[:size], self._head[size:]
        return data or self._read(size)

    def _read(self, size: int = _CHUNK_BYTES) -> bytes:
        try:
            return os.read(_DESCRIPTOR, size) if self._wait() else b""
        except OSError as exc:
            raise SourceError(f"{self._spec}: standard input cannot be read ({exc.strerror or exc})") from exc

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        frames = {"bgr": self._raw_frames, "mjpeg": self._jpegs}.get(self._format or "", self._video_frames)
        for pixels, time_s in frames():
            self.size_wh = self.size_wh or (pixels.shape[1], pixels.shape[0])
            yield Frame(pixels, index, time.monotonic_ns(), time_s=time_s)
            index += 1
        if index == 0 and not self._cancelled.is_set():
            raise SourceError(f"{self._spec}: standard input ended without a frame: expected - for JPEGs or {_EXAMPLE}")

    def close(self) -> None:
        """See `Source`."""
        if self.video:
            self.video.close()
        if self._file:
            self._file.close()

    def _video_frames(self) -> Iterator[_Taken]:
        assert self.video is not None
        for taken in self.video:
            self.damaged = self.video.damaged
            yield taken
        self.damaged = self.video.damaged

    def _jpegs(self) -> Iterator[_Taken]:
        splitter, decoder, undecodable, data = JpegSplitter(), JpegDecoder(), 0, b"any"
        while data:
            data = self.read()
            for jpeg in splitter.feed(data) if data else splitter.finish():
                pixels = decoder.decode(jpeg)
                if pixels is None:
                    undecodable += 1
                else:
                    yield pixels, None
            self.damaged = splitter.damaged + undecodable

    def _raw_frames(self) -> Iterator[_Taken]:
        assert self.size_wh is not None
        width, height = self.size_wh
        while True:
            pixels = np.empty((height, width, 3), np.uint8)
            rest = pixels.data.cast("B")
            while rest and (data := self._read(len(rest))):
                rest[: len(data)] = data
                rest = rest[len(data) :]
            if rest:
                self.damaged += len(rest) < pixels.nbytes and not self._cancelled.is_set()
                return
            yield pixels, None

    def _wait(self) -> bool:
        """Wait for input or its end. Returns whether anyone still wants it."""
        while not self._cancelled.is_set():
            if select.select([_DESCRIPTOR], [], [], _LOOK_UP_S)[0]:
                return True
        return False


def _format(text: str) -> str:
    if text not in ("mjpeg", "bgr", "h264", "hevc"):
        raise ValueError
    return text


_SETTINGS: Known = {"size": (None, size_wh), "format": ("auto", _format), "fps": (None, frames_per_second)}
