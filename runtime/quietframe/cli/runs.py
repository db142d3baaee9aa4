"""What runs of `quietframe denoise` share, and the plainer kind of them: pictures, one by one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quietframe.cli.terminal import progress, say
from quietframe.errors import UsageError
from quietframe.live.stats import FrameTimes, Stats
from quietframe.sinks import Guarded, Sink, open_sink
from quietframe.sources import Frame, Source
from quietframe.tasks import Denoiser


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
    for name in ("live", "every_frame", "fps", "json_stats", "serve"):
        if options[name]:
            raise UsageError(f"--{name.replace('_', '-')} is for videos, cameras and streams: these are pictures")
    sink = open_outputs(source, outs, options)
    denoiser = open_model(options["model"], options)
    stats, warn, limit = Stats(), DetailWarning(), options["frames"]
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
    return Outcome(stats, denoiser.card.name, written(sink), [*source.failures, *sink.failures])


def open_outputs(
    source: Source,
    outs: Sequence[str],
    options: Mapping[str, Any],
    *,
    live: bool = False,
    more: Mapping[str, Sink] | None = None,
) -> Guarded:
    """The sinks that the options name, and `more`. Raises OutputError."""
    return open_sink(
        outs,
        source,
        overwrite=options["overwrite"],
        show=options["show"],
        live=live,
        more=more,
        on_failure=say_problem,
    )


def open_model(name: str, options: Mapping[str, Any]) -> Denoiser:
    """A model as the options want it. Raises what `Denoiser` raises."""
    return Denoiser(
        name,
        strength=options["strength"],
        sigma_255=options["sigma"],
        luma_strength=options["luma_strength"],
        chroma_strength=options["chroma_strength"],
        threads=options["threads"],
        card=options["card"],
    )


def say_problem(line: str) -> None:
    """Tell of something that failed while the rest goes on."""
    say(f"error: {line}")


def written(sink: Guarded) -> str | None:
    """Where results went."""
    return str(sink.path) if sink.path else None


class DetailWarning:
    """Says it once where the model works on less of a frame than there is."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, frame: Frame, denoiser: Denoiser) -> None:
        """Look at a frame and the model that ran."""
        height, width = frame.pixels.shape[:2]
        seen = denoiser.sees_wh
        if self._said or seen is None or (width <= seen[0] and height <= seen[1]):
            return
        self._said = True
        say(
            f"warning: {denoiser.card.name} works at {seen[0]}x{seen[1]}: a picture of {width}x{height} comes back at "
            "its size, but without finer detail than that (the model camera keeps it)"
        )
