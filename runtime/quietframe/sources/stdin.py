"""Standard input: JPEGs one after the other, raw frames of a stated size, or any video."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.mjpeg import JpegDecoder, JpegSplitter, looks_like_mjpeg
from quietframe.sources.settings import Spec, frames_per_second, size_wh

_DESCRIPTOR = 0
_CHUNK_BYTES = 1 << 16
_ANALYZE_US = "1000000"
_MP4 = "give the file, or make its index come first (ffmpeg -i IN -c copy -movflags +faststart OUT)"
_LOOK_UP_S = 0.1  # how often a wait looks whether it was cancelled

_Taken: TypeAlias = "tuple[NDArray[np.uint8], float | None]"


def _format(text: str) -> str:
    if text not in ("mjpeg", "bgr", "h264", "hevc"):
        raise ValueError
    return text


STDIN = Spec(
    r"-(?P<query>\?.*)?",
    {"size": (None, size_wh), "format": ("auto", _format), "fps": (None, frames_per_second)},
    "-?size=640x480&format=bgr&fps=30",
)
"""`-`, alone or with settings."""


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
        _, settings = STDIN.read(spec)
        self._spec, self._format, self.limit = spec, settings["format"], options.limit
        self.size_wh, self.fps = settings["size"], options.input_fps or settings["fps"]
        if (self._format == "bgr") != (self.size_wh is not None):
            raise SourceError(f"{spec}: raw frames need a size, and others have theirs: expected - or {STDIN.example}")
        try:
            # A pipe's frames come when they happen; those of a file (< clip.mjpeg) wait.
            self.real_time = not stat.S_ISREG(os.fstat(_DESCRIPTOR).st_mode)
        except OSError as exc:
            raise SourceError(f"{spec}: there is no standard input ({exc.strerror})") from exc
        if os.isatty(_DESCRIPTOR):
            raise SourceError(f"{spec}: standard input is a terminal: pipe frames into it (PROGRAM | quietframe …)")
        self._head = b""
        if self._format == "auto":
            self._head = self._read()
            self._format = "mjpeg" if looks_like_mjpeg(self._head) or not self._head else None
        if self._format not in ("bgr", "mjpeg"):
            file: Any = self
            if not self.real_time:  # a file that can be sought in
                os.lseek(_DESCRIPTOR, -len(self._head), os.SEEK_CUR)
                file = open(_DESCRIPTOR, "rb", closefd=False)  # noqa: SIM115  as long as the process lives
            how: dict[str, Any] = {"options": {"analyzeduration": _ANALYZE_US, "protocol_whitelist": "file"}}
            how |= {"shape": self._format, "live": self.real_time, "fps": self.fps, "limit": options.limit}
            is_mp4 = self._head[4:8] == b"ftyp"
            try:
                self._open_video(file, spec, **how)
            except SourceError as exc:
                if is_mp4 and self.real_time:  # its index stands at its end
                    raise SourceError(
                        f"{spec}: an MP4 or MOV that no pipe can carry, or a damaged one: {_MP4}"
                    ) from exc
                raise
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
        frames = self.video or (self._jpegs() if self._format == "mjpeg" else self._raw_frames())
        for pixels, time_s in frames:
            self.size_wh = self.size_wh or (pixels.shape[1], pixels.shape[0])
            yield Frame(pixels, index, time.monotonic_ns(), time_s=time_s)
            index += 1
        if index == 0 and not self._cancelled.is_set():
            if self.limit.count:
                raise SourceError(f"{self._spec}: {self.limit}")
            raise SourceError(
                f"{self._spec}: standard input ended without a frame: expected - for JPEGs or {STDIN.example}"
            )

    def _jpegs(self) -> Iterator[_Taken]:
        splitter, decoder, undecodable = JpegSplitter(), JpegDecoder(self.limit), 0
        for jpeg in splitter.split(self.read):
            pixels = None if jpeg is None else decoder.decode(jpeg)
            undecodable += jpeg is not None and pixels is None
            self._left_out = splitter.damaged + undecodable
            if pixels is not None:
                yield pixels, None

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
                self._left_out += len(rest) < pixels.nbytes and not self._cancelled.is_set()
                return
            yield pixels, None

    def _wait(self) -> bool:
        """Wait for input or its end. Returns whether anyone still wants it."""
        while not self._cancelled.is_set():
            if select.select([_DESCRIPTOR], [], [], _LOOK_UP_S)[0]:
                return True
        return False
