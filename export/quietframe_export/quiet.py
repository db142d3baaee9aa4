"""Suppress the converters' native output on the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quietframe.descriptors import STDERR, STDOUT, diverted
from quietframe.errors import QuietFrameError


@contextmanager
def suppress_native_output() -> Iterator[Callable[[str], None]]:
    """Redirect standard output and error, those of C++ included, to a file that is shown only on a crash.

    Yields a function that writes a line to the real standard error. Not for use from several threads at once.
    """
    with (
        tempfile.TemporaryFile() as chatter,
        diverted(STDOUT, chatter.fileno()),
        diverted(STDERR, chatter.fileno()) as kept,
        os.fdopen(os.dup(kept), "w", encoding="utf-8") as terminal,
    ):

        def say(line: str) -> None:
            terminal.write(f"{line}\n")
            terminal.flush()

        try:
            yield say
        except (QuietFrameError, KeyboardInterrupt):
            raise
        except BaseException:
            sys.stderr.flush()
            chatter.seek(0)
            say(chatter.read().decode(errors="replace"))
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
