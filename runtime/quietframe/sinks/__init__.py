"""Sinks: where results go."""

from __future__ import annotations

from pathlib import Path

from quietframe.errors import OutputError
from quietframe.images import IMAGE_SUFFIXES
from quietframe.sinks.base import NullSink, Sink, Tee
from quietframe.sinks.pictures import PictureSink
from quietframe.sinks.video import CODECS, VideoSink
from quietframe.sinks.window import WindowSink
from quietframe.sources import Source

__all__ = ["Sink", "default_output", "open_sink"]


def open_sink(out: str | Path | None, source: Source, *, overwrite: bool = False, show: bool = False) -> Sink:
    """Open a place for a source's results: `with open_sink(...) as sink: sink.write(frame, pixels)`.

    Nothing is written before the first result; that results can be written is checked here, before any work.

    Args:
        out: for pictures a file or folder (`PictureSink`), for moving sources a video file (`VideoSink`); None:
            nothing is written.
        source: whose results they will be: its names, frame rate and files.
        overwrite: replace files that exist. The source's own files never are.
        show: show the results in a window as well.

    Raises:
        OutputError: the results cannot go there.
    """
    sinks: list[Sink] = []
    try:
        if out is not None:
            kind = VideoSink if source.moving else PictureSink
            sinks.append(kind(Path(out), source, overwrite=overwrite))
        if show:
            sinks.append(WindowSink(source))
    except OSError as exc:  # a folder on the way that may not be entered, a name that is too long
        raise OutputError(f"{out}: cannot be written ({exc.strerror or exc})") from exc
    if len(sinks) == 1:
        return sinks[0]
    return Tee(sinks) if sinks else NullSink()


def default_output(source: Source) -> Path | None:
    """Where results go if nothing else is said, beside the source; None where that cannot be guessed.

    `photo.jpg` gives `photo.denoised.jpg`, `clip.mp4` gives `clip.denoised.mp4` and the folder `shots` gives the
    folder `shots-denoised`. A suffix that cannot be written becomes .png or .mp4.
    """
    if source.path is None:
        return None
    path = source.path
    if path.is_dir():
        path = path.resolve()  # "." has no name to go by
        return path.with_name(f"{path.name}-denoised") if path.name else None
    known, otherwise = (CODECS.keys(), ".mp4") if source.moving else (IMAGE_SUFFIXES, ".png")
    suffix = path.suffix if path.suffix.lower() in known else otherwise
    return path.with_name(f"{path.stem}.denoised{suffix}")
