"""The front door: a source, a denoiser and sinks become a running pipeline."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from quietframe.camera import CameraProfile
from quietframe.card import ModelCard
from quietframe.controls import Controls, Settings
from quietframe.decoding import MAX_PIXELS, PILLOW_MAX_PIXELS
from quietframe.errors import OutputError, UsageError
from quietframe.images import WRITERS
from quietframe.log import log
from quietframe.pipeline.cores import Share
from quietframe.pipeline.loop import Loop, OnFrame
from quietframe.pipeline.models import AUTO, Models
from quietframe.pipeline.stats import stats_file
from quietframe.sinks import MAX_CRF, PIPES, Guarded, Sink, SinkOptions, default_output, open_sink
from quietframe.sources import Source, open_source
from quietframe.sources.address import as_shown, is_network
from quietframe.tasks import Denoiser, open_denoiser
from quietframe.zoo import ALIASES, camera_models

_DEFAULT_FPS = 30.0
"""The rate that `auto` holds where neither the user nor the source names one."""

_RANGES: dict[str, tuple[type, float, float]] = {
    "fps": (Real, 0.1, 1000),
    "max_fps": (Real, 0.1, 1000),
    "max_frames": (Integral, 1, math.inf),
    "strength": (Real, 0, math.inf),
    "luma_strength": (Real, 0, 1),
    "chroma_strength": (Real, 0, 1),
    "sigma_255": (Real, 0, math.inf),
    "threads": (Integral, 1, math.inf),
    "timeout_s": (Real, 0.001, 86400),
    "quality": (Integral, 1, 100),
    "crf": (Integral, 0, MAX_CRF),
    "input_fps": (Real, 0.1, 1000),
    "max_pixels": (Integral, 1, PILLOW_MAX_PIXELS),
}
_IMAGE_FORMATS = " ".join([*sorted(suffix[1:] for suffix in WRITERS), *PIPES])
_FLAGS = (
    "drop_frames",
    "to_8bit",
    "overwrite",
    "show",
    "single_frame",
    "skip_existing",
    "strip_metadata",
    "audio",
)


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of a `Pipeline`.

    Attributes:
        fps: the frame rate to hold, within [0.1, 1000]: the pipeline logs whether the model does, or chooses one that
            does. None: the source's, not watched unless the denoiser is `auto`.
        max_fps: take at most so many frames a second, evenly, and skip the others of a camera, a stream or whatever is
            shown while it runs: they are neither captured nor dropped. None: all.
        drop_frames: True: play a recording in real time and drop frames where the model is slow; False: drop none,
            whatever the source. None: drop frames of cameras, of streams and of whatever is shown while it runs.
        single_frame: denoise every frame by itself: no frame before is fused. The noise level is tracked all the same.
        max_frames: stop after so many frames; None: at the end of the source.
        strength, luma_strength, chroma_strength, sigma_255, threads, card, camera: as of `Denoiser`, for models that
            the pipeline opens; for those that are given open they are refused.
        to_8bit, timeout_s, input_fps, max_pixels: as of `open_source`, for a source that the pipeline opens.
        overwrite: replace files that exist. The source's own files never are.
        skip_existing, image_format, quality, strip_metadata, codec, encoder, crf, audio: as of `open_sink`.
        show: show the result in a window as well.
        stats_file: write counts, latencies and times there, a JSON line each second.

    Raises:
        UsageError: a value of another type or out of range.
    """

    fps: float | None = None
    max_fps: float | None = None
    drop_frames: bool | None = None
    single_frame: bool = False
    max_frames: int | None = None
    strength: float = 1.0
    luma_strength: float | None = None
    chroma_strength: float | None = None
    sigma_255: float | None = None
    threads: int | None = None
    card: ModelCard | str | Path | None = None
    camera: CameraProfile | str | Path | None = None
    to_8bit: bool = False
    timeout_s: float = 10.0
    overwrite: bool = False
    show: bool = False
    stats_file: str | Path | None = None
    skip_existing: bool = False
    image_format: str | None = None
    quality: int | None = None
    strip_metadata: bool = False
    input_fps: float | None = None
    codec: str | None = None
    encoder: str | None = None
    crf: int | None = None
    audio: bool = True
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name, (kind, low, high) in _RANGES.items():
            value: Any = getattr(self, name)
            if value is None and name not in ("strength", "timeout_s", "max_pixels"):
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
        if self.image_format not in (None, *PIPES) and f".{self.image_format}" not in WRITERS:
            raise UsageError(f"Expected image_format to be one of {_IMAGE_FORMATS}. Received: {self.image_format!r}")
        if self.skip_existing and self.overwrite:
            raise UsageError("--skip-existing and --overwrite exclude each other: leave one out")
        SinkOptions(codec=self.codec, encoder=self.encoder)

    @property
    def for_source(self) -> Mapping[str, Any]:
        """The settings that `open_source` takes."""
        return {name: getattr(self, name) for name in ("to_8bit", "timeout_s", "input_fps", "max_pixels")}

    @property
    def for_denoisers(self) -> Mapping[str, Any]:
        """The settings that `open_denoiser` takes."""
        names = ("strength", "sigma_255", "luma_strength", "chroma_strength", "threads", "card", "camera")
        return {name: getattr(self, name) for name in names}

    def refuse_for_denoisers(self) -> None:
        """Raise UsageError if a setting of denoisers is stated, for a pipeline that opens none."""
        for name, value in self.for_denoisers.items():
            if value != getattr(type(self), name):
                raise UsageError(f"{name} is for a denoiser that the pipeline opens: state it where yours is opened")


