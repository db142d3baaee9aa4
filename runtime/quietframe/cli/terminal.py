"""What commands say to a person: lines and progress on stderr, and nothing of what libraries print there."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from quietframe.descriptors import STDERR, diverted


def say(text: str) -> None:
    """Print one line to stderr."""
    click.echo(f"quietframe: {text}", err=True)


def printable(text: str) -> str:
    """A text for one field of a line: control characters and undecodable bytes of a file name become escapes."""
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else ascii(char)[1:-1] for char in text
    )


def json_line(record: Mapping[str, Any]) -> str:
    """A record as JSON on one line, in UTF-8 as it is; in ASCII where a file name has bytes that are no UTF-8."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(record)
    return text


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep off the terminal what C libraries print to stderr: OpenCV, FFmpeg, libpng, LiteRT.

    Each has a switch of its own or none, so the file descriptor itself goes to /dev/null, and Python's `sys.stderr`
    to a copy of where it went before. Whoever sets OPENCV_LOG_LEVEL or OPENCV_FFMPEG_LOGLEVEL wants to see it all.
    """
    if "OPENCV_LOG_LEVEL" in os.environ or "OPENCV_FFMPEG_LOGLEVEL" in os.environ:
        yield
        return
    python_stderr, encoding = sys.stderr, sys.stderr.encoding
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


@contextlib.contextmanager
def progress(total: int | None, what: str) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr where that is a terminal; gives the function to call after each step.

    total: how many steps there will be, or None.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
