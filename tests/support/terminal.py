"""What a program shows on a terminal."""

from __future__ import annotations

import os


def read_terminal(descriptor: int) -> str:
    """All that is written to a pseudo terminal until its other end is closed; closes this one."""
    shown = b""
    with os.fdopen(descriptor, "rb", buffering=0) as terminal:
        try:
            while chunk := terminal.read(4096):
                shown += chunk
        except OSError:  # Linux: the other end is closed
            pass
    return shown.decode()
