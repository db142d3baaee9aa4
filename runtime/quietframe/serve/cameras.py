"""Run the cameras of a `ServeConfig`: each in a thread of its own, on cores that all share."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import cv2

from quietframe.controls import Controls, Settings
from quietframe.errors import OutputError, QuietFrameError, SourceError
from quietframe.log import log, origin
from quietframe.pipeline import Pipeline, Result
from quietframe.pipeline.cores import Cores
from quietframe.pipeline.models import AUTO
from quietframe.preview import Server, View
from quietframe.preview.frames import Record, Stream
from quietframe.serve.config import CameraConfig, Period, ServeConfig
from quietframe.sources.stream import PAUSES_S

_TICK_S = 0.25
_HUNG_S = 20.0
_FINISH_S = 15.0
_GOODBYE_S = 0.5

Clock = Callable[[], datetime]


class Camera(threading.Thread):
    """Run one camera until it is stopped or its recording ends.

    A source or output that cannot be opened, or breaks so that its pipeline ends, is opened anew after growing pauses.
    Any other error ends this camera, and no other.

    Args:
        config: the camera.
        server: shows it.
        cores: that it shares.
        clock: the local time, for its schedule.

    Attributes:
        failure: what ended it, in a line.
        result: of its pipeline that ended last.
    """

    def __init__(self, config: CameraConfig, server: Server, cores: Cores, clock: Clock) -> None:
        super().__init__(name=f"quietframe-camera-{config.name}", daemon=True)
        self.config = config
        self.failure: str | None = None
        self.result: Result | None = None
        self._stream = server.add(config.name, self.record)
        self._share = cores.share()
        self._clock = clock
        self._stopped = threading.Event()
        self._pipeline: Pipeline | None = None
        self._controls = Controls(Settings(), ())
        self._period: Period | None = None
        self._trouble: str | None = None
        self._reconnects = 0
        self._ticked_s: float | None = None

    def run(self) -> None:
        """See `Camera`."""
        origin.set(self.config.name)
        attempts = 0
        while not self._stopped.is_set():
            self._pipeline = pipeline = self._new_pipeline()
            if self._stopped.is_set():  # since the loop looked
                return
            try:
                self.result = pipeline.run(self._tick, lambda *_: self._is_back())
                if not self._stopped.is_set():
                    self._trouble = "the source has ended"
                    log.info("%s", self._trouble)
                return
            except (SourceError, OutputError) as exc:
                if pipeline.record().get("processed"):
                    attempts = 0
                if _without_numbers(str(exc)) != _without_numbers(self._trouble):
                    log.warning("%s", exc)
                self._trouble = str(exc)
            except Exception as exc:  # noqa: BLE001  it ends this camera, and no other
                self.failure = str(exc) if isinstance(exc, QuietFrameError) else f"{type(exc).__name__}: {exc}"
                self._trouble = self.failure
                log.error("%s: this camera has ended", self.failure)
                return
            finally:
                self._ticked_s = None
            self._stopped.wait(PAUSES_S[min(attempts, len(PAUSES_S) - 1)])
            attempts += 1

    def record(self) -> Mapping[str, Any]:
        """Return the state for JSON, from any thread: that of its pipeline, and what is wrong."""
        record = self._pipeline.record() if self._pipeline else {}
        trouble = self._trouble or record.get("trouble")
        return {
            **record,
            "trouble": trouble,
            "reconnects": record.get("reconnects", 0) + self._reconnects,
            "failed_outputs": self._pipeline.failed_outputs if self._pipeline else (),
        }

    def stop(self) -> None:
        """Let it end after the present frame, its files whole."""
        self._stopped.set()
        if self._pipeline:
            self._pipeline.stop()

    @property
    def is_hung(self) -> bool:
        """Whether its loop has not turned for 20 seconds, and no models are measured."""
        ticked_s = self._ticked_s
        return ticked_s is not None and not self._share.is_measuring and time.monotonic() - ticked_s > _HUNG_S

    @property
    def is_running(self) -> bool:
        """Whether its loop runs, and so has something to finish."""
        return self.is_alive() and self._ticked_s is not None

    def _new_pipeline(self) -> Pipeline:
        config, now = self.config, f"{self._clock():%Y%m%d-%H%M%S}"
        stats_file = config.pipeline.stats_file and str(config.pipeline.stats_file).replace("{time}", now)
        return Pipeline(
            config.source,
            config.model,
            [_View(self._stream, self._begin), *(output.replace("{time}", now) for output in config.outputs)],
            replace(config.pipeline, stats_file=stats_file),
            others=[model for period in config.schedule if (model := period.changes.get("model", AUTO)) != AUTO],
            share=self._share,
            patient=True,
        )

    def _period_now(self) -> Period | None:
        now = self._clock().time()
        return next((period for period in self.config.schedule if period.holds(now)), None)

    def _begin(self, controls: Controls) -> None:
        """Set what the schedule says, before the first frame."""
        self._controls, self._period = controls, self._period_now()
        controls.change(**self.config.settings(self._period))

    def _tick(self) -> None:
        self._ticked_s = time.monotonic()
        if (period := self._period_now()) is not self._period:
            settings = self.config.settings(period)
            self._controls.change(**settings)
            log.info("schedule: %s", ", ".join(f"{name} {value}" for name, value in settings.items()))
            self._period = period

    def _is_back(self) -> None:
        if self._trouble:
            self._trouble = None
            self._reconnects += 1
            log.info("frames come")


def _without_numbers(trouble: str | None) -> str:
    """Reduce what is wrong to what is logged once: times and counts in it change with each attempt."""
    return re.sub(r"\d+", "", trouble or "")


class _View(View):
    """A view that tells when its loop begins."""

    def __init__(self, stream: Stream, on_begin: Callable[[Controls], None]) -> None:
        super().__init__(stream)
        self._on_begin = on_begin

    def begin(self, record: Record, controls: Controls) -> None:
        """See `Sink`."""
        super().begin(record, controls)
        self._on_begin(controls)


class Cameras:
    """Run several cameras in one process, and serve their wall, pages and metrics.

    >>> Cameras(read_config("config.toml")).run()

    Args:
        config: what to run.
        clock: the local time, for the schedules.

    Attributes:
        cameras: in the order of the file.
        url: the link to the wall.
    """

    def __init__(self, config: ServeConfig, *, clock: Clock = datetime.now) -> None:
        self._server = Server(config.address, token=config.token)
        cores = Cores(config.cores)
        self.cameras = [Camera(camera, self._server, cores, clock) for camera in config.cameras]
        self._stopped = threading.Event()

    @property
    def url(self) -> str:
        """See `Cameras`."""
        return self._server.url

    def run(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Run until all cameras have ended or `stop` is called; files are whole then.

        on_tick: called about four times a second.

        Raises:
            MissingExtraError: the extra `serve` is not installed.
            OutputError: the port is in use, or the address is not this machine's.
        """
        self._server.start()
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # cameras run beside each other: of one's frame, parts need not
        try:
            for camera in self.cameras:
                camera.start()
            while not self._stopped.wait(_TICK_S) and any(camera.is_alive() for camera in self.cameras):
                on_tick()
            for camera in self.cameras:
                camera.stop()
            deadline_s = time.monotonic() + _FINISH_S
            for camera in self.cameras:
                while camera.is_running and time.monotonic() < deadline_s:
                    camera.join(_TICK_S)
                    on_tick()
            deadline_s = time.monotonic() + _GOODBYE_S
            for camera in self.cameras:
                camera.join(max(0, deadline_s - time.monotonic()))  # one that waits for a silent server is left behind
        finally:
            self._server.close()
            cv2.setNumThreads(threads)

    def stop(self) -> None:
        """Let `run` end: for another thread, or a signal handler."""
        self._stopped.set()

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    @property
    def is_hung(self) -> bool:
        """Whether the loop of one has not turned for 20 seconds."""
        return any(camera.is_hung for camera in self.cameras)
