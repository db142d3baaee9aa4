"""Output of the commands: tables and JSON on stdout; messages, progress and what is logged on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import click

from quietframe.log import log

if TYPE_CHECKING:
    from quietframe.pipeline import Pipeline

PIPE_WIDTH = 400
"""Columns where the output is no terminal: a reader of a pipe can scroll, and a folded cell cannot be searched."""

_CLEAR_LINE = "\r\x1b[2K"
_STATUS_PERIOD_S = 1.0
_PREFIXES = {logging.WARNING: "warning: ", logging.ERROR: "error: "}


def say(text: str) -> None:
    """Print one line to stderr."""
    click.echo(f"quietframe: {text}", err=True)


def printable(text: str) -> str:
    """Return a text for one field of a line: control characters and undecodable bytes of a file name are escaped."""
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else ascii(char)[1:-1] for char in text
    )


def json_line(record: Mapping[str, Any]) -> str:
    """Return a record as JSON on one line: in UTF-8, or in ASCII where a file name has bytes that are not UTF-8."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(record)
    return text


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table to stdout. A column whose name starts with `>` is aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    console.print(table)


class Display(logging.Handler):
    """Show a pipeline on stderr: what it logs, and on a terminal a progress bar or, without an end, a status line.

    Use it in a `with` statement, and call `tick` while the pipeline runs.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(logging.INFO)
        self._pipeline = pipeline
        self._on_terminal = sys.stderr.isatty()
        self._next_s = 0.0
        self._bar: Any = None
        self._line_shown = False
        self._level_before = log.level

    def __enter__(self) -> Self:
        log.addHandler(self)
        log.setLevel(logging.INFO)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar:
            self._bar.stop()
        self._clear_line()
        log.removeHandler(self)
        log.setLevel(self._level_before)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record as one line."""
        self._clear_line()
        say(_PREFIXES.get(record.levelno, "") + record.getMessage())

    def tick(self) -> None:
        """Show the present state."""
        if not self._on_terminal:
            return
        if self._pipeline.total:
            self._show_progress(self._pipeline.total)
        elif time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _STATUS_PERIOD_S
            sys.stderr.write(_CLEAR_LINE + _status_line(self._pipeline.record()))
            sys.stderr.flush()
            self._line_shown = True

    def _show_progress(self, total: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._bar.add_task("denoising", total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._pipeline.record()["processed"])

    def _clear_line(self) -> None:
        if self._line_shown:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()
            self._line_shown = False


def _status_line(record: Mapping[str, Any]) -> str:
    if record["paused"]:
        return "paused"
    if record["age_p50_ms"] is None:
        return "waiting for the first frame"
    parts = [
        f"{record['fps']:.1f} fps",
        f"age {record['age_p50_ms']:.0f} ms (p95 {record['age_p95_ms']:.0f})",
        f"{record['processed']} frames",
        f"{record['dropped']} dropped",
        str(record["model"]),
    ]
    if record["sigma_255"] is not None:
        parts.append(f"noise {record['sigma_255']:.1f}")
    return " · ".join(parts)
