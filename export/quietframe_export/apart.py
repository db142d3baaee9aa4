"""Run in a process of its own what can crash the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def run_apart(module: str, *arguments: str, what: str = "the process") -> bytes:
    """Run a module; return what it prints. Raises RuntimeError if it crashes, or with the last line of its error.

    what: the name of what runs, for the error.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode < 0:
        raise RuntimeError(f"{what} crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return done.stdout
