"""Redirect file descriptors: what C libraries print passes Python by."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

STDOUT, STDERR = 1, 2


@contextmanager
def diverted(descriptor: int, target: int) -> Iterator[int]:
    """Redirect what is written to `descriptor` to `target`. Yields a descriptor of where it went before.

    It holds for the whole process, all threads included. Raises OSError if `descriptor` is closed.
    """
    kept = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield kept
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


@contextmanager
def suppress_native_output() -> Iterator[None]:
    """Suppress native output on stderr: that of OpenCV, FFmpeg, libpng and LiteRT. Python's `sys.stderr` still works.

    Each library has a switch of its own or none, so the file descriptor itself goes to /dev/null. Nothing is suppressed
    if OPENCV_LOG_LEVEL or OPENCV_FFMPEG_LOGLEVEL is set, or if standard error is closed.
    """
    python_stderr: TextIO | None = sys.stderr
    if python_stderr is None or "OPENCV_LOG_LEVEL" in os.environ or "OPENCV_FFMPEG_LOGLEVEL" in os.environ:
        yield
        return
    encoding = python_stderr.encoding
    python_stderr.flush()
    with open(os.devnull, "wb") as null, diverted(STDERR, null.fileno()) as kept:  # noqa: PTH123
        if python_stderr is not sys.__stderr__:  # someone captures it, and it is not our descriptor
            yield
            return
        with os.fdopen(os.dup(kept), "w", buffering=1, encoding=encoding, errors="backslashreplace") as copy:
            sys.stderr = copy
            try:
                yield
            finally:
                sys.stderr = python_stderr
