"""The front door: a source, a denoiser and sinks become a running pipeline."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from quietframe.card import ModelCard
from quietframe.controls import Controls, Settings
from quietframe.errors import OutputError, UsageError
from quietframe.log import log
from quietframe.pipeline.loop import Loop, OnFrame
from quietframe.pipeline.models import AUTO, Models
from quietframe.pipeline.stats import FrameTimes, Stats, stats_file
from quietframe.sinks import Guarded, Sink, default_output, open_sink
from quietframe.sources import Frame, Source, open_source
from quietframe.tasks import Denoiser
from quietframe.zoo import ALIASES, camera_models

_DEFAULT_FPS = 30.0
"""The rate that `auto` holds where neither the user nor the source names one."""

_RANGES: dict[str, tuple[type, float, float]] = {
    "fps": (Real, 0.1, 1000),
    "max_frames": (Integral, 1, math.inf),
    "strength": (Real, 0, math.inf),
    "luma_strength": (Real, 0, 1),
    "chroma_strength": (Real, 0, 1),
    "sigma_255": (Real, 0, 255),
    "threads": (Integral, 1, math.inf),
    "timeout_s": (Real, 0.001, 86400),
}
_FLAGS = ("drop_frames", "to_8bit", "overwrite", "show")


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of a `Pipeline`.

    Attributes:
        fps: the frame rate to hold, within [0.1, 1000]: the pipeline says whether the model does, or chooses one that
            does. None: the source's, not watched unless the denoiser is `auto`.
        drop_frames: True: play a recording in real time and drop frames where the model is slow; False: drop none,
            whatever the source. None: drop frames of cameras, of streams and of whatever is shown while it runs.
        max_frames: stop after so many frames; None: at the end of the source.
        strength, luma_strength, chroma_strength, sigma_255, threads, card: as of `Denoiser`, for models that the
            pipeline opens.
        to_8bit, timeout_s: as of `open_source`, for a source that the pipeline opens.
        overwrite: replace files that exist. The source's own files never are.
        show: show the result in a window as well.
        stats_file: write counts, latencies and times there, a JSON line each second.

    Raises:
        UsageError: a value of another type or out of range.
    """

    fps: float | None = None
    drop_frames: bool | None = None
    max_frames: int | None = None
    strength: float = 1.0
    luma_strength: float | None = None
    chroma_strength: float | None = None
    sigma_255: float | None = None
    threads: int | None = None
    card: ModelCard | str | Path | None = None
    to_8bit: bool = False
    timeout_s: float = 10.0
    overwrite: bool = False
    show: bool = False
    stats_file: str | Path | None = None

    def __post_init__(self) -> None:
        for name, (kind, low, high) in _RANGES.items():
            value: Any = getattr(self, name)
            if value is None and name not in ("strength", "timeout_s"):
                continue
            is_number = isinstance(value, kind) and not isinstance(value, bool)
            if not is_number or not low <= value <= high or value == math.inf:
                number = "a whole number" if kind is Integral else "a number"
                limits = f"of at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
                raise UsageError(f"Expected {name} to be {number} {limits}. Received: {value!r}")
        for name in _FLAGS:
            value = getattr(self, name)
            if not isinstance(value, bool) and not (value is None and name == "drop_frames"):
                raise UsageError(f"Expected {name} to be True or False. Received: {value!r}")


@dataclass(frozen=True)
class Result:
    """What a pipeline did.

    Attributes:
        model: the name of the model that ran last; None if none did.
        path: the first file or folder that was written, if any.
        failures: what failed while the rest went on, a line each.
        interrupted: it was stopped before the end of a recording, whose unfinished video is discarded.
        frames: how many were denoised.
        denoise_p50_ms, denoise_p95_ms: median and 95th percentile of the model's time, everything included.
        noise_p50_sigma_255: the median noise level in 8-bit levels, where it was stated or estimated.
        wall_s: how long it took.
        captured, dropped, damaged, reconnects: what became of a moving source's frames; None for images.
    """

    model: str | None
    path: Path | None
    failures: tuple[str, ...]
    interrupted: bool
    frames: int
    denoise_p50_ms: float | None
    denoise_p95_ms: float | None
    noise_p50_sigma_255: float | None
    wall_s: float
    captured: int | None = None
    dropped: int | None = None
    damaged: int | None = None
    reconnects: int | None = None

    def figures(self) -> dict[str, Any]:
        """Return the figures for JSON, with units in the keys; those that images do not have are left out."""
        record = asdict(self)
        for name in ("model", "path", "failures", "interrupted"):
            del record[name]
        counts = ("captured", "dropped", "damaged", "reconnects")
        return {name: value for name, value in record.items() if value is not None or name not in counts}


