"""`quietframe classify`: a label and a score for each image."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, NO_ISOLATE
from quietframe.cli.archive import RAY, WORKERS, classify_by_ray
from quietframe.cli.terminal import json_line, printable, say
from quietframe.descriptors import suppress_native_output
from quietframe.errors import SourceError, UsageError

if TYPE_CHECKING:
    from quietframe.tasks import Classification, Classifier, Denoiser


@click.command(short_help="Classify images.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-m", "--model", default="digits", show_default=True, help="A built-in model's name, or a model file.")
@click.option("--denoise", "denoise_with", metavar="M2", help="Denoise with this model first.")
@click.option("--card", metavar="FILE", help="The classifier's card, for a model file without one.")
@NO_ISOLATE
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads. Default: the physical cores.")
@click.option("--to-8bit", is_flag=True, help="Reduce images of 16 bits a channel to 8.")
@RAY
@WORKERS
@click.option("-o", "--out", metavar="FILE.parquet", help="With --ray: where the labels go.")
@click.option("--overwrite", is_flag=True, help="Replace that file if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each image, with all scores.")
def classify(
    sources: tuple[str, ...],
    model: str,
    denoise_with: str | None,
    card: str | None,
    threads: int | None,
    to_8bit: bool,
    ray: str | None,
    workers: int | None,
    out: str | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Classify each SOURCE: images, a folder, a glob in quotes, a video, a camera (0, /dev/video0) or test:.

    Prints a line for each image: its name (below a folder or glob, with the sub-folders; of a video's frames, their
    number), the label and the score, with tabs between. A model that denoises and classifies needs no --denoise.

    With --ray, SOURCE is a folder of images and videos, a list of files (NAME.txt, or -) or an address (s3://bucket/…),
    and a Parquet file (-o) takes the labels.
    """
    if ray is not None:
        settings = {"model": model, "denoise_with": denoise_with, "card": card, "threads": threads or 1}
        settings |= {"to_8bit": to_8bit, "overwrite": overwrite}
        return classify_by_ray(sources, out, ray, workers, settings, as_json=as_json)
    if workers is not None or out is not None or overwrite:
        raise UsageError("--workers, -o and --overwrite are for --ray")
    from quietframe.sources import open_source
    from quietframe.tasks import Classifier, Denoiser

    failures: list[str] = []
    with suppress_native_output(), ExitStack() as stack:
        opened = [stack.enter_context(open_source(source, to_8bit=to_8bit)) for source in sources]
        classifier = Classifier(model, threads=threads, card=card)
        denoiser = Denoiser(denoise_with, threads=threads) if denoise_with is not None else None
        if denoiser:
            _warn_of_small_images(denoiser, classifier)
        for source in opened:
            try:
                for frame in source:
                    # Straight from the denoiser's size to the classifier's: by way of the frame's own it would blur.
                    pixels = denoiser(denoiser.fit(frame.pixels)) if denoiser else frame.pixels
                    _print(frame.name or str(frame.index), classifier(pixels), as_json=as_json)
            except SourceError as exc:
                if len(opened) == 1:
                    raise
                failures.append(str(exc))
            failures += source.failures
        for failure in failures:
            say(f"error: {failure}")
    return EXIT_FAILED if failures else EXIT_DONE


def _print(name: str, answer: Classification, *, as_json: bool) -> None:
    if as_json:
        record = {"name": name, "label": answer.label, "score": answer.score, "scores": dict(answer.scores)}
        click.echo(json_line(record))
    else:
        click.echo(f"{printable(name)}\t{answer.label}\t{answer.score:.3f}")


def _warn_of_small_images(denoiser: Denoiser, classifier: Classifier) -> None:
    """Say it where the denoiser's size is below what the classifier looks at."""
    seen, size_hw = denoiser.sees_wh, classifier.card.spatial.size_hw
    if seen is not None and size_hw is not None and (seen[0] < size_hw[1] or seen[1] < size_hw[0]):
        say(
            f"warning: {denoiser.card.name} works at {seen[0]}x{seen[1]}: {classifier.card.name}, which takes "
            f"{size_hw[1]}x{size_hw[0]}, sees no finer detail than that"
        )
