"""Processes that tests start."""

from __future__ import annotations

import os
import subprocess
import sys


def run_python(*args: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with arguments, as in `run_python("-c", code, path)`, in an environment with changes."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
        env=os.environ | environment,
    )
