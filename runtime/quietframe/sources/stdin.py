"""Standard input: JPEGs one after the other, or raw frames of a stated size."""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.mjpeg import JpegSplitter, decode_jpeg
from quietframe.sources.settings import Known, frames_per_second, parse_settings, size_wh

_STDIN = re.compile(r"-(\?.*)?", re.DOTALL)
_EXAMPLE = "-?size=640x480&format=bgr&fps=30"
_DESCRIPTOR = 0
_CHUNK_BYTES = 1 << 16
_LOOK_UP_S = 0.1  # how often a wait looks whether it was cancelled


def is_stdin(spec: str) -> bool:
    """`-`, alone or with settings."""
    return _STDIN.fullmatch(spec) is not None


class StdinSource(Source):
    """Reads frames from standard input until it ends, all of them in order: whoever writes waits for whoever reads.

    A pipe counts as `real_time`: the real-time loop keeps reading and drops what the model is too slow for.

    `-` takes JPEGs, `-?size=640x480&format=bgr&fps=30` raw frames of 8 bits, blue, green, red.

    Raises:
        SourceError: unknown settings, raw frames without a size, a terminal, nothing to read; while iterating, input
            that ends without a frame.
    """

    endless = True

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        match = _STDIN.fullmatch(spec)
        assert match is not None  # the table of sources looked
        settings = parse_settings(spec, match[1] or "", _SETTINGS, _EXAMPLE)
        self._spec, self._format = spec, settings["format"]
        self.size_wh, self.fps = settings["size"], settings["fps"]
        if (self._format == "bgr") != (self.size_wh is not None):
            raise SourceError(f"{spec}: raw frames need a size, and JPEGs have theirs: expected - or {_EXAMPLE}")
        try:
            # A pipe's frames come when they happen; those of a file (< clip.mjpeg) wait.
            self.real_time = not stat.S_ISREG(os.fstat(_DESCRIPTOR).st_mode)
        except OSError as exc:
            raise SourceError(f"{spec}: there is no standard input ({exc.strerror})") from exc
        if os.isatty(_DESCRIPTOR):
            raise SourceError(f"{spec}: standard input is a terminal: pipe frames into it (PROGRAM | quietframe …)")

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        try:
            for pixels in _FORMATS[self._format](self):
                self.size_wh = self.size_wh or (pixels.shape[1], pixels.shape[0])
                yield Frame(pixels, index, time.monotonic_ns())
                index += 1
        except OSError as exc:
            raise SourceError(f"{self._spec}: standard input cannot be read ({exc.strerror or exc})") from exc
        if index == 0 and not self._cancelled.is_set():
            raise SourceError(f"{self._spec}: standard input ended without a frame: expected - for JPEGs or {_EXAMPLE}")

    def _jpegs(self) -> Iterator[NDArray[np.uint8]]:
        splitter, undecodable = JpegSplitter(), 0
        while self._wait() and (data := os.read(_DESCRIPTOR, _CHUNK_BYTES)):
            for jpeg in splitter.feed(data):
                pixels = decode_jpeg(jpeg)
                if pixels is None:
                    undecodable += 1
                else:
                    yield pixels
            self.damaged = splitter.damaged + undecodable
        self.damaged += splitter.is_within and not self._cancelled.is_set()

    def _raw_frames(self) -> Iterator[NDArray[np.uint8]]:
        assert self.size_wh is not None
        width, height = self.size_wh
        while True:
            pixels = np.empty((height, width, 3), np.uint8)
            rest = pixels.data.cast("B")
            while rest and self._wait() and (count := os.readv(_DESCRIPTOR, [rest])):
                rest = rest[count:]
            if rest:
                self.damaged += len(rest) < pixels.nbytes and not self._cancelled.is_set()
                return
            yield pixels

    def _wait(self) -> bool:
        """Wait for input or its end. Returns whether anyone still wants it."""
        while not self._cancelled.is_set():
            if select.select([_DESCRIPTOR], [], [], _LOOK_UP_S)[0]:
                return True
        return False


def _format(text: str) -> str:
    if text not in _FORMATS:
        raise ValueError
    return text


_FORMATS = {"mjpeg": StdinSource._jpegs, "bgr": StdinSource._raw_frames}
_SETTINGS: Known = {"size": (None, size_wh), "format": ("mjpeg", _format), "fps": (None, frames_per_second)}
