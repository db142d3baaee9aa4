"""Sources: where frames come from. A new kind is a file and a line in the table here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.camera import CameraSource, is_camera
from quietframe.sources.pictures import PictureSource, is_pictures
from quietframe.sources.scene import SceneSource, is_scene
from quietframe.sources.sequence import SequenceSource, is_sequence
from quietframe.sources.video import VideoSource, is_file

__all__ = ["Frame", "Source", "open_source"]

ACCEPTED = (
    "a picture, a folder, a glob in quotes, a video file, a camera (0 or /dev/video0), or test: for a drawn scene"
)


def open_source(spec: str | Path, *, to_8bit: bool = False, timeout_s: float = 10.0) -> Source:
    """Open whatever gives frames.

    Args:
        spec: a picture, a folder of pictures (with all below it), a glob (`"shots/*.png"`), a video file, a camera
            (`"0"` or `"/dev/video0"`), or `"test:"`, a drawn moving scene (`SceneSource` names its settings). A
            picture is known by its content, whatever its name.
        to_8bit: reduce pictures of 16 bits a channel to 8 in place of refusing them.

    Returns a source to iterate over once, inside a `with` statement.

    Raises:
        SourceError: there is no such thing, or it cannot be read.
    """
    text = str(spec)
    try:
        for matches, open_kind in _KINDS:
            if matches(text):
                return open_kind(text, Options(to_8bit=to_8bit, timeout_s=timeout_s))
    except OSError as exc:  # a folder on the way that may not be entered, a name that is too long
        raise SourceError(f"{text}: cannot be read ({exc.strerror or exc})") from exc
    raise SourceError(f"{text or '(nothing)'}: no such file, folder or camera: expected {ACCEPTED}")


def _is_network(spec: str) -> bool:
    return re.match(r"[a-z][a-z0-9+.-]*://", spec, re.IGNORECASE) is not None


def _refuse_network(spec: str, options: Options) -> Source:
    # The address may hold a password: only its scheme is repeated.
    raise SourceError(f"{spec.partition(':')[0]}:// addresses are not supported yet: expected {ACCEPTED}")


_KINDS: tuple[tuple[Callable[[str], bool], Callable[[str, Options], Source]], ...] = (
    (is_scene, SceneSource),
    (is_sequence, SequenceSource),
    (_is_network, _refuse_network),
    (is_camera, CameraSource),
    (is_pictures, PictureSource),
    (is_file, VideoSource),  # whatever other file there is
)