@dataclass(frozen=True)
class Result:
    """What a pipeline did.

    Attributes:
        output: the first file or folder that was written, if any.
        places: all files, folders and addresses that results went to.
        model: the name of the model that ran last; None if none did.
        frames: how many were denoised.
        captured, dropped, damaged, reconnects: what became of the source's frames.
        skipped: results that existed already, with `skip_existing`.
        denoise_p50_ms, denoise_p95_ms: median and 95th percentile of the time in the model, everything included.
        noise_p50_sigma_255: the median noise level in 8-bit levels, where it was stated or estimated.
        wall_s: how long it took.
        failures: what failed while the rest went on, a line each.
        interrupted: it was stopped before the end of a recording, whose unfinished video is discarded.
    """

    output: Path | None
    places: tuple[str, ...]
    model: str | None
    frames: int
    captured: int
    dropped: int
    damaged: int
    reconnects: int
    skipped: int
    denoise_p50_ms: float | None
    denoise_p95_ms: float | None
    noise_p50_sigma_255: float | None
    wall_s: float
    failures: tuple[str, ...]
    interrupted: bool


class Pipeline:
    """Denoise the frames of a source, images too, and hand the results to sinks.

    >>> Pipeline("rtsp://…", denoiser="auto", sinks=["night.mkv"], config=PipelineConfig(fps=30)).run()

    Args:
        source: as of `open_source`, or an open source, which stays open.
        denoiser: a model's name or file, several (in a list, or with commas between), a `Denoiser`, or `auto`: the best
            built-in model that holds the frame rate, watched while it runs. None: `video` where frames come in order,
            of videos, cameras and streams; else `camera`. `auto` leaves out models whose terms are non-commercial.
        sinks: where results go: as of `open_sink`; `Sink` objects are closed at the end. None: a file or folder beside
            the source, unless `config.show`.
        config: the settings.
        others: names of models that may be chosen while it runs, opened when they first are.
        share: of the cores, where other pipelines run in this process, too.
        patient: as of `open_sink`.

    Attributes:
        total: the number of frames to denoise, where it is known once `run` has begun.
        finishing: whether no more frames are taken, and the sinks finish their files.
        controls: what may be changed once `run` has begun.
    """

    def __init__(
        self,
        source: str | Path | Source,
        denoiser: str | Path | Denoiser | Sequence[str | Path | Denoiser] | None = None,
        sinks: str | Path | Sink | Sequence[str | Path | Sink] | None = None,
        config: PipelineConfig | None = None,
        *,
        others: Sequence[str] = (),
        share: Share | None = None,
        patient: bool = False,
    ) -> None:
        self.config = config or PipelineConfig()
        self.total: int | None = None
        self.finishing = False
        self._source = source
        self._denoiser = denoiser
        self._others, self._share, self._patient = others, share, patient
        self._sink: Guarded | None = None
        self.controls: Controls | None = None
        self._sinks = [sinks] if isinstance(sinks, str | Path | Sink) else sinks
        self._stopped = threading.Event()
        self._loop: Loop | None = None

    def __repr__(self) -> str:
        source = self._source if isinstance(self._source, Source) else as_shown(str(self._source))
        return f"Pipeline({source!r}, denoiser={self._denoiser!r}, sinks={self._sinks!r}, config={self.config!r})"

    def run(
        self,
        on_tick: Callable[[], None] = lambda: None,
        on_frame: OnFrame = lambda _frame, _denoiser, _times: None,
    ) -> Result:
        """Run until the source ends, the limit is reached, a window is closed or `stop` is called.

        Args:
            on_tick: called about four times a second.
            on_frame: called with each frame, its denoiser and its times, after the sinks.

        Raises:
            SourceError, ModelLoadError, OutputError: something cannot be opened, or fails with nothing left to go on
                for. One sink of several that fails is logged, and named in the result.
            UsageError: settings that do not fit the source or the model.
        """
        config, self.finishing = self.config, False
        with ExitStack() as stack:
            source = self._source
            if not isinstance(source, Source):
                source = stack.enter_context(open_source(source, **config.for_source))
            for note in source.notes:
                log.warning("%s", note)
            sinks = self._sinks_for(source)
            places = [sink for sink in sinks if not isinstance(sink, Sink)]
            watched = any(isinstance(sink, Sink) and sink.interactive for sink in sinks)
            drop = config.drop_frames
            if drop is None:
                drop = source.real_time or config.show or watched or any(is_network(str(place)) for place in places)
            drop = drop and source.moving
            if config.max_fps and not drop:
                raise UsageError("max_fps is for frames in real time: of a camera, a stream, or a video with --live")
            source.max_fps = config.max_fps
            single_frame = config.single_frame or not source.moving
            models, controls = self._open_models(source, offer_all=watched, single_frame=single_frame)
            sink = open_sink(
                sinks,
                source,
                overwrite=config.overwrite,
                show=config.show,
                live=drop,
                skip_existing=config.skip_existing,
                image_format=config.image_format,
                quality=config.quality,
                strip_metadata=config.strip_metadata,
                codec=config.codec,
                encoder=config.encoder,
                crf=config.crf,
                audio=config.audio,
                patient=self._patient,
            )
            self._sink = sink
            source.keep_16bit = models.keep_16bit and sink.keeps_16bit
            loop = self._loop = Loop(
                source,
                models,
                sink,
                controls,
                every_frame=not drop,
                single_frame=single_frame,
                on_frame=on_frame,
                turn=self._share,
            )
            self.controls = controls
            loop.stopped = self._stopped
            self.total = None if drop else min(filter(None, (config.max_frames, source.frame_count)), default=None)
            write_stats = stack.enter_context(stats_file(config.stats_file, loop.record, overwrite=config.overwrite))

            def tick() -> None:
                write_stats()
                on_tick()

            interrupted = False
            with suppress(_InterruptedError), sink:
                loop.run(config.max_frames, tick)
                self.finishing = True
                on_tick()
                keeps = (source.endless or not places) and loop.stats.processed > 0
                interrupted = self._stopped.is_set() and not keeps
                if interrupted:
                    raise _InterruptedError  # the sinks discard what is unfinished
        record, times, level_255 = loop.record(), loop.stats.percentiles(), loop.stats.median_level_255
        return Result(
            output=sink.path,
            places=sink.places,
            model=loop.model,
            frames=loop.stats.processed,
            **{name: record[name] for name in ("captured", "dropped", "damaged", "reconnects")},
            skipped=source.skipped,
            denoise_p50_ms=times["denoise_p50_ms"],
            denoise_p95_ms=times["denoise_p95_ms"],
            noise_p50_sigma_255=None if level_255 is None else round(level_255, 2),
            wall_s=loop.stats.wall_s,
            failures=(*source.failures, *sink.failures),
            interrupted=interrupted,
        )

    def stop(self) -> None:
        """Let `run` end after the present frame: for another thread, or a signal handler."""
        self._stopped.set()

    def record(self) -> dict[str, Any]:
        """Return the state for JSON, from any thread: counts, rates, latencies and what runs. Empty before `run`."""
        return self._loop.record() if self._loop else {}

    @property
    def failed_outputs(self) -> Sequence[str]:
        """Why outputs were given up while the others went on, a line each."""
        return tuple(self._sink.failures) if self._sink else ()

    def _sinks_for(self, source: Source) -> Sequence[str | Path | Sink]:
        if self._sinks is not None or self.config.show:
            return self._sinks or ()
        place = default_output(source, self.config.image_format)
        if place is None:
            raise OutputError("no place for the result: name a sink, or show it")
        return [place]

    def _open_models(self, source: Source, *, offer_all: bool, single_frame: bool) -> tuple[Models, Controls]:
        """Open the named denoisers, so that errors come before anything runs.

        offer_all: offer the other built-in models for frames to who has the controls. single_frame: those that do not
            remember alone.
        """
        given, config, builtin = self._denoiser, self.config, camera_models(video=not single_frame)
        if given is None:
            given = ["camera" if single_frame else "video"]
        elif given == AUTO:
            free = [model for model in map(self._open_model, builtin) if not model.card.is_non_commercial]
            given = free if source.moving else [max(free, key=lambda model: model.card.macs_per_pixel)]
        elif isinstance(given, str):
            given = [name.strip() for name in given.split(",")]
        elif isinstance(given, Path | Denoiser):
            given = [given]
        if not given or (config.card and len(given) > 1):
            raise UsageError(f"Expected {'one denoiser for the card' if given else 'a denoiser'}. Received: {given!r}")
        loaded: dict[str, Denoiser] = {}
        for one in given:
            if isinstance(one, Denoiser):
                loaded.setdefault(one.card.name, one)
            elif (name := ALIASES.get(str(one), str(one))) not in loaded:
                loaded[name] = self._open_model(name)
        offered = [*self._others, *(builtin if offer_all and not config.card else ())]
        others = [name for name in dict.fromkeys(offered) if name not in loaded]
        if not others and all(isinstance(one, Denoiser) for one in given):
            config.refuse_for_denoisers()
        fps = min(config.fps or source.fps or _DEFAULT_FPS, config.max_fps or math.inf)
        if self._share is not None:
            self._share.fps = fps
        models = Models(loaded, fps=fps, others=others, open_model=self._open_model, share=self._share)
        first = next(iter(loaded))
        chosen = AUTO if len(loaded) > 1 or config.fps else first
        return models, Controls(Settings(loaded[first].strength, chosen), [AUTO, *models.names])

    def _open_model(self, name: str) -> Denoiser:
        return open_denoiser(name, **self.config.for_denoisers)


class _InterruptedError(Exception):
    """A recording was stopped before its end."""
