"""The price of starting: imports and the first denoiser, against the bare libraries, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quietframe.errors import QuietFrameError
from quietframe_bench.process import fresh_environment

GOAL_RATIO = 1.3
"""Import and first denoiser may take this much of the bare libraries' import."""

HEAVY = ("numpy", "cv2", "ai_edge_litert")
"""What `quietframe --help` does not import."""

_LIBRARIES = "import numpy, cv2, ai_edge_litert.interpreter"
_DENOISER = "import quietframe; quietframe.Denoiser({model!r})"
_TIMED = """
from time import perf_counter_ns as clock, process_time_ns as cpu_clock
begin, cpu_begin = clock(), cpu_clock()
{statement}
print(clock() - begin, cpu_clock() - cpu_begin)
"""
_HELP = """
import contextlib, io, json, sys
from quietframe.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({arguments!r})
print(json.dumps([name for name in {heavy!r} if name in sys.modules]))
"""


@dataclass(frozen=True)
class Times:
    """Nanoseconds of some fresh processes, without the interpreter's own start: by the clock, and of processor time.

    Processor time tells more on a busy machine; both leave out what the interpreter itself takes.
    """

    wall_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Startup:
    """What starting costs.

    Attributes:
        libraries: importing NumPy, OpenCV and LiteRT, nothing else.
        denoiser: importing quietframe and making the first `Denoiser`.
        help_imports: those of `HEAVY` that `quietframe --help` imported.
    """

    libraries: Times
    denoiser: Times
    help_imports: list[str]

    @property
    def ratio(self) -> float:
        """Median time of the denoiser over that of the libraries, by the clock."""
        return float(np.median(self.denoiser.wall_ns) / np.median(self.libraries.wall_ns))

    @property
    def cpu_ratio(self) -> float:
        """The same of processor time."""
        return float(np.median(self.denoiser.cpu_ns) / np.median(self.libraries.cpu_ns))

    @property
    def reached(self) -> bool:
        """Whether both goals are met."""
        return self.ratio <= GOAL_RATIO and not self.help_imports

    def as_record(self) -> dict[str, Any]:
        """The figures for JSON."""
        return {
            "libraries_ms": float(np.median(self.libraries.wall_ns)) / 1e6,
            "denoiser_ms": float(np.median(self.denoiser.wall_ns)) / 1e6,
            "ratio": self.ratio,
            "cpu_ratio": self.cpu_ratio,
            "goal_ratio": GOAL_RATIO,
            "help_imports": self.help_imports,
            "samples": {"libraries": asdict(self.libraries), "denoiser": asdict(self.denoiser)},
        }


def measure_startup(
    model: Path, *, runs: int, on_step: Callable[[str, int, int], None] = lambda text, step, steps: None
) -> Startup:
    """Start processes in turn, each `runs` times after one of each that only fills the caches.

    Raises:
        QuietFrameError: a process failed; it says why.
    """
    libraries, denoiser = Times(), Times()
    contenders = ((_LIBRARIES, libraries), (_DENOISER.format(model=str(model)), denoiser))
    for run in range(runs + 1):
        on_step("start", run, runs + 1)
        for statement, times in contenders:
            wall_ns, cpu_ns = map(int, _run(_TIMED.format(statement=statement)).split())
            if run:
                times.wall_ns.append(wall_ns)
                times.cpu_ns.append(cpu_ns)
    return Startup(libraries, denoiser, help_imports())


def help_imports(arguments: tuple[str, ...] = ("--help",)) -> list[str]:
    """Those of `HEAVY` that the command line imports for these arguments, in a fresh process."""
    found: list[str] = json.loads(_run(_HELP.format(arguments=list(arguments), heavy=HEAVY)))
    return found


def _run(code: str) -> str:
    """The last line that a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, env=fresh_environment()
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise QuietFrameError(f"a measuring process failed: {last[0]}")
    return done.stdout.strip().splitlines()[-1]
