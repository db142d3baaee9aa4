"""Capture: a thread reads the source, a slot holds the newest frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from dataclasses import replace

from quietframe.sources import Frame, Source
from quietframe.sources.slot import Latest

_JOIN_S = 2.0
_STALL_NS = 10**9


class Capture:
    """Read a source in a thread and hold its newest frame. Use it in a `with` statement.

    Args:
        source: an open source. A recording is played in real time. With `max_fps`, frames that come sooner are skipped.
        every_frame: make the source wait until each frame is taken, and drop none; a recording is then read as fast as
            its frames are taken.

    Attributes:
        captured: frames that were taken of the source so far, without one that still waits when the capture ends.
        dropped: those of them that a newer one replaced before they were taken.
    """

    def __init__(self, source: Source, *, every_frame: bool = False) -> None:
        self.captured = 0
        self.dropped = 0
        self._source = source
        self._every_frame = every_frame
        self._slot: Latest[Frame] = Latest()
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="quietframe-capture", daemon=True
        )

    def take(self, timeout_s: float) -> Frame | None:
        """Take the newest frame, waiting for at most `timeout_s`; None if there was none or the source has ended.

        Raises what the source raised, after its last frame.
        """
        frame = self._slot.take(timeout_s)
        if frame is None and self._slot.closed and self._error is not None:
            raise self._error
        return frame

    @property
    def ended(self) -> bool:
        """Whether the source gives no more frames; one may still be there to take."""
        return self._slot.closed

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop reading. A source that does not answer is left to its thread, which ends with the process."""
        self._stopped.set()
        self._source.cancel()
        self._slot.close()
        self._thread.join(_JOIN_S)
        if self._slot.take(0) is not None:
            self.captured -= 1

    def _run(self) -> None:
        try:
            for frame in self._frames():
                if self._stopped.is_set():
                    return
                if self._every_frame and not self._slot.put_when_empty(frame):
                    return
                self.captured += 1
                if not self._every_frame and self._slot.put(frame):
                    self.dropped += 1
        except BaseException as exc:  # noqa: BLE001  raised again by `take`
            self._error = exc
        finally:
            self._slot.close()

    def _frames(self) -> Iterable[Frame]:
        source = self._source
        if self._every_frame:
            return source
        frames = source if source.real_time else paced(source, source.fps, self._stopped.wait)
        if source.skips:
            return frames
        return (frame for frame in frames if source.wants(frame.captured_ns))


def paced(frames: Iterable[Frame], fps: float | None, wait: Callable[[float], bool]) -> Iterator[Frame]:
    """Yield the frames of a recording in real time: each at its own time, or else at that of its index at `fps`.

    `captured_ns` becomes the time at which the frame was due. After a stall of more than a second the rest is shifted:
    lost time is not made up.

    Args:
        frames: of one source.
        fps: frames per second; None: frames without a time of their own come at once.
        wait: waits for so many seconds and returns whether to stop.
    """
    start_ns = time.monotonic_ns()
    for frame in frames:
        seconds = frame.time_s if frame.time_s is not None else frame.index / fps if fps else None
        if seconds is None:
            yield frame
            continue
        due_ns = start_ns + round(seconds * 1e9)
        late_ns = time.monotonic_ns() - due_ns
        if late_ns > _STALL_NS:
            start_ns += late_ns
            due_ns += late_ns
        elif late_ns < 0 and wait(-late_ns / 1e9):
            return
        yield replace(frame, captured_ns=due_ns)
