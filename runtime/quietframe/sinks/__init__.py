"""Sinks: where results go."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from quietframe.errors import OutputError, UsageError
from quietframe.sinks.base import Guarded, NullSink, Sink, SinkOptions
from quietframe.sinks.encoder import EncoderError, Plan
from quietframe.sinks.images import ImageSink, NumberedSink, check_numbered, heeded_by_images, is_numbered, renamed
from quietframe.sinks.stream import PIPES, STDOUT, StreamSink, form_of_address
from quietframe.sinks.video import MAX_CRF, SUFFIXES, VideoSink, form_of_file
from quietframe.sinks.window import WindowSink
from quietframe.sources import Source
from quietframe.sources.address import as_shown, is_network
from quietframe.sources.images import ImageSource

__all__ = [
    "HEEDED_BY",
    "MAX_CRF",
    "PIPES",
    "STDOUT",
    "SUFFIXES",
    "Guarded",
    "Sink",
    "SinkOptions",
    "check_output",
    "default_output",
    "heeded_by",
    "open_sink",
    "refuse_unheeded",
    "renamed",
]


NULL = "null"
"""As an output: results are made and dropped."""

HEEDED_BY = {
    "skip_existing": "images, not recordings",
    "image_format": "images named after their source or for standard output",
    "quality": "JPEG images",
    "strip_metadata": "images",
    "codec": "videos",
    "encoder": "videos",
    "crf": "videos",
    "audio": "videos",
}
"""Options that are refused where no sink heeds them, and what they are for."""
_FLAGS = {"image_format": "format", "audio": "no-audio"}  # that are not named as the option


def open_sink(
    out: str | Path | Sink | Sequence[str | Path | Sink] | None,
    source: Source,
    *,
    overwrite: bool = False,
    show: bool = False,
    live: bool = False,
    skip_existing: bool = False,
    image_format: str | None = None,
    quality: int | None = None,
    strip_metadata: bool = False,
    codec: str | None = None,
    encoder: str | None = None,
    crf: int | None = None,
    audio: bool = True,
    patient: bool = False,
) -> Guarded:
    """Open places for a source's results: `with open_sink(...) as sink: sink.write(frame, pixels)`.

    Nothing is written before the first result; that results can be written is checked here, before any work. If one of
    several sinks fails later, that is logged and the others go on.

    Args:
        out: for images a file or folder (`ImageSink`); for moving sources a video file (`VideoSink`) or numbered
            images (`shots/%06d.png`), `-` for standard output or an address (`StreamSink`); `null`, nothing; a sink of
            your own; or several of these. None: none.
        source: whose results they will be: its names, frame rate and files.
        overwrite: replace files that exist. The source's own files never are.
        show: show the results in a window as well.
        live: the source's frames come at their own times, and some will be dropped: see `VideoSink`.
        skip_existing: leave out images whose file exists, also one that another process writes meanwhile.
        image_format: the format of images that are not named one by one, as a suffix without its dot; None: the
            source's, or PNG where that cannot be written. Of standard output one of `PIPES`; None: `mpegts`.
        quality: of JPEGs, in [1, 100]; None: 95.
        strip_metadata: write images without colour profile, EXIF, XMP, resolution and comments.
        codec: of videos: `h264`, `hevc`, `ffv1` (lossless) or `mjpeg`; None: `h264`, in .avi `mjpeg`.
        encoder: FFmpeg's name of an encoder in place of a codec, as `h264_v4l2m2m`.
        crf: the quality of H.264 and H.265, lower is better; None: 20.
        audio: copy a video's sound, subtitles, chapters and titles.
        patient: a server that is away at the start is called again, as one is that goes away later; else that is an
            error.

    Raises:
        OutputError: the results cannot go there.
        UsageError: an option that concerns none of the places, as `quality` where no JPEG is written.
    """
    options = SinkOptions(
        overwrite, skip_existing, image_format, quality, strip_metadata, codec, encoder, crf, audio, patient
    )
    outs = [out] if isinstance(out, str | Path | Sink) else list(out or ())
    sinks: dict[str, Sink] = {}
    taken = set()
    for number, place in enumerate(outs):
        if isinstance(place, Sink):
            sinks[f"{type(place).__name__} {number}"] = place
            continue
        if (same := os.path.realpath(place)) in taken:
            raise OutputError(f"{as_shown(str(place))}: given twice")
        taken.add(same)
        try:
            sinks[str(place)] = _open(str(place), source, options, live=live)
        except OSError as exc:  # a folder on the way that may not be entered, a name that is too long
            raise OutputError(f"{place}: cannot be written ({exc.strerror or exc})") from exc
    refuse_unheeded(options, {name for sink in sinks.values() for name in sink.heeds})
    images = [sink for sink in sinks.values() if isinstance(sink, ImageSink)]
    if skip_existing and isinstance(source, ImageSource):
        source.skip(lambda name: all(sink.has(name) for sink in images))
    if show:
        sinks["--show"] = WindowSink(source)
    return Guarded(sinks)


def check_output(out: str, options: SinkOptions) -> Collection[str]:
    """Check a place for the frames of a camera, whatever is there now. Returns the options that it heeds.

    Raises:
        OutputError: frames of a camera can never go there, or not with that codec.
    """
    if out == NULL:
        return ()
    if not is_network(out) and is_numbered(out):
        check_numbered(Path(out))
        return heeded_by_images([Path(out)])
    form = form_of_address(out) if is_network(out) else form_of_file(Path(out))
    try:
        Plan(form, form.encoder(options), Fraction(1), crf=options.crf).check(None)
    except EncoderError as exc:
        raise OutputError(f"{as_shown(out)}: {exc}") from exc
    return VideoSink.heeds


def refuse_unheeded(options: Any, heeded: Collection[str]) -> None:
    """Raise UsageError for an option that is set and makes no difference.

    options: what has the attributes of `SinkOptions`. heeded: the names of those that make a difference.
    """
    for name, kind in HEEDED_BY.items():
        if getattr(options, name) != getattr(SinkOptions, name) and name not in heeded:
            raise UsageError(f"--{_FLAGS.get(name, name.replace('_', '-'))} is for {kind}, and none is written")


def heeded_by(place: Path) -> Collection[str]:
    """Names of the options that make a difference to a result of that name: an image, or a video."""
    return VideoSink.heeds if place.suffix.lower() in SUFFIXES else heeded_by_images([place])


def _open(out: str, source: Source, options: SinkOptions, *, live: bool) -> Sink:
    if out == NULL:
        return NullSink()
    if out == STDOUT or is_network(out):
        if not source.moving:
            raise OutputError(f"{as_shown(out)}: images go to a file or a folder")
        return StreamSink(out, source, options, live=live)
    if not source.moving:
        return ImageSink(Path(out), source, options)
    if is_numbered(out):
        return NumberedSink(Path(out), options)
    return VideoSink(out, source, options, live=live)


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
        return renamed(path if source.path.suffix else path.with_name(f"{path.name}.png"), image_format)
    return path if path.suffix.lower() in SUFFIXES else path.with_suffix(".mp4")
