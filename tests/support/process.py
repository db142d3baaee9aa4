"""Processes that tests start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_python(
    *args: object, check: bool = True, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run this Python with arguments, as in `run_python("-c", code, path)`, in an environment with changes."""
    done = subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
        cwd=cwd,
    )
    assert not check or done.returncode == 0, done.stderr
    return done
