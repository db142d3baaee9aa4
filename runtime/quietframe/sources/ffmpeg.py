"""FFmpeg as OpenCV brings it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import cv2

_LOG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
_used = False


def open_capture(spec: str, parameters: Sequence[int] = ()) -> cv2.VideoCapture:
    """Open a file or address with FFmpeg and have it print nothing: addresses with passwords would be among it.

    OpenCV asks the environment for FFmpeg's log level when it is first used in a process, and never again. Where
    someone else used it before, or set OPENCV_FFMPEG_LOGLEVEL, that stays.
    """
    global _used  # noqa: PLW0603
    quiet = not _used and _LOG_LEVEL not in os.environ
    _used = True
    if quiet:
        os.environ[_LOG_LEVEL] = "-8"
    try:
        return cv2.VideoCapture(spec, cv2.CAP_FFMPEG, list(parameters))
    finally:
        if quiet:
            os.environ.pop(_LOG_LEVEL, None)


def positive(value: float) -> float | None:
    """A property of a capture; None where FFmpeg does not know it."""
    return float(value) if math.isfinite(value) and value > 0 else None
