"""`quietframe denoise`: noisy pictures, videos or cameras in, clean ones out."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.cli.terminal import json_line, progress, quiet_libraries, say
from quietframe.errors import OutputError

if TYPE_CHECKING:
    from quietframe.sinks import Sink
    from quietframe.sources import Frame, Source
    from quietframe.tasks import Denoiser


_KEPT = 100_000


@dataclass
class _Record:
    """What happened, frame by frame; of an endless source, the latest frames."""

    samples_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_KEPT))
    levels_255: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    frames: int = 0
    started_ns: int = field(default_factory=time.perf_counter_ns)

    def summary(self) -> dict[str, Any]:
        """The figures, with their units in the keys; None where there was no frame."""
        import numpy as np

        def ms(percent: float) -> float | None:
            return round(float(np.percentile(self.samples_ns, percent)) / 1e6, 3) if self.samples_ns else None

        return {
            "frames": self.frames,
            "denoise_p50_ms": ms(50),
            "denoise_p95_ms": ms(95),
            "noise_p50_sigma_255": round(float(np.median(self.levels_255)), 2) if self.levels_255 else None,
            "wall_s": round((time.perf_counter_ns() - self.started_ns) / 1e9, 3),
        }


@click.command(short_help="Denoise a picture, folder, video or camera.")
@click.argument("source")
@click.option("-o", "--out", metavar="OUT", help="Where to write; missing folders are made. Default: see above.")
@click.option("-m", "--model", default="camera", show_default=True, help="A built-in model's name, or a model file.")
@click.option("--card", metavar="FILE", help="The model's card, for a model file without one.")
@click.option("--strength", type=float, default=1.0, show_default=True, help="How much to denoise; 0: not at all.")
@click.option("--sigma", type=float, metavar="S255", help="The noise level in 8-bit levels, instead of estimating it.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: the physical cores.")
@click.option("--to-8bit", is_flag=True, help="Reduce pictures of 16 bits a channel to 8.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--show", is_flag=True, help="Show the result in a window; q closes it.")
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="Stop after N frames.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def denoise(
    source: str,
    out: str | None,
    model: str,
    card: str | None,
    strength: float,
    sigma: float | None,
    threads: int | None,
    to_8bit: bool,
    overwrite: bool,
    show: bool,
    frames: int | None,
    as_json: bool,
) -> int:
    """Denoise SOURCE: a picture, a folder, a glob in quotes, a video, a camera (0, /dev/video0) or test:.

    Without -o, photo.jpg goes to photo.denoised.jpg, clip.mp4 to clip.denoised.mp4 and the folder shots to
    shots-denoised; a glob, a camera and test: need -o or --show. Pictures keep their names, transparency and being
    gray. Videos keep their size, frame rate and frame count: .mp4 is small, .avi larger and better, .mkv lossless;
    sound is not kept. Ctrl-C leaves the pictures that are done and nothing of an unfinished video; a camera's video
    is finished by it.
    """
    from quietframe.sinks import default_output, open_sink
    from quietframe.sources import open_source
    from quietframe.tasks import Denoiser

    with quiet_libraries(), open_source(source, to_8bit=to_8bit) as opened:
        target = out if out is not None or show else default_output(opened)
        if target is None and not show:
            raise OutputError("no place for the result: say where to write it (-o OUT), or --show it")
        sink = open_sink(target, opened, overwrite=overwrite, show=show)
        denoiser = Denoiser(model, strength=strength, sigma_255=sigma, threads=threads, card=card)
        with sink:
            record = _run(opened, denoiser, sink, frames)
        for failure in opened.failures:
            say(f"error: {failure}")
        summary = record.summary()
        say(_sentence(summary, str(sink.path) if sink.path else None, len(opened.failures)))
    if as_json:
        origin = {"source": source, "output": str(sink.path) if sink.path else None, "model": denoiser.card.name}
        click.echo(json_line(origin | summary | {"failures": opened.failures}))
    return EXIT_FAILED if opened.failures else EXIT_DONE


def _run(source: Source, denoiser: Denoiser, sink: Sink, limit: int | None) -> _Record:
    """Denoise frame after frame until the source ends, the limit is reached or the user has seen enough."""
    from quietframe.noise_level import NoiseTracker

    record = _Record()
    warned = False
    level_of = denoiser.level_255
    if source.moving and denoiser.estimates:
        level_of = NoiseTracker(source.fps)
    total = min(limit or source.frame_count or 0, source.frame_count or limit or 0) or None
    try:
        with progress(total, "denoising") as advance:
            for frame in source:
                start_ns = time.perf_counter_ns()
                level_255 = level_of(frame.pixels)
                clean = denoiser(frame.pixels, sigma_255=level_255)
                record.samples_ns.append(time.perf_counter_ns() - start_ns)
                if level_255 is not None:
                    record.levels_255.append(level_255)
                sink.write(frame, clean)
                record.frames += 1
                warned = warned or _warn_of_lost_detail(denoiser, frame)
                advance()
                if record.frames == limit or not sink.wants_more:
                    break
    except KeyboardInterrupt:
        if not (source.endless and record.frames):
            raise
    return record


def _warn_of_lost_detail(denoiser: Denoiser, frame: Frame) -> bool:
    """Say it where the model works on less of a frame than there is. Returns whether it does."""
    height, width = frame.pixels.shape[:2]
    seen = denoiser.sees_wh
    if seen is None or (width <= seen[0] and height <= seen[1]):
        return False
    say(
        f"warning: {denoiser.card.name} works at {seen[0]}x{seen[1]}: a picture of {width}x{height} comes back at its "
        "size, but without finer detail than that (the model camera keeps it)"
    )
    return True


def _sentence(summary: dict[str, Any], path: str | None, failures: int) -> str:
    where = f"written to {path}" if path else "nothing written"
    if not summary["frames"]:
        return "no frame was denoised"
    count = f"{summary['frames']} frame{'s' if summary['frames'] > 1 else ''}"
    failed = f", {failures} failure{'s' if failures > 1 else ''}" if failures else ""
    level_255 = summary["noise_p50_sigma_255"]
    noise = "" if level_255 is None else f", noise level {level_255:.1f} of 255"
    return (
        f"{count}{failed}, {summary['denoise_p50_ms']:.1f} ms a frame (median; p95 {summary['denoise_p95_ms']:.1f})"
        f"{noise}; {where}"
    )
