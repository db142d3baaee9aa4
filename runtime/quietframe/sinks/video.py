"""Video files, written by PyAV."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Collection, Iterator, Mapping
from contextvars import copy_context
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import OutputError
from quietframe.images import move_into_place, part_path
from quietframe.sinks.base import Sink, SinkOptions, check_folder, check_targets, make_folder
from quietframe.sinks.encoder import Encoder, EncoderError, Form, Plan
from quietframe.sources import Frame, Source

SUFFIXES: Mapping[str, Form] = {".mp4": Form("mp4"), ".mkv": Form("matroska"), ".avi": Form("avi", "mjpeg")}
"""The suffixes of videos that are written."""

LIVE_FPS = 30.0
"""The rate of a live source's video where the source does not tell its own; frames stand in it at their times."""

MAX_CRF = 51
_WAITING_FRAMES = 4


class VideoSink(Sink):
    """Writes a video with the times of the source's frames, and what stands beside them: sound, subtitles, chapters.

    A live source's frames come when they come, and some were dropped: with `live` each stands in the video from the
    time at which it was captured. If such a source changes its size, the video keeps its own, and frames are scaled.

    Frames are encoded by a thread. A recording's file is written beside and renamed into place by `close`; an
    interrupted one is discarded. What has no end is written in its place, in fragments: a file that can be played
    stays, whatever ends it.

    Raises:
        OutputError: the file exists (without `overwrite`) or is the source, its suffix, codec or size cannot be
            written, the source's frame rate is unknown, or the disk is full.
    """

    heeds: Collection[str] = ("codec", "encoder", "crf", "audio")
    keeps_16bit = False

    def __init__(self, out: str, source: Source, options: SinkOptions, *, live: bool) -> None:
        super().__init__()
        self._source, self._options, self._live = source, options, live
        self._fragmented = live or source.endless
        rate = _rate(source, live=live)
        if rate is None:
            raise OutputError(f"{out}: the source does not tell its frame rate, and a video needs one: --input-fps")
        self._rate, self._name = rate, out
        self._prepare()
        self._queue: queue.Queue[tuple[NDArray[np.uint8], float] | None] = queue.Queue(_WAITING_FRAMES)
        self._thread: threading.Thread | None = None
        self._encoder: Encoder | None = None
        self._error: Exception | None = None
        self._size_wh = (0, 0)
        self._in_step = False

    def _prepare(self) -> None:
        """Find out what cannot be written before any work."""
        path = Path(self._name)
        if path.is_dir() and self._source.path is not None:
            path = path / self._source.path.name
        form = form_of_file(path)
        self.path, self._name = path, str(path)
        self._part = part_path(path)
        check_targets([path], self._source.files, overwrite=self._options.overwrite)
        check_folder(path.parent)
        self._choose_codec(form)

    def _choose_codec(self, form: Form, *, immediate: bool = False) -> None:
        options = self._options
        self._plan = Plan(
            form,
            form.encoder(options),
            self._rate,
            crf=options.crf,
            video=self._source.video,
            live=self._live,
            fragmented=self._fragmented,
            audio=options.audio,
            immediate=immediate,
            name=self._name,
        )
        with self._reported():
            self._plan.check(self._source.size_wh)

    def write(self, frame: Frame, pixels: NDArray[np.uint8]) -> None:
        """See `Sink`. It waits while the encoder is behind."""
        size_wh = (pixels.shape[1], pixels.shape[0])
        if self._thread is None:
            self._size_wh, self._in_step = size_wh, self._keeps_step(frame)
            with self._reported():
                self._plan.check(size_wh)
                self._encoder = self._open_first()
            self._thread = threading.Thread(
                target=copy_context().run, args=(self._run,), name="quietframe-encode", daemon=True
            )
            self._thread.start()
        if size_wh != self._size_wh and self._fragmented:
            pixels = cv2.resize(pixels, self._size_wh, interpolation=cv2.INTER_AREA)
        elif size_wh != self._size_wh:
            was, now = ("x".join(map(str, wh)) for wh in (self._size_wh, size_wh))
            raise OutputError(
                f"{self._name}: frame {frame.index} is {now}, those before were {was}, and a video has one size: write "
                f"images (-o NAME-%06d.png), or make it one size before (ffmpeg -i IN -s {was} OUT)"
            )
        time_s = float(frame.index / self._rate) if frame.time_s is None else frame.time_s
        if self._live:
            time_s = frame.captured_ns / 1e9
        self._raise_failure()
        self._put(pixels, time_s)

    def _keeps_step(self, frame: Frame) -> bool:
        """Whether sound and subtitles come at the frames' times: when they happen, or by the times of a recording."""
        video = self._source.video
        return (video is not None and video.live) if self._live else frame.time_s is not None

    def _put(self, pixels: NDArray[np.uint8], time_s: float) -> None:
        self._queue.put((pixels, time_s))

    def _run(self) -> None:
        for pixels, time_s in iter(self._queue.get, None):
            if self._error is None:
                try:
                    self._encode(pixels, time_s)
                except Exception as exc:  # noqa: BLE001  raised again by the next `write` or `close`
                    self._error = exc

    def _encode(self, pixels: NDArray[np.uint8], time_s: float) -> None:
        assert self._encoder is not None
        self._encoder.encode(pixels, time_s)

    def _open_first(self) -> Encoder | None:
        """Open the encoder for the first frame."""
        return self._open()

    def _open(self) -> Encoder:
        make_folder(self._part.parent)
        self._part.touch()
        encoder = Encoder(f"file:{self._part}", self._plan, self._size_wh, in_step=self._in_step)
        if self._fragmented:
            move_into_place(self._part, Path(self._name), overwrite=self._options.overwrite)
        return encoder

    def _raise_failure(self) -> None:
        if self._error is not None:
            with self._reported():
                raise self._error

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except EncoderError as exc:
            raise OutputError(f"{self._name}: {exc}") from exc
        except OSError as exc:
            raise OutputError(f"{self._name}: cannot be written ({exc.strerror or exc})") from exc

    def close(self) -> None:
        """See `Sink`."""
        self._end_thread()
        self._raise_failure()
        if self._encoder is None:
            return
        with self._reported():
            self._encoder.close()
            if not self._fragmented:
                move_into_place(self._part, Path(self._name), overwrite=self._options.overwrite)
            elif self.path is not None and not self.path.exists():
                raise OutputError(f"{self._name}: is gone: it or its folder was removed meanwhile")

    def discard(self) -> None:
        """See `Sink`. Of what has no end, the fragments that are written stay."""
        self._end_thread()
        if self._encoder is not None:
            with contextlib.suppress(OSError, EncoderError):
                self._encoder.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)

    def _end_thread(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()


def form_of_file(path: Path) -> Form:
    """Return the form of a video by its suffix. Raises OutputError."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: a video needs a file name with one of {' '.join(SUFFIXES)}")
    return SUFFIXES[path.suffix.lower()]


def _rate(source: Source, *, live: bool) -> Fraction | None:
    if source.video is not None and source.video.rate is not None and source.taken_fps == source.fps:
        return source.video.rate
    fps = source.taken_fps or (LIVE_FPS if live else None)
    return Fraction(fps).limit_denominator(1001) if fps else None
