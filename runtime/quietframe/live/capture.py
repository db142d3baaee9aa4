"""The thread that reads a source."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from quietframe.live.pacing import paced
from quietframe.live.slot import Latest
from quietframe.sources import Frame, Source

_JOIN_S = 2.0


class Capture:
    """Reads a source in a thread of its own and holds its newest frame. Use it in a `with` statement.

    Args:
        source: an open source. A recording is played at its own pace.
        every_frame: hold the source up until each frame is taken, in place of dropping those that nobody took; a
            recording is then read as fast as its frames are taken.

    Attributes:
        captured: frames that the source gave so far; not the one that still waits when the reading is stopped.
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
        self._thread = threading.Thread(target=self._run, name="quietframe-capture", daemon=True)

    def take(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet, or None if there was none for so long or the source has ended.

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
        except BaseException as exc:  # noqa: BLE001  whoever takes frames gets it
            self._error = exc
        finally:
            self._slot.close()

    def _frames(self) -> Iterable[Frame]:
        if self._every_frame or self._source.real_time:
            return self._source
        return paced(self._source, self._source.fps, self._stopped.wait)
