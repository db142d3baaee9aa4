"""`quietframe denoise`: noisy images, videos or cameras in, clean ones out."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from quietframe.cli import EXIT_DONE, EXIT_FAILED, NO_ISOLATE
from quietframe.cli.archive import RAY, WORKERS, denoise_by_ray
from quietframe.cli.service import notify_service, stopped_by_signals
from quietframe.cli.terminal import joined
from quietframe.errors import OutputError, UsageError

if TYPE_CHECKING:
    from quietframe.pipeline import Result


@click.command(short_help="Denoise an image, folder, video or camera.")
@click.argument("source")
@click.argument("others", nargs=-1, metavar="")
@click.option(
    "-o", "--out", "outs", multiple=True, metavar="OUT", help="Where to write; more than once: to all of them."
)
@click.option(
    "-m",
    "--model",
    multiple=True,
    callback=joined,
    help="A built-in model's name, or a model file; several with commas, or auto: the best that holds --fps.  "
    "[default: video; camera for images and --single-frame]",
)
@click.option("--single-frame", is_flag=True, help="Fuse no frames; the noise level alone is tracked over them.")
@click.option("--card", metavar="FILE", help="The model's card, for a model file without one.")
@click.option("--camera", metavar="FILE", help="What quietframe calibrate measured: takes out hot pixels and stripes.")
@NO_ISOLATE
@click.option("--strength", type=float, default=1.0, show_default=True, help="How much to denoise; 0: not at all.")
@click.option(
    "--luma-strength", type=float, metavar="SHARE", help="How much of it to remove from brightness.  [0 to 1]"
)
@click.option("--chroma-strength", type=float, metavar="SHARE", help="How much of it to remove from colours.  [0 to 1]")
@click.option(
    "--sigma", "sigma_255", type=float, metavar="S255", help="Noise level in 8-bit levels, instead of estimating it."
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: the physical cores.")
@click.option("--to-8bit", is_flag=True, help="Reduce images of 16 bits a channel to 8.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@click.option("--skip-existing", is_flag=True, help="Leave out images whose result exists, to go on with a folder.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["bmp", "jpg", "png", "tif", "webp", "mpegts", "mjpeg", "bgr", "i420"]),
    help="Of a folder's images (bmp to webp) or of -o - (mpegts to i420).  [default: their own, or png; mpegts]",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    metavar="N",
    help="Quality of JPEG images.  [default: 95]",
)
@click.option(
    "--strip-metadata", is_flag=True, help="Write images without colour profile, EXIF, XMP, resolution and comments."
)
@click.option(
    "--codec",
    type=click.Choice(["h264", "hevc", "ffv1", "mjpeg"]),
    help="Codec of a video; ffv1 is lossless.  [default: h264]",
)
@click.option("--encoder", metavar="NAME", help="FFmpeg's encoder instead, as h264_v4l2m2m on boards that have it.")
@click.option(
    "--crf", type=click.IntRange(0, 51), metavar="N", help="Quality of h264 and hevc; lower is better.  [default: 20]"
)
@click.option(
    "--no-audio", "audio", flag_value=False, default=True, help="Leave out sound, subtitles, chapters and titles."
)
@click.option(
    "--input-fps",
    type=click.FloatRange(min=0.1, max=1000),
    metavar="N",
    help="The frame rate of a video that holds no times, as raw H.264.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1, 178_956_970),
    metavar="N",
    default=80_000_000,
    show_default=True,
    help="Refuse larger images and frames.",
)
@RAY
@WORKERS
@click.option("--show", is_flag=True, help="Show the result in a window; q closes it.")
@click.option(
    "--serve",
    is_flag=False,
    flag_value="127.0.0.1:8080",
    metavar="[HOST:PORT]",
    help="Show it in a browser, before and after, with controls.  [without an address: 127.0.0.1:8080]",
)
@click.option(
    "--token",
    envvar="QUIETFRAME_TOKEN",
    metavar="TOKEN",
    help="Access token for the preview URL; or set QUIETFRAME_TOKEN.  [default: random]",
)
@click.option("--live", is_flag=True, help="Play a recording in real time; frames drop where the model is slow.")
@click.option("--every-frame", is_flag=True, help="Drop no frame, whatever the source.")
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=1000),
    metavar="N",
    help="The frame rate to hold: says whether the model does, or chooses one that does.  [default: the source's]",
)
@click.option(
    "--max-fps",
    type=click.FloatRange(min=0.1, max=1000),
    metavar="N",
    help="Take at most N frames a second of a camera or stream, evenly, and skip the others.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a stream may stay silent.",
)
@click.option(
    "--json-stats", "stats_file", metavar="FILE", help="Write counts, latencies and times there, a JSON line a second."
)
@click.option("--frames", "max_frames", type=click.IntRange(min=1), metavar="N", help="Stop after N frames.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def denoise(
    source: str,
    others: tuple[str, ...],
    outs: tuple[str, ...],
    model: str | None,
    ray: str | None,
    workers: int | None,
    serve: str | None,
    token: str | None,
    live: bool,
    every_frame: bool,
    as_json: bool,
    **settings: Any,
) -> int:
    """Denoise SOURCE: an image, a folder, a glob in quotes, a video, a camera (0, /dev/video0), a stream or test:.

    Without -o, photo.jpg goes to photo.denoised.jpg, clip.mp4 to clip.denoised.mp4 and the folder shots to
    shots-denoised; others need -o, --show or --serve. Images keep their names, transparency, grayscale and metadata.
    Videos (.mp4, .mkv, .avi) keep their times, colours, sound, subtitles and chapters. shots/%06d.png takes numbered
    images, - is standard output, rtsp://, rtmp:// and udp:// take a stream, null nothing. Ctrl-C leaves the images that
    are done and nothing of an unfinished video; the video of a camera or stream is finished by it.

    With --ray, SOURCE is a folder of images and videos, a list of files (NAME.txt, or -) or an address (s3://bucket/…).
    """
    if ray is not None:
        return denoise_by_ray(source, others, outs, model, ray, workers, settings, as_json=as_json)
    if workers is not None:
        raise UsageError("--workers is for --ray")
    from quietframe.cli.terminal import Display, json_line, say
    from quietframe.descriptors import suppress_native_output
    from quietframe.pipeline import Pipeline, PipelineConfig
    from quietframe.sinks import Sink, default_output
    from quietframe.sources import open_source
    from quietframe.sources.address import as_shown

    from_environment = click.get_current_context().get_parameter_source("token") is ParameterSource.ENVIRONMENT
    clashes = {
        f"expected one SOURCE, received {1 + len(others)}: name the folder, or put the glob in quotes": bool(others),
        "--json and -o - would both write to standard output: leave one out": as_json and "-" in outs,
        "--every-frame and --live exclude each other": every_frame and live,
        f"--model: expected a name, or names with commas between. Received: {model!r}": model is not None
        and not all(map(str.strip, model.split(","))),
        "--token is for the preview: add --serve": token is not None and serve is None and not from_environment,
        "--card describes one model: name one with --model": settings["card"]
        and (model is None or "," in model or model == "auto"),
    }
    for clash, is_there in clashes.items():
        if is_there:
            raise UsageError(clash)
    config = PipelineConfig(**settings, drop_frames=True if live else False if every_frame else None)
    with (
        suppress_native_output(),
        open_source(source, **config.for_source) as opened,
    ):
        if not opened.moving:
            moving_only = {"live": live, "every-frame": every_frame, "fps": config.fps, "serve": serve}
            for name, value in (moving_only | {"json-stats": config.stats_file}).items():
                if value:
                    raise UsageError(f"--{name} is for videos, cameras and streams: these are images")
        if not outs and not config.show and not serve and default_output(opened) is None:
            raise OutputError("no place for the result: say where to write it (-o OUT), or --show or --serve it")
        sinks: list[str | Sink] = [*outs]
        if serve:
            from quietframe.preview import Preview  # only here: the server's modules take a while to load

            sinks.append(Preview(serve, token=token))
        pipeline = Pipeline(opened, model, sinks or None, config)
        states = chain(["READY=1"], repeat("WATCHDOG=1"))

        def tick() -> None:
            notify_service("STOPPING=1" if pipeline.finishing else next(states))
            display.tick()

        with Display(pipeline) as display, stopped_by_signals(pipeline.stop):
            result = pipeline.run(tick)
        if result.interrupted:
            raise KeyboardInterrupt
        for failure in result.failures:
            say(f"error: {failure}")
        say(sentence(result))
    if as_json:
        output = {"output": result.output and str(result.output)}
        click.echo(json_line({"source": as_shown(source), **asdict(result), **output}))
    return EXIT_FAILED if result.failures else EXIT_DONE


def sentence(result: Result) -> str:
    """Return what a pipeline did, in words."""
    failed = f", {_counted(len(result.failures), 'failure')}" if result.failures else ""
    existed = f"{_counted(result.skipped, 'result')} existed already"
    if not result.frames and not result.failures and result.skipped:
        return f"nothing to do: {'all ' if result.skipped > 1 else ''}{existed}"
    skipped = f", {existed}" if result.skipped else ""
    if not result.frames:
        return f"no frame was denoised{failed}{skipped}"
    where = f"written to {' and '.join(result.places)}" if result.places else "nothing written"
    lost = f" ({result.dropped} dropped: the model was slower than they came)" if result.dropped else ""
    level_255 = result.noise_p50_sigma_255
    noise = "" if level_255 is None else f", noise level {level_255:.1f} of 255"
    times = f"{result.denoise_p50_ms:.1f} ms a frame (median; p95 {result.denoise_p95_ms:.1f})"
    return f"{_counted(result.frames, 'frame')}{lost}{failed}{skipped}, {times}{noise}; {where}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"
