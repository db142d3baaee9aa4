"""`quietframe denoise`: noisy pictures, videos or cameras in, clean ones out."""

from __future__ import annotations

from typing import Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.cli.terminal import json_line, quiet_libraries, say
from quietframe.errors import OutputError


@click.command(short_help="Denoise a picture, folder, video or camera.")
@click.argument("source")
@click.option(
    "-o", "--out", "outs", multiple=True, metavar="OUT", help="Where to write; more than once: to all of them."
)
@click.option(
    "-m",
    "--model",
    default="camera",
    show_default=True,
    help="A built-in model's name, or a model file; several with commas, or auto: the best that holds --fps.",
)
@click.option("--card", metavar="FILE", help="The model's card, for a model file without one.")
@click.option("--strength", type=float, default=1.0, show_default=True, help="How much to denoise; 0: not at all.")
@click.option(
    "--luma-strength", type=float, metavar="SHARE", help="How much of it to remove from brightness.  [0 to 1]"
)
@click.option("--chroma-strength", type=float, metavar="SHARE", help="How much of it to remove from colours.  [0 to 1]")
@click.option("--sigma", type=float, metavar="S255", help="The noise level in 8-bit levels, instead of estimating it.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: the physical cores.")
@click.option("--to-8bit", is_flag=True, help="Reduce pictures of 16 bits a channel to 8.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
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
    help="With --serve: what the link must hold, in place of a new one at every start; or set QUIETFRAME_TOKEN.",
)
@click.option("--live", is_flag=True, help="Play a recording at its own pace; frames drop where the model is slow.")
@click.option("--every-frame", is_flag=True, help="Drop no frame, whatever the source.")
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=1000),
    metavar="N",
    help="The frame rate to hold: says whether the model does, or chooses one that does.  [default: the source's]",
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
@click.option("--json-stats", metavar="FILE", help="Write counts, ages and times there, a JSON line a second.")
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="Stop after N frames.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def denoise(source: str, outs: tuple[str, ...], timeout_s: float, to_8bit: bool, as_json: bool, **options: Any) -> int:
    """Denoise SOURCE: a picture, a folder, a glob in quotes, a video, a camera (0, /dev/video0), a stream or test:.

    Without -o, photo.jpg goes to photo.denoised.jpg, clip.mp4 to clip.denoised.mp4 and the folder shots to
    shots-denoised; others need -o, --show or --serve. Pictures keep their names, transparency and being gray. Videos
    keep their size, frame rate and frame count: .mp4 is small, .avi larger and better, .mkv lossless (of a camera or
    stream like .avi); sound is not kept. shots/%06d.png takes numbered pictures, null nothing. Ctrl-C leaves the
    pictures that are done and nothing of an unfinished video; the video of a camera or stream is finished by it.
    """
    from quietframe.cli.moving import run_moving
    from quietframe.cli.runs import run_pictures
    from quietframe.sinks import default_output
    from quietframe.sources import open_source
    from quietframe.sources.address import as_shown

    with quiet_libraries(), open_source(source, to_8bit=to_8bit, timeout_s=timeout_s) as opened:
        targets = list(outs)
        if not targets and not options["show"] and not options["serve"]:
            if (target := default_output(opened)) is None:
                raise OutputError("no place for the result: say where to write it (-o OUT), or --show or --serve it")
            targets.append(str(target))
        run = run_moving if opened.moving else run_pictures
        outcome = run(opened, targets, options)
        for failure in outcome.failures:
            say(f"error: {failure}")
        summary = outcome.summary()
        say(_sentence(summary, outcome.path, len(outcome.failures)))
    if as_json:
        origin = {"source": as_shown(source), "output": outcome.path, "model": outcome.model}
        click.echo(json_line(origin | summary | {"failures": outcome.failures}))
    return EXIT_FAILED if outcome.failures else EXIT_DONE


def _sentence(summary: dict[str, Any], path: str | None, failures: int) -> str:
    where = f"written to {path}" if path else "nothing written"
    if not summary["frames"]:
        return "no frame was denoised"
    count = f"{summary['frames']} frame{'s' if summary['frames'] > 1 else ''}"
    failed = f", {failures} failure{'s' if failures > 1 else ''}" if failures else ""
    lost = f" ({summary['dropped']} dropped: the model was slower than they came)" if summary.get("dropped") else ""
    level_255 = summary["noise_p50_sigma_255"]
    noise = "" if level_255 is None else f", noise level {level_255:.1f} of 255"
    times = f"{summary['denoise_p50_ms']:.1f} ms a frame (median; p95 {summary['denoise_p95_ms']:.1f})"
    return f"{count}{lost}{failed}, {times}{noise}; {where}"
