"""The real-time loop: newest frame, model, sinks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from quietframe.controls import Controls
from quietframe.log import log
from quietframe.noise.estimate import estimate_noise
from quietframe.noise.tracker import NoiseTracker
from quietframe.pipeline.capture import Capture
from quietframe.pipeline.models import Models
from quietframe.pipeline.stats import FrameTimes, Stats
from quietframe.sinks import Sink
from quietframe.sources import Frame, Source
from quietframe.tasks import Denoiser

OnFrame = Callable[[Frame, Denoiser, FrameTimes], None]

_TICK_S = 0.25
_REPORT_NS = 10 * 10**9


class Loop:
    """Run the newest frame through the model into the sinks, again and again.

    A thread captures; the newest frame waits for the model, so that a slow model drops frames and latency never grows.
    Reconnects and dropped frames are logged.

    Args:
        source: an open source.
        models: choose the denoiser of each frame.
        sink: takes the results.
        controls: what may be changed meanwhile.
        every_frame: drop no frame: the source waits for the model.
        single_frame: let no model remember the frames before.
        on_frame: called with each frame, its denoiser and its times, after the sinks.
        turn: entered to denoise a frame.

    Attributes:
        stats: the figures so far.
        model: the name of the model that ran last.
        stopped: an event that ends the loop after the present frame, from another thread or a signal handler.
    """

    def __init__(
        self,
        source: Source,
        models: Models,
        sink: Sink,
        controls: Controls,
        *,
        every_frame: bool = False,
        single_frame: bool = False,
        on_frame: OnFrame = lambda _frame, _denoiser, _times: None,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self.stats = Stats()
        self.model: str | None = None
        self.stopped = threading.Event()
        self._source, self._models, self._sink, self._controls = source, models, sink, controls
        self._capture = Capture(source, every_frame=every_frame)
        self._single_frame = single_frame
        self._on_frame, self._turn = on_frame, turn or nullcontext()
        self._level_of = NoiseTracker(source.taken_fps) if source.moving else estimate_noise
        self._next_tick_ns = 0
        self._shape: tuple[int, ...] = ()
        self._size_changes = -1
        self._trouble: str | None = None
        self._fused: float | None = None
        self._dropped = 0
        self._too_large, self._next_report_ns = 0, time.monotonic_ns() + _REPORT_NS

    def run(self, max_frames: int | None = None, on_tick: Callable[[], None] = lambda: None) -> None:
        """Run until the source ends, `max_frames` are done, a sink wants no more, or `stopped` is set.

        on_tick: called about four times a second, with or without frames.
        Raises what the source, the model or the sink raised.
        """
        self._sink.begin(self.record, self._controls)
        if self._source.size_wh is not None:
            self._models.prepare(self._controls.settings, self._source.size_wh)
        with self._capture:
            while self._sink.wants_more and self.stats.processed != max_frames and not self.stopped.is_set():
                frame = self._capture.take(_TICK_S)
                self._tick(on_tick)
                if frame is not None:
                    self._process(frame)
                elif self._capture.ended:
                    break
        self._report_too_large()

    def record(self) -> dict[str, Any]:
        """Return the state for JSON: counts, rates, latencies and stages with units in the keys, and what runs."""
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
            "fused": None if self._fused is None else round(self._fused, 3),
            "strength": settings.strength,
            "paused": settings.paused,
            **self.stats.record(),
        }

    def _process(self, frame: Frame) -> None:
        settings = self._controls.settings
        if settings.paused:
            return
        if frame.pixels.shape != self._shape:
            self._shape = frame.pixels.shape
            self._size_changes += 1
        denoiser = self._models.current(settings, frame.pixels)
        with self._turn:
            taken_ns = time.monotonic_ns()
            level_255 = self._level_of(frame.pixels) if denoiser.estimates else denoiser.sigma_255
            if self._single_frame:
                denoiser.reset()
            clean = denoiser(frame.pixels, sigma_255=level_255)
        denoised_ns = time.monotonic_ns()
        self._sink.write(frame, clean)
        times = FrameTimes(frame.captured_ns, taken_ns, denoised_ns, time.monotonic_ns())
        self.model, self._fused = denoiser.card.name, denoiser.fused
        self.stats.add(times, level_255, denoiser.card.name)
        self._models.note(settings, times.busy_ms, times.done_ns)
        self._on_frame(frame, denoiser, times)

    def _tick(self, on_tick: Callable[[], None]) -> None:
        now_ns = time.monotonic_ns()
        if now_ns < self._next_tick_ns:
            return
        self._next_tick_ns = now_ns + round(_TICK_S * 1e9)
        if self._source.trouble != self._trouble:
            self._trouble = self._source.trouble
            if self._trouble:
                log.warning("%s", self._trouble)
            else:
                log.info("frames come again")
        if self._capture.dropped > self._dropped:
            log.debug("%d frames dropped", self._capture.dropped - self._dropped)
            self._dropped = self._capture.dropped
        if now_ns >= self._next_report_ns:
            self._next_report_ns = now_ns + _REPORT_NS
            self._report_too_large()
        self._sink.tick(now_ns)
        on_tick()

    def _report_too_large(self) -> None:
        if self._source.limit.count > self._too_large:
            self._too_large = self._source.limit.count
            log.warning("%s", self._source.limit)
