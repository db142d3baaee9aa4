"""The price of starting: imports and the first denoiser, against the bare libraries, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.errors import QuietFrameError

GOAL_RATIO = 1.3
"""Import and first denoiser may take this much of the bare libraries' import."""

HEAVY = ("numpy", "cv2", "ai_edge_litert")
"""What `quietframe --help` does not import."""

_LIBRARIES = "import numpy, cv2, ai_edge_litert.interpreter"
_DENOISER = "import quietframe; quietframe.Denoiser({model!r})"
_TIMED = "from time import perf_counter_ns as clock; begin = clock(); {statement}; print(clock() - begin)"
_HELP = """
import contextlib, io, json, sys
from quietframe.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({arguments!r})
print(json.dumps([name for name in {heavy!r} if name in sys.modules]))
"""


@dataclass(frozen=True)
class Startup:
    """Times of fresh processes, in nanoseconds, without the interpreter's own start.

    Attributes:
        libraries_ns: importing NumPy, OpenCV and LiteRT, nothing else.
        denoiser_ns: importing quietframe and making the first `Denoiser`.
        help_imports: those of `HEAVY` that `quietframe --help` imported.
    """

    libraries_ns: list[int]
    denoiser_ns: list[int]
    help_imports: list[str]

    @property
    def ratio(self) -> float:
        """Median of the denoiser's times over the median of the libraries'."""
        return float(np.median(self.denoiser_ns) / np.median(self.libraries_ns))

    @property
    def reached(self) -> bool:
        """Whether both goals are met."""
        return self.ratio <= GOAL_RATIO and not self.help_imports

    def as_record(self) -> dict[str, Any]:
        """The figures for JSON."""
        return {
            "libraries_ms": float(np.median(self.libraries_ns)) / 1e6,
            "denoiser_ms": float(np.median(self.denoiser_ns)) / 1e6,
            "ratio": self.ratio,
            "goal_ratio": GOAL_RATIO,
            "help_imports": self.help_imports,
            "samples_ns": {"libraries": self.libraries_ns, "denoiser": self.denoiser_ns},
        }


def measure_startup(
    model: Path, *, runs: int, on_step: Callable[[str, int, int], None] = lambda text, step, steps: None
) -> Startup:
    """Start processes in turn, each `runs` times after one of each that only fills the disk cache.

    Raises:
        QuietFrameError: a process failed; it says why.
    """
    times: dict[str, list[int]] = {_LIBRARIES: [], _DENOISER.format(model=str(model)): []}
    for run in range(runs + 1):
        on_step("start", run, runs + 1)
        for statement, samples in times.items():
            duration = int(_run(_TIMED.format(statement=statement)))
            if run:
                samples.append(duration)
    libraries_ns, denoiser_ns = times.values()
    return Startup(libraries_ns, denoiser_ns, help_imports())


def help_imports(arguments: tuple[str, ...] = ("--help",)) -> list[str]:
    """Those of `HEAVY` that the command line imports for these arguments, in a fresh process."""
    found: list[str] = json.loads(_run(_HELP.format(arguments=list(arguments), heavy=HEAVY)))
    return found


def _run(code: str) -> str:
    """The last line that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise QuietFrameError(f"a measuring process failed: {last[0]}")
    return done.stdout.strip().splitlines()[-1]
