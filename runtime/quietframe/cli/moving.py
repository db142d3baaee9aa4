"""The other kind of run of `quietframe denoise`: a moving source in the real-time loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from quietframe.cli.live import (
    Status,
    model_names,
    openers,
    say_step,
    stats_writer,
    stopped_by_signals,
)
from quietframe.cli.runs import DetailWarning, Outcome, open_model, open_outputs, say_problem, written
from quietframe.cli.service import Service
from quietframe.cli.terminal import progress, say
from quietframe.errors import UsageError
from quietframe.live.controls import Controls, Settings
from quietframe.live.loop import Live
from quietframe.live.models import AUTO, Models
from quietframe.live.stats import FrameTimes
from quietframe.sources import Frame, Source
from quietframe.tasks import Denoiser
from quietframe.zoo import camera_models

if TYPE_CHECKING:
    from quietframe.live.preview import Preview

_FPS = 30.0
"""The rate that `auto` holds where neither the user nor the source names one."""


def run_moving(source: Source, outs: Sequence[str], options: Mapping[str, Any]) -> Outcome:
    """Run the real-time loop until the source ends, the limit is reached or the user has seen enough.

    Cameras and streams drop frames where the model is slow, and so does whatever is played live, shown or served; of
    other sources every frame is done, as fast as may be.
    """
    _check(options)
    live = not options["every_frame"] and any((source.real_time, options["live"], options["show"], options["serve"]))
    names = model_names(options["model"])
    others = [name for name in camera_models() if name not in names] if options["serve"] and not options["card"] else []
    chosen = AUTO if len(names) > 1 or options["fps"] else names[0]
    controls = Controls(Settings(options["strength"], chosen), [AUTO, *names, *others])
    models = Models(
        openers(names, others, partial(open_model, options=options)),
        fps=options["fps"] or source.fps or _FPS,
        on_step=say_step,
        on_problem=say_problem,
    )
    preview = _preview(options, controls, lambda: loop.record())  # noqa: PLW0108  the loop is made below, of its sinks
    sink = open_outputs(source, outs, options, live=live, more={"--serve": preview} if preview else None)
    limit, warn, service = options["frames"], DetailWarning(), Service()
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

        if preview:
            preview.start()
            say(f"preview: {preview.url}")
        with stopped_by_signals(loop.stop):
            loop.run(limit, tick)
        if loop.stopped and not ((source.endless or not outs) and loop.stats.processed):
            raise KeyboardInterrupt
        service.stopping()
    record = loop.record()
    counts = {name: record[name] for name in ("captured", "dropped", "damaged", "reconnects")}
    return Outcome(loop.stats, loop.model, written(sink), [*source.failures, *sink.failures], counts)


def _check(options: Mapping[str, Any]) -> None:
    if options["every_frame"] and options["live"]:
        raise UsageError("--every-frame and --live exclude each other")
    if options["card"] and len(model_names(options["model"])) > 1:
        raise UsageError("--card describes one model: name one with --model")


def _preview(options: Mapping[str, Any], controls: Controls, record: Callable[[], Mapping[str, Any]]) -> Preview | None:
    """The preview that `--serve` asks for, not started yet; it shows the loop's record and the machine's health."""
    if not options["serve"]:
        return None
    from quietframe.live.health import Health
    from quietframe.live.preview import Preview

    health = Health()
    return Preview(options["serve"], controls, lambda: {**record(), **health()}, token=options["token"])
