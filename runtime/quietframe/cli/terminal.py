"""Output of the commands: tables and JSON on stdout; messages, progress and what is logged on stderr."""

from __future__ import annotations

import json
import logging
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import click

from quietframe.log import log, origin

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from quietframe.pipeline import Pipeline

PIPE_WIDTH = 160
"""Columns of tables where the output is no terminal."""

_PREFIXES = {logging.WARNING: "warning: ", logging.ERROR: "error: "}


def say(text: str) -> None:
    """Print one line to stderr."""
    click.echo(f"quietframe: {printable(text)}", err=True)


def printable(text: str) -> str:
    """Return a text for one field of a line: control characters and undecodable bytes of a file name are escaped."""
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else ascii(char)[1:-1] for char in text
    )


def json_line(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON, on one line without `indent`: in UTF-8, or in ASCII where a file name is not UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def joined(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> str | None:
    """Join the values of an option that takes a list with commas and was given several times: none is ignored."""
    return ",".join(values) if values else None


def stdout_console() -> Console:
    """Return what prints tables to stdout: as wide as the terminal, through a pipe `PIPE_WIDTH` columns."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, names: bool = True) -> None:
    """Print a table to stdout. A column whose name starts with `>` is aligned to the right.

    names: the first column holds names, which stay whole however narrow the terminal is.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        right = column.startswith(">")
        short = right or (number == 0 and names)  # numbers stay whole; text wraps where the terminal is narrow
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", no_wrap=short, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    stdout_console().print(table)


def progress_bar(console: Console, *, counted: bool = True) -> Progress:
    """Make a Rich progress bar that vanishes at its end, drawn on a terminal only.

    counted: whether the total is known, so that there are a bar, a count and the time left beside the description.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) if counted else ()
    return Progress(
        TextColumn("{task.description}", markup=False),
        *bar,
        console=console,
        transient=True,
        refresh_per_second=4,
        disable=not console.is_terminal,
    )


class LogLines(logging.Handler):
    """Show on stderr what is logged, in a `with` statement."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._level_before = log.level

    def __enter__(self) -> Self:
        log.addHandler(self)
        log.setLevel(logging.INFO)
        return self

    def __exit__(self, *exc_info: object) -> None:
        log.removeHandler(self)
        log.setLevel(self._level_before)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record as one line; Rich moves a bar below it."""
        name = f"{origin.get()}: " if origin.get() else ""
        say(f"{_PREFIXES.get(record.levelno, '')}{name}{record.getMessage()}")


class Display(LogLines):
    """Show a pipeline on stderr: what it logs, and on a terminal a progress bar or, without an end, a status line.

    Use it in a `with` statement, and call `tick` while the pipeline runs.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline
        self._progress: Progress | None = None

    def __exit__(self, *exc_info: object) -> None:
        if self._progress:
            self._progress.stop()
        super().__exit__(*exc_info)

    def tick(self) -> None:
        """Show the present state."""
        if self._progress is None and not (sys.stderr and sys.stderr.isatty()):
            return
        total, record = self._pipeline.total, self._pipeline.record()
        if self._progress is None:
            from rich.console import Console

            self._progress = progress_bar(Console(file=sys.stderr), counted=bool(total))
            self._progress.add_task("denoising", total=total)
            self._progress.start()
        text = "denoising" if total else _status_line(record)
        self._progress.update(self._progress.task_ids[0], description=text, completed=record["processed"])


def _status_line(record: Mapping[str, Any]) -> str:
    if record["paused"]:
        return "paused"
    if record["age_p50_ms"] is None:
        return "waiting for the first frame"
    parts = [
        f"{record['fps']:.1f} fps",
        f"latency {record['age_p50_ms']:.0f} ms (p95 {record['age_p95_ms']:.0f})",
        f"{record['processed']} frames",
        f"{record['dropped']} dropped",
        str(record["model"]),
    ]
    if record["sigma_255"] is not None:
        parts.append(f"noise {record['sigma_255']:.1f}")
    return " · ".join(parts)
