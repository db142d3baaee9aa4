"""Run in a process of its own what can crash the process."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from quietframe.card import ModelCard
from quietframe_train.data.base import Sample


def run_apart(module: str, *arguments: str) -> bytes:
    """Run a module; return what it prints. Raises RuntimeError if it crashes, or with the last line of its error."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})
    if done.returncode < 0:
        raise RuntimeError(f"the process crashed ({signal.Signals(-done.returncode).name})")
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    return done.stdout


def try_file(path: Path, card: ModelCard, sample: Sample) -> None:
    """Run a file once, as the runtime does: a converter can write what crashes the engine.

    It costs the second of importing the runtime. Raises RuntimeError if the process crashes or the file does not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task"
        task.write_bytes(pickle.dumps((path, card, sample)))
        run_apart(__name__, str(task))


if __name__ == "__main__":
    from quietframe_export.verify import answer

    file, its_card, one = pickle.loads(Path(sys.argv[1]).read_bytes())
    answer(file, its_card, [one])
