"""Suppress the output of converters."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import click

from quietframe import descriptors


@contextmanager
def suppress_native_output() -> Iterator[Callable[[str], None]]:
    """Suppress what converters print, by Python as well as natively. Yields a function that writes a line to stderr."""
    with descriptors.suppress_native_output():
        terminal = sys.stderr
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield lambda line: click.echo(line, file=terminal)