class Pipeline:
    """Denoise a source into sinks: images one by one, whatever moves in the real-time loop.

    >>> Pipeline("rtsp://…", denoiser="auto", sinks=["night.mkv"], config=PipelineConfig(fps=30)).run()

    Args:
        source: as of `open_source`, or an open source, which stays open.
        denoiser: a model's name or file, several (in a list, or with commas between), a `Denoiser`, or `auto`: the best
            built-in camera model that holds the frame rate, watched while it runs.
        sinks: where results go: files, folders, numbered images (`shots/%06d.png`), `null`, or `Sink` objects, which
            the pipeline closes. None: beside the source, unless `config.show`.
        config: the settings.

    Attributes:
        total: how many frames will be done, once `run` has begun and where that is known.
        finishing: no more frames are taken, and the sinks finish their files.
    """

    def __init__(
        self,
        source: str | Path | Source,
        denoiser: str | Path | Denoiser | Sequence[str | Path | Denoiser] = "camera",
        sinks: str | Path | Sink | Sequence[str | Path | Sink] | None = None,
        config: PipelineConfig | None = None,
    ) -> None:
        self.config = config or PipelineConfig()
        self.total: int | None = None
        self.finishing = False
        self._source = source
        self._denoiser = denoiser
        self._sinks = [sinks] if isinstance(sinks, str | Path | Sink) else sinks
        self._stopped = threading.Event()
        self._stats = Stats()
        self._loop: Loop | None = None
        self._warned = False

    def run(
        self,
        on_tick: Callable[[], None] = lambda: None,
        on_frame: OnFrame = lambda _frame, _denoiser, _times: None,
    ) -> Result:
        """Run until the source ends, the limit is reached, a window is closed or `stop` is called.

        Args:
            on_tick: called about four times a second, or after each image.
            on_frame: called with each frame, its denoiser and its times, after the sinks.

        Raises:
            SourceError, ModelLoadError, OutputError: something cannot be opened, or fails with nothing left to go on
                for. One sink of several that fails is logged, and named in the result.
            UsageError: settings that do not fit the source or the model.
        """
        with ExitStack() as stack:
            config, source = self.config, self._source
            if not isinstance(source, Source):
                source = stack.enter_context(open_source(source, to_8bit=config.to_8bit, timeout_s=config.timeout_s))
            return (self._run_loop if source.moving else self._run_images)(source, on_tick, on_frame)

    def stop(self) -> None:
        """Let `run` end after the present frame: for another thread, or a signal handler."""
        self._stopped.set()

    @property
    def processed(self) -> int:
        """How many frames the sinks have taken so far."""
        return self._stats.processed

    def record(self) -> dict[str, Any]:
        """Return the state for JSON, at any time and from any thread: counts, rates, latencies and what runs."""
        return self._loop.record() if self._loop else self._stats.record()

    def _run_loop(self, source: Source, on_tick: Callable[[], None], on_frame: OnFrame) -> Result:
        config = self.config
        places, objects = self._split_sinks(source)
        interactive = any(sink.interactive for sink in objects)
        drop = source.real_time or config.show or interactive if config.drop_frames is None else config.drop_frames
        loaded = self._open_models()
        others = [name for name in camera_models() if name not in loaded] if interactive and not config.card else []
        models = Models(
            loaded, fps=config.fps or source.fps or _DEFAULT_FPS, others=others, open_model=self._open_model
        )
        first = AUTO if len(loaded) > 1 or config.fps else next(iter(loaded))
        strength = self._denoiser.strength if isinstance(self._denoiser, Denoiser) else config.strength
        controls = Controls(Settings(strength, first), [AUTO, *models.names])
        sink = self._open_sink(source, places, objects, live=drop)

        def note(frame: Frame, denoiser: Denoiser, times: FrameTimes) -> None:
            self._warn_of_lost_detail(frame, denoiser)
            on_frame(frame, denoiser, times)

        loop = Loop(source, models, sink, controls, every_frame=not drop, on_frame=note)
        loop.stopped = self._stopped
        self._loop, self._stats = loop, loop.stats
        if not drop:
            self.total = min(filter(None, (config.max_frames, source.frame_count)), default=None)
        interrupted = False
        try:
            with ExitStack() as stack:
                write_stats = (
                    stack.enter_context(stats_file(config.stats_file, self.record, overwrite=config.overwrite))
                    if config.stats_file
                    else None
                )
                stack.enter_context(sink)

                def tick() -> None:
                    if write_stats:
                        write_stats()
                    on_tick()

                loop.run(config.max_frames, tick)
                self.finishing = True
                on_tick()
                if self._stopped.is_set() and not ((source.endless or not places) and loop.stats.processed):
                    raise _InterruptedError  # the sinks discard what is unfinished
        except _InterruptedError:
            interrupted = True
        record = loop.record()
        counts = {name: record[name] for name in ("captured", "dropped", "damaged", "reconnects")}
        return self._result(loop.model, source, sink, interrupted, **counts)

    def _run_images(self, source: Source, on_tick: Callable[[], None], on_frame: OnFrame) -> Result:
        config = self.config
        places, objects = self._split_sinks(source)
        for name in ("fps", "drop_frames", "stats_file"):
            if getattr(config, name) is not None:
                raise UsageError(f"{name} is for videos, cameras and streams: these are images")
        if any(sink.interactive for sink in objects):
            raise UsageError("a preview is for videos, cameras and streams: these are images")
        sink = self._open_sink(source, places, objects, live=False)
        denoiser = self._denoiser
        if not isinstance(denoiser, Denoiser):
            if not isinstance(denoiser, str | Path):
                raise UsageError(f"Expected one denoiser for images. Received: {denoiser!r}")
            denoiser = self._open_model(str(denoiser))
        stats = self._stats = Stats()
        self.total = min(config.max_frames or len(source.names), len(source.names))
        with sink:
            on_tick()
            for frame in source:
                start_ns = time.monotonic_ns()
                level_255 = denoiser.level_255(frame.pixels)
                clean = denoiser(frame.pixels, sigma_255=level_255)
                denoised_ns = time.monotonic_ns()
                sink.write(frame, clean)
                times = FrameTimes(start_ns, start_ns, denoised_ns, time.monotonic_ns())
                stats.add(times, level_255)
                self._warn_of_lost_detail(frame, denoiser)
                on_frame(frame, denoiser, times)
                on_tick()
                if stats.processed == config.max_frames or not sink.wants_more or self._stopped.is_set():
                    break
        return self._result(denoiser.card.name, source, sink, self._stopped.is_set())

    def _split_sinks(self, source: Source) -> tuple[list[str | Path], list[Sink]]:
        """Return the places to write to and the sink objects. Raises OutputError where there is no place at all."""
        if self._sinks is None and not self.config.show:
            place = default_output(source)
            if place is None:
                raise OutputError("no place for the result: name a sink, or show it")
            return [place], []
        sinks = self._sinks or []
        return [sink for sink in sinks if not isinstance(sink, Sink)], [
            sink for sink in sinks if isinstance(sink, Sink)
        ]

    def _open_sink(
        self, source: Source, places: Sequence[str | Path], objects: Sequence[Sink], *, live: bool
    ) -> Guarded:
        named = {f"{type(sink).__name__} {number}": sink for number, sink in enumerate(objects, 1)}
        return open_sink(
            places,
            source,
            overwrite=self.config.overwrite,
            show=self.config.show,
            live=live,
            more=named,
            on_failure=log.error,
        )

    def _open_models(self) -> dict[str, Denoiser]:
        """Open the denoisers that were named, by name: what is wrong with one is said before anything runs."""
        given = self._denoiser
        if given == AUTO:
            given = camera_models()
        elif isinstance(given, str):
            given = [name.strip() for name in given.split(",")]
        elif isinstance(given, Path | Denoiser):
            given = [given]
        if not given or (self.config.card and len(given) > 1):
            raise UsageError(f"Expected {'one denoiser for the card' if given else 'a denoiser'}. Received: {given!r}")
        loaded = {}
        for one in given:
            name = one.card.name if isinstance(one, Denoiser) else ALIASES.get(str(one), str(one))
            if name not in loaded:
                loaded[name] = one if isinstance(one, Denoiser) else self._open_model(name)
        return loaded

    def _open_model(self, name: str) -> Denoiser:
        config = self.config
        return Denoiser(
            name,
            strength=config.strength,
            sigma_255=config.sigma_255,
            luma_strength=config.luma_strength,
            chroma_strength=config.chroma_strength,
            threads=config.threads,
            card=config.card,
        )

    def _warn_of_lost_detail(self, frame: Frame, denoiser: Denoiser) -> None:
        """Log once that a model works on less of a frame than there is."""
        height, width = frame.pixels.shape[:2]
        seen_wh = denoiser.sees_wh
        if self._warned or seen_wh is None or (width <= seen_wh[0] and height <= seen_wh[1]):
            return
        self._warned = True
        log.warning(
            "%s works at %dx%d: a picture of %dx%d comes back at its size, but without finer detail than that (the "
            "model camera keeps it)",
            *(denoiser.card.name, *seen_wh, width, height),
        )

    def _result(self, model: str | None, source: Source, sink: Guarded, interrupted: bool, **counts: int) -> Result:
        times, level_255 = self._stats.percentiles(), self._stats.median_level_255
        return Result(
            model=model,
            path=sink.path,
            failures=(*source.failures, *sink.failures),
            interrupted=interrupted,
            frames=self._stats.processed,
            denoise_p50_ms=times["denoise_p50_ms"],
            denoise_p95_ms=times["denoise_p95_ms"],
            noise_p50_sigma_255=None if level_255 is None else round(level_255, 2),
            wall_s=self._stats.wall_s,
            **counts,
        )


class _InterruptedError(Exception):
    """A recording was stopped before its end."""
