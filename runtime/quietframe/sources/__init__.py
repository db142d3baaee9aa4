"""Sources: where frames come from. A new kind is a file and a line in the table here."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from quietframe.decoding import MAX_PIXELS, PILLOW_MAX_PIXELS, PixelLimit
from quietframe.errors import SourceError, UsageError
from quietframe.sources.address import as_shown, is_network, scheme_of
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.camera import CAMERA, CameraSource
from quietframe.sources.images import ImageSource, SequenceSource, is_images, is_sequence
from quietframe.sources.picamera import PICAMERA, PicameraSource
from quietframe.sources.scene import SCENE, SceneSource
from quietframe.sources.stdin import STDIN, StdinSource
from quietframe.sources.video import VideoSource

__all__ = ["Frame", "Source", "check_source", "open_source"]

ACCEPTED = (
    "an image, a folder, a glob in quotes, a video file, a camera (0, /dev/video0, picam:0), an address (rtsp://, "
    "http://), - for standard input, sequence:25:shots for images as a video, or test: for a drawn scene"
)
_MOST_TIMEOUT_S = 86400.0


def open_source(
    spec: str | Path,
    *,
    to_8bit: bool = False,
    timeout_s: float = 10.0,
    input_fps: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Open whatever gives frames. docs/sources.md names all settings.

    Args:
        spec: an image, a folder of images (with all below it), a glob (`"shots/*.png"`), a video file, a camera
            (`"0"` or `"/dev/video0"`, `"/dev/video0?size=1280x720&fps=30&format=MJPG"`; a Raspberry Pi's as
            `"picam:0"`), a stream (`"rtsp://…"`, or `"http://…"` of JPEGs or of what FFmpeg knows), `"-"` for JPEGs or
            raw frames on standard input, images as a video (`"sequence:25:shots/*.png"`), or `"test:"`, a drawn
            moving scene. An image is known by its content, whatever its name.
        to_8bit: reduce images of more than 8 bits a channel to 8. Otherwise they are refused, or kept as they are where
            the source's `keep_16bit` is set.
        timeout_s: how long a stream may stay silent, in seconds: at the start that is an error, later it is reopened.
        input_fps: frames per second of a video that holds no times, as raw H.264 or JPEGs.
        max_pixels: refuse images and videos of more pixels a frame before they take memory; up to 178,956,970.

    Returns a source to iterate over once, inside a `with` statement. A stream's has its first frame by then.

    Raises:
        SourceError: there is no such thing, or it cannot be read. Of an address no password is repeated.
        UsageError: a timeout, a rate or a limit that is none.
    """
    if not 0 < timeout_s <= _MOST_TIMEOUT_S:
        raise UsageError(f"Expected timeout_s in (0, {_MOST_TIMEOUT_S:g}]. Received: {timeout_s!r}")
    if input_fps is not None and not 0.1 <= input_fps <= 1000:
        raise UsageError(f"Expected input_fps in [0.1, 1000]. Received: {input_fps!r}")
    if not 1 <= max_pixels <= PILLOW_MAX_PIXELS:
        raise UsageError(f"Expected max_pixels in [1, {PILLOW_MAX_PIXELS}]. Received: {max_pixels!r}")
    text = str(spec)
    text = text.strip() if is_network(text) else text
    options = Options(to_8bit=to_8bit, timeout_s=timeout_s, input_fps=input_fps, limit=PixelLimit(max_pixels))
    check_source(text)
    try:
        for matches, open_kind in _KINDS:
            if matches(text):
                source = open_kind(text, options)
                source.limit = options.limit
                break
        else:
            raise SourceError(f"{text or '(nothing)'}: no such file, folder or camera: expected {ACCEPTED}")
    except OSError as exc:  # a folder on the way that may not be entered, a name that is too long
        raise SourceError(f"{as_shown(text)}: cannot be read ({exc.strerror or exc})") from exc
    if input_fps and not math.isclose(source.fps or 0, input_fps, rel_tol=1e-3):
        source.close()
        raise SourceError(f"{as_shown(text)}: has its own frame rate or needs none: leave --input-fps out")
    return source


def check_source(spec: str) -> None:
    """Raise SourceError for what can never be opened, whatever is there: a protocol or a setting that there is not."""
    for kind in (SCENE, STDIN, CAMERA, PICAMERA):
        if kind.matches(spec):
            kind.read(spec)
    if is_network(spec):
        from quietframe.sources.stream import CONNECT  # only here: HTTP and TLS take a while to load

        if scheme_of(spec.strip()) not in CONNECT:
            expected = ", ".join(f"{scheme}://" for scheme in CONNECT)
            raise SourceError(f"{as_shown(spec)}: no address that is supported: expected {expected}")


def _open_stream(spec: str, options: Options) -> Source:
    from quietframe.sources.stream import StreamSource

    return StreamSource(spec, options)


_KINDS: tuple[tuple[Callable[[str], bool], Callable[[str, Options], Source]], ...] = (
    (SCENE.matches, SceneSource),
    (is_sequence, SequenceSource),
    (is_network, _open_stream),
    (STDIN.matches, StdinSource),
    (CAMERA.matches, CameraSource),
    (PICAMERA.matches, PicameraSource),
    (is_images, ImageSource),
    (lambda spec: Path(spec).is_file(), VideoSource),  # whatever other file there is
)
