"""Video files, written by OpenCV's FFmpeg."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError
from quietframe.images import move_into_place
from quietframe.sinks.base import Sink, check_folder, check_targets, make_folder, part_path
from quietframe.sources import Frame, Source

CODECS: Mapping[str, str] = {".mp4": "mp4v", ".mkv": "FFV1", ".avi": "MJPG"}
"""The codec for each suffix: MPEG-4, small and played everywhere; FFV1, lossless and large; Motion JPEG."""

_LIVE_CODECS: Mapping[str, str] = {**CODECS, ".mkv": "MJPG"}
"""FFV1 takes too long where frames do not wait: a loop that repeats frames for lost time would lose more of it."""

_LIVE_FPS = 30.0
"""The rate of a live source's video where the source does not tell its own; frames stand in it at their times."""

_ON_THEIR_WAY_NS = 10**9
_SPACE_CHECK_FRAMES = 16
_SPACE_NEEDED_BYTES = 1 << 20


class VideoSink(Sink):
    """Writes a video with the source's frame rate, one frame for each of the source's.

    A live source's frames come when they come, and some were dropped: with `live` each stands in the video from the
    time at which it was captured until the next one's, so that the video plays in real time. If such a source
    changes its size, the video keeps its own, and frames are scaled to it.

    The file is written beside and renamed into place by `close`, which first counts the frames in it: OpenCV does
    not report a disk that filled up. An interrupted video is discarded: nothing is left of it.

    Raises:
        OutputError: the file exists (without `overwrite`) or is the source, its suffix or the frames' size cannot
            be written, the source's frame rate is unknown, or the disk is full.
    """

    def __init__(self, out: Path, source: Source, *, overwrite: bool, live: bool = False) -> None:
        super().__init__()
        if out.is_dir() and source.path is not None:
            out = out / source.path.name
        self._fourcc = (_LIVE_CODECS if live else CODECS).get(out.suffix.lower(), "")
        if not self._fourcc:
            raise OutputError(f"{out}: a video needs a file name with one of {' '.join(CODECS)}")
        fps = source.fps or (_LIVE_FPS if live else None)
        if fps is None:
            raise OutputError(f"{out}: the source does not tell its frame rate, and a video needs one")
        self.path: Path = out
        check_targets([out], source.files, overwrite=overwrite)
        check_folder(out.parent)
        if source.size_wh is not None:
            self._check_size(source.size_wh)
        self._overwrite = overwrite
        self._fps = fps
        self._live = live
        self._first_ns = 0
        self._held: NDArray[np.uint8] | None = None
        self._part = part_path(out)
        self._writer: cv2.VideoWriter | None = None
        self._size_wh = (0, 0)
        self._count = 0

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`."""
        size_wh = (pixels.shape[1], pixels.shape[0])
        if self._writer is None:
            self._writer = self._open(size_wh)
            self._first_ns = frame.captured_ns
        if size_wh != self._size_wh and self._live:
            pixels = cv2.resize(pixels, self._size_wh, interpolation=cv2.INTER_AREA)
        elif size_wh != self._size_wh:
            raise OutputError(f"{self.path}: frame {frame.index} is {size_wh}, those before were {self._size_wh}")
        bgr = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels
        if not self._live:
            self._append(bgr)
            return
        place = self._place(frame.captured_ns)
        self._hold(place)
        if place >= self._count:
            self._append(bgr)
        self._held = bgr

    def tick(self, now_ns: int) -> None:
        """See `Sink`. While no frame comes, the latest one stays; frames on their way keep their place."""
        if self._live and self._writer is not None:
            self._hold(self._place(now_ns - _ON_THEIR_WAY_NS))

    def _place(self, captured_ns: int) -> int:
        """The number in the video of a frame of that time."""
        return round((captured_ns - self._first_ns) * self._fps / 1e9)

    def _hold(self, place: int) -> None:
        """Repeat the latest frame up to that place."""
        while self._held is not None and self._count < place:
            self._append(self._held)

    def _append(self, bgr: NDArray[np.uint8]) -> None:
        assert self._writer is not None
        self._writer.write(bgr)
        self._count += 1
        if self._count % _SPACE_CHECK_FRAMES == 0 and shutil.disk_usage(self.path.parent).free < _SPACE_NEEDED_BYTES:
            raise self._full()

    def close(self) -> None:
        """See `Sink`."""
        if self._writer is None:
            return
        self._writer.release()
        # One more than was counted is no fault: Ctrl-C may fall between writing and counting.
        if _count_packets(self._part) < self._count:
            raise self._full()
        try:
            move_into_place(self._part, self.path, overwrite=self._overwrite)
        except OSError as exc:
            raise OutputError(f"{self.path}: cannot be written ({exc.strerror or exc})") from exc

    def discard(self) -> None:
        """See `Sink`."""
        if self._writer is not None:
            self._writer.release()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _open(self, size_wh: tuple[int, int]) -> cv2.VideoWriter:
        self._check_size(size_wh)
        make_folder(self.path.parent)
        try:
            self._part.touch()
        except OSError as exc:
            raise OutputError(f"{self.path}: cannot be written ({exc.strerror or exc})") from exc
        fourcc = cv2.VideoWriter.fourcc(*self._fourcc)
        writer = cv2.VideoWriter(str(self._part), cv2.CAP_FFMPEG, fourcc, self._fps, size_wh)
        if not writer.isOpened():
            raise OutputError(
                f"{self.path}: this OpenCV cannot encode {self._fourcc} into {self.path.suffix} at {self._fps:g} fps: "
                f"try another of {' '.join(CODECS)}"
            )
        self._size_wh = size_wh
        return writer

    def _check_size(self, size_wh: tuple[int, int]) -> None:
        # OpenCV's encoders drop the last row or column of odd sizes without a word.
        if size_wh[0] % 2 or size_wh[1] % 2:
            raise OutputError(
                f"{self.path}: frames are {size_wh[0]}x{size_wh[1]}, a video needs an even width and height"
            )

    def _full(self) -> OutputError:
        return OutputError(f"{self.path}: the disk is full or failed: the video was not kept")


def _count_packets(path: Path) -> int:
    """The frames in a video file, counted without decoding them."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    count = 0
    while capture.isOpened() and capture.grab():
        count += 1
    capture.release()
    return count
