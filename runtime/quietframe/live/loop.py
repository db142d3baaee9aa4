"""The loop: the newest frame, the model, the sinks, again and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from quietframe.live.capture import Capture
from quietframe.live.controls import Controls
from quietframe.live.models import Models
from quietframe.live.stats import FrameTimes, Stats
from quietframe.noise.tracker import NoiseTracker
from quietframe.sinks import Sink
from quietframe.sources import Frame, Source
from quietframe.tasks import Denoiser

OnFrame = Callable[[Frame, Denoiser, FrameTimes], None]

_TICK_S = 0.25


class Live:
    """Denoises a moving source as its frames come.

    A thread captures; the newest frame waits for the model, so that a slow model makes frames drop and never lag grow.

    Args:
        source: an open source that moves.
        models: what denoises.
        sink: where results go.
        controls: what may be changed meanwhile.
        every_frame: drop no frame: the source waits for the model.
        on_frame: told of each frame, the model that ran and the times, after the sinks.

    Attributes:
        stats: the figures so far.
        model: the card's name of the model that ran last.
        stopped: whether `stop` was called.
    """

    def __init__(
        self,
        source: Source,
        models: Models,
        sink: Sink,
        controls: Controls,
        *,
        every_frame: bool = False,
        on_frame: OnFrame = lambda _frame, _denoiser, _times: None,
    ) -> None:
        self.stats = Stats()
        self.model: str | None = None
        self.stopped = False
        self._source, self._models, self._sink, self._controls = source, models, sink, controls
        self._capture = Capture(source, every_frame=every_frame)
        self._on_frame = on_frame
        self._tracker = NoiseTracker(source.fps)
        self._next_tick_ns = 0
        self._shape: tuple[int, ...] = ()
        self._size_changes = -1

    def run(self, limit: int | None = None, on_tick: Callable[[], None] = lambda: None) -> None:
        """Go on until the source ends, so many frames are done, a sink wants no more, or `stop` is called.

        on_tick: called about four times a second, with or without frames.
        Raises what the source, the model or the sink raised.
        """
        if self._source.size_wh is not None:
            self._models.prepare(self._controls.settings, self._source.size_wh)
        with self._capture:
            while self._sink.wants_more and self.stats.processed != limit and not self.stopped:
                frame = self._capture.take(_TICK_S)
                self._tick(on_tick)
                if frame is not None:
                    self._process(frame)
                elif self._capture.ended:
                    return

    def stop(self) -> None:
        """Let `run` end when the frame in work is done: a signal's handler or another thread may ask for it."""
        self.stopped = True

    def record(self) -> dict[str, Any]:
        """The state for JSON: counts, rates, ages and stages with units in the keys, and what runs."""
        settings = self._controls.settings
        return {
            "captured": self._capture.captured,
            "dropped": self._capture.dropped,
            "damaged": self._source.damaged,
            "reconnects": self._source.reconnects,
            "trouble": self._source.trouble,
            "size_wh": self._shape[1::-1] if self._shape else None,
            "size_changes": max(0, self._size_changes),
            "model": self.model,
            "strength": settings.strength,
            "paused": settings.paused,
            **self.stats.record(),
        }

    def _process(self, frame: Frame) -> None:
        taken_ns = time.monotonic_ns()
        settings = self._controls.settings
        if settings.paused:
            return
        if frame.pixels.shape != self._shape:
            self._shape = frame.pixels.shape
            self._size_changes += 1
        denoiser = self._models.current(settings, frame.pixels)
        level_255 = self._tracker(frame.pixels) if denoiser.estimates else denoiser.sigma_255
        clean = denoiser(frame.pixels, sigma_255=level_255)
        denoised_ns = time.monotonic_ns()
        self._sink.write(frame, clean)
        times = FrameTimes(frame.captured_ns, taken_ns, denoised_ns, time.monotonic_ns())
        self.model = denoiser.card.name
        self.stats.add(times, level_255)
        self._models.ran(settings, times.busy_ms, times.done_ns)
        self._on_frame(frame, denoiser, times)

    def _tick(self, on_tick: Callable[[], None]) -> None:
        now_ns = time.monotonic_ns()
        if now_ns >= self._next_tick_ns:
            self._next_tick_ns = now_ns + round(_TICK_S * 1e9)
            self._sink.tick(now_ns)
            on_tick()
