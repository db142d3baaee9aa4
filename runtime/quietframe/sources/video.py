"""Video files."""

from __future__ import annotations

import codecs
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.container import Container

_HEAD_BYTES = 4096
_SHAPES = {".264": "h264", ".h264": "h264", ".265": "hevc", ".h265": "hevc", ".hevc": "hevc"}
_SHAPES |= {".mjpeg": "mjpeg", ".mjpg": "mjpeg"}


class VideoSource(Source):
    """Reads a video file's frames in order, turned upright as its header says.

    A video that ends well before the time in its header is cut short or damaged: the frames that could be read are
    given, and `failures` says so.

    Raises:
        SourceError: the file cannot be read, is empty, or is not a video with at least one frame.
    """

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        self.path = Path(spec)
        self.files = (self.path,)
        _check_content(self.path)
        # Nothing that a file names is opened, on the network or elsewhere.
        how = {"protocol_whitelist": "file"}
        shape = _SHAPES.get(self.path.suffix.lower())
        self._open_video(f"file:{spec}", spec, shape=shape, options=how, fps=options.input_fps, limit=options.limit)

    def __iter__(self) -> Iterator[Frame]:
        assert self.video is not None
        for index, (pixels, time_s) in enumerate(self.video):
            yield Frame(pixels, index, time.monotonic_ns(), time_s=time_s)
        self.failures += cut_short(str(self.path), self.video)


def cut_short(name: str, video: Container) -> list[str]:
    """What to say of a recording that was read to its end: a line if it is damaged or came well before its time."""
    # Durations in headers may be rounded: some frames fewer mean nothing.
    if video.duration_s and video.ended_s < video.duration_s - max(5 / (video.rate or 25), video.duration_s / 50):
        return [f"{name}: cut short or damaged: ends after {video.ended_s:.1f} of {video.duration_s:.1f} s"]
    return [f"{name}: damaged frames were left out: {video.damaged}"] if video.damaged else []


def _check_content(path: Path) -> None:
    """Refuse files that FFmpeg should not see: it plays plain text as a video, and opens what a playlist names."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as exc:
        raise SourceError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    if not head:
        raise SourceError(f"{path}: the file is empty")
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)  # whose last character may be cut
        if b"\x00" not in head:
            raise SourceError(f"{path}: a text file, expected an image or a video")
