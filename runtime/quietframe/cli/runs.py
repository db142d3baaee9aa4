"""The two kinds of run behind `quietframe denoise`: pictures one by one, and a moving source in the real-time loop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from quietframe.cli.live import (
    Status,
    model_names,
    openers,
    say_step,
    stats_writer,
    terminated_like_interrupted,
)
from quietframe.cli.service import Service
from quietframe.cli.terminal import progress, say
from quietframe.errors import UsageError
from quietframe.live.controls import Controls, Settings
from quietframe.live.loop import Live
from quietframe.live.models import AUTO, Models
from quietframe.live.stats import FrameTimes, Stats
from quietframe.sinks import Guarded, open_sink
from quietframe.sources import Frame, Source
from quietframe.tasks import Denoiser

_FPS = 30.0
"""The rate that `auto` holds where neither the user nor the source names one."""


@dataclass
class Outcome:
    """What a run left behind.

    Attributes:
        stats: its figures.
        model: the name of the model that ran last.
        path: the first file or folder that was written, if any.
        failures: what failed while the rest went on, a line each.
        counts: of a moving source, what became of its frames.
    """

    stats: Stats
    model: str | None
    path: str | None
    failures: Sequence[str]
    counts: Mapping[str, int] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The figures, with their units in the keys; None where there was no frame."""
        times, level_255 = self.stats.percentiles(), self.stats.median_level_255
        return {
            "frames": self.stats.processed,
            **self.counts,
            "denoise_p50_ms": times["denoise_p50_ms"],
            "denoise_p95_ms": times["denoise_p95_ms"],
            "noise_p50_sigma_255": None if level_255 is None else round(level_255, 2),
            "wall_s": round((time.monotonic_ns() - self.stats.started_ns) / 1e9, 3),
        }


def run_pictures(source: Source, outs: Sequence[str], options: Mapping[str, Any]) -> Outcome:
    """Denoise picture after picture until the source ends, the limit is reached or the user has seen enough."""
    for name in ("live", "every_frame", "fps", "json_stats"):
        if options[name]:
            raise UsageError(f"--{name.replace('_', '-')} is for videos, cameras and streams: these are pictures")
    sink = _open_sink(source, outs, options)
    denoiser = _open_model(options["model"], options)
    stats, warn, limit = Stats(), _DetailWarning(), options["frames"]
    total = min(limit or len(source.names), len(source.names))
    with sink, progress(total, "denoising") as advance:
        for frame in source:
            start_ns = time.monotonic_ns()
            level_255 = denoiser.level_255(frame.pixels)
            clean = denoiser(frame.pixels, sigma_255=level_255)
            denoised_ns = time.monotonic_ns()
            sink.write(frame, clean)
            stats.add(FrameTimes(start_ns, start_ns, denoised_ns, time.monotonic_ns()), level_255)
            warn(frame, denoiser)
            advance()
            if stats.processed == limit or not sink.wants_more:
                break
    return Outcome(stats, denoiser.card.name, _path(sink), [*source.failures, *sink.failures])


def run_moving(source: Source, outs: Sequence[str], options: Mapping[str, Any]) -> Outcome:
    """Run the real-time loop until the source ends, the limit is reached or the user has seen enough.

    Cameras and streams drop frames where the model is slow, and so does whatever is played `--live` or shown; of other
    sources every frame is done, as fast as may be.
    """
    every_frame = options["every_frame"]
    if every_frame and options["live"]:
        raise UsageError("--every-frame and --live exclude each other")
    live = not every_frame and (source.real_time or options["live"] or options["show"])
    names = model_names(options["model"])
    if options["card"] and len(names) > 1:
        raise UsageError("--card describes one model: name one with --model")
    sink = _open_sink(source, outs, options, live=live)
    choices = openers(names, partial(_open_model, options=options))
    models = Models(choices, fps=options["fps"] or source.fps or _FPS, on_step=say_step, on_problem=_say_problem)
    chosen = AUTO if len(names) > 1 or options["fps"] else names[0]
    controls = Controls(Settings(options["strength"], chosen), [AUTO, *names])
    warn, limit, service = _DetailWarning(), options["frames"], Service()
    total = None if live else min(limit or source.frame_count or 0, source.frame_count or limit or 0) or None
    with ExitStack() as stack:
        stats_file = stack.enter_context(stats_writer(options["json_stats"], overwrite=options["overwrite"]))
        stack.enter_context(sink)
        advance = stack.enter_context(progress(total, "denoising")) if total else lambda: None

        def on_frame(frame: Frame, denoiser: Denoiser, _times: FrameTimes) -> None:
            warn(frame, denoiser)
            advance()

        loop = Live(source, models, sink, controls, every_frame=not live, on_frame=on_frame)
        status = Status(loop.record, stats_file, on_terminal=not total)
        stack.callback(status.finish)

        def tick() -> None:
            service.alive()
            status.tick()

        try:
            with terminated_like_interrupted():
                loop.run(limit, tick)
        except KeyboardInterrupt:
            if not (source.endless and loop.stats.processed):
                raise
        service.stopping()
    record = loop.record()
    counts = {name: record[name] for name in ("captured", "dropped", "damaged", "reconnects")}
    return Outcome(loop.stats, loop.model, _path(sink), [*source.failures, *sink.failures], counts)


def _open_sink(source: Source, outs: Sequence[str], options: Mapping[str, Any], *, live: bool = False) -> Guarded:
    return open_sink(
        outs, source, overwrite=options["overwrite"], show=options["show"], live=live, on_failure=_say_problem
    )


def _open_model(name: str, options: Mapping[str, Any]) -> Denoiser:
    return Denoiser(
        name,
        strength=options["strength"],
        sigma_255=options["sigma"],
        threads=options["threads"],
        card=options["card"],
    )


def _say_problem(line: str) -> None:
    say(f"error: {line}")


def _path(sink: Guarded) -> str | None:
    return str(sink.path) if sink.path else None


class _DetailWarning:
    """Says it once where the model works on less of a frame than there is."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, frame: Frame, denoiser: Denoiser) -> None:
        height, width = frame.pixels.shape[:2]
        seen = denoiser.sees_wh
        if self._said or seen is None or (width <= seen[0] and height <= seen[1]):
            return
        self._said = True
        say(
            f"warning: {denoiser.card.name} works at {seen[0]}x{seen[1]}: a picture of {width}x{height} comes back at "
            "its size, but without finer detail than that (the model camera keeps it)"
        )
