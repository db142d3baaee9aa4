"""Sinks: where results go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quietframe.errors import OutputError
from quietframe.sinks.base import Guarded, NullSink, Sink
from quietframe.sinks.images import ImageOptions, ImageSink, NumberedSink, is_numbered
from quietframe.sinks.video import CODECS, VideoSink
from quietframe.sinks.window import WindowSink
from quietframe.sources import Source

__all__ = ["Guarded", "Sink", "default_output", "open_sink"]


NULL = "null"
"""As an output: results are made and dropped."""


def open_sink(
    out: str | Path | Sink | Sequence[str | Path | Sink] | None,
    source: Source,
    *,
    overwrite: bool = False,
    show: bool = False,
    live: bool = False,
    skip_existing: bool = False,
    image_format: str | None = None,
    quality: int = 95,
    strip_metadata: bool = False,
) -> Guarded:
    """Open places for a source's results: `with open_sink(...) as sink: sink.write(frame, pixels)`.

    Nothing is written before the first result; that results can be written is checked here, before any work. If one of
    several sinks fails later, that is logged and the others go on.

    Args:
        out: for images a file or folder (`ImageSink`); for moving sources a video file (`VideoSink`) or numbered
            images (`shots/%06d.png`); `null`, nothing; a sink of your own; or several of these. None: none.
        source: whose results they will be: its names, frame rate and files.
        overwrite: replace files that exist. The source's own files never are.
        show: show the results in a window as well.
        live: the source's frames come at their own times, and some will be dropped: see `VideoSink`.
        skip_existing: leave out images whose file exists.
        image_format: the format of images that are not named one by one, as a suffix without its dot; None: the
            source's, or PNG where that cannot be written.
        quality: of JPEGs, in [1, 100].
        strip_metadata: write images without colour profile, EXIF, XMP, resolution and comments.

    Raises:
        OutputError: the results cannot go there.
    """
    options = ImageOptions(overwrite, skip_existing, image_format, quality, strip_metadata)
    outs = [out] if isinstance(out, str | Path | Sink) else list(out or ())
    sinks: dict[str, Sink] = {}
    for number, place in enumerate(outs):
        if isinstance(place, Sink):
            sinks[f"{type(place).__name__} {number}"] = place
            continue
        if str(place) in sinks:
            raise OutputError(f"{place}: given twice")
        try:
            sinks[str(place)] = _open(str(place), source, options, live=live)
        except OSError as exc:  # a folder on the way that may not be entered, a name that is too long
            raise OutputError(f"{place}: cannot be written ({exc.strerror or exc})") from exc
    if show:
        sinks["--show"] = WindowSink(source)
    return Guarded(sinks)


def _open(out: str, source: Source, options: ImageOptions, *, live: bool) -> Sink:
    if out == NULL:
        return NullSink()
    if not source.moving:
        return ImageSink(Path(out), source, options)
    if is_numbered(out):
        return NumberedSink(Path(out), options)
    return VideoSink(Path(out), source, overwrite=options.overwrite, live=live)


def default_output(source: Source, image_format: str | None = None) -> Path | None:
    """Where results go if nothing else is said, beside the source; None where that cannot be guessed.

    `photo.jpg` gives `photo.denoised.jpg`, `clip.mp4` gives `clip.denoised.mp4` and the folder `shots` gives the
    folder `shots-denoised`. A suffix that cannot be written becomes .png or .mp4.

    image_format: as of `open_sink`.
    """
    if source.path is None:
        return None
    path = source.path
    if path.is_dir():
        path = path.resolve()  # "." has no name to go by
        return path.with_name(f"{path.name}-denoised") if path.name else None
    path = path.with_name(f"{path.stem}.denoised{path.suffix}")
    if not source.moving:
        return (
            ImageOptions(format=image_format).rename(path) if source.path.suffix else path.with_name(f"{path.name}.png")
        )
    return path if path.suffix.lower() in CODECS else path.with_suffix(".mp4")
