"""File descriptors turned aside, for what C libraries print past Python."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT, STDERR = 1, 2


@contextmanager
def diverted(descriptor: int, target: int) -> Iterator[int]:
    """While this lasts, what is written to `descriptor` goes to `target`. Yields where it went before.

    It holds for the whole process, all threads included. Raises OSError if `descriptor` is closed.
    """
    kept = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield kept
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
