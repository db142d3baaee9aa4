"""Video files, read by OpenCV's FFmpeg."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.ffmpeg import open_capture, positive

_HEAD_BYTES = 4096


def is_file(spec: str) -> bool:
    """A file of any kind: that it is a video shows when it is opened."""
    return Path(spec).is_file()


class VideoSource(Source):
    """Reads a video file's frames in order, turned upright as its header says.

    A video that ends well before the count in its header is cut short or damaged: the frames that could be read
    are given, and `failures` says so.

    Raises:
        SourceError: the file cannot be read, is empty, or is not a video with at least one frame.
    """

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        self.path = Path(spec)
        self.files = (self.path,)
        _check_content(self.path)
        self._capture = open_capture(spec)
        if not self._capture.isOpened():
            raise SourceError(f"{spec}: not an image or video that OpenCV can read, or a damaged one")
        self.fps = positive(self._capture.get(cv2.CAP_PROP_FPS))
        count = positive(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = round(count) if count else None
        self.size_wh = (
            int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            found, pixels = self._capture.read()
            if not found:
                break
            # Of a file without times OpenCV says 0 for every frame.
            time_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield Frame(pixels, index, time.monotonic_ns(), time_s=time_s if time_s > 0 or index == 0 else None)
            index += 1
        if index == 0:
            raise SourceError(f"{self.path}: holds no frame that OpenCV can read")
        if self.frame_count:
            self.failures += cut_short(str(self.path), index, self.frame_count)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


def cut_short(name: str, index: int, frame_count: int) -> list[str]:
    """What to say of a recording that ended after `index` frames: a line if that is well before its count, or none."""
    # Counts in headers may be rounded from durations: some frames fewer mean nothing.
    if index >= frame_count - max(5, frame_count // 50):
        return []
    return [f"{name}: cut short or damaged: {index} of {frame_count} frames could be read"]


def _check_content(path: Path) -> None:
    """Refuse files that FFmpeg should not see: it plays plain text as a video, and opens what a playlist names."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as exc:
        raise SourceError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    if not head:
        raise SourceError(f"{path}: the file is empty")
    if b"\x00" not in head and _is_text(head):
        raise SourceError(f"{path}: a text file, expected an image or a video")


def _is_text(head: bytes) -> bool:
    try:
        # Not `bytes.decode`: the last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
