"""LiteRT's own benchmark tool: what it says a model takes, to check the stopwatch."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from quietframe.errors import QuietFrameError

LITERT_BENCHMARK = "litert-benchmark"
_MODULE = "ai_edge_litert.tools.benchmark_litert_model"  # what the command of that name runs
_MAX_SECS = 600
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception): ")


class ToolError(QuietFrameError):
    """An engine's own tool is not installed, or fails."""


def run_litert_benchmark(model: Path, *, threads: int, warmup: int, runs: int) -> dict[str, Any]:
    """Return what LiteRT's own command `litert-benchmark` says of a file, in a process of its own, on random inputs.

    It cannot resize: give it a file of the size that is meant (`litert_file.copy_at_size`).

    Returns:
        `avg_ms`, `median_ms`, `min_ms`, `max_ms` (rounded to 0.01 by the tool) and `num_runs`.

    Raises:
        ToolError: it is not installed, or fails.
    """
    if not _is_installed():
        raise ToolError(f"{LITERT_BENCHMARK} is not installed: it comes with ai-edge-litert 2.2 and later")
    with tempfile.TemporaryDirectory(prefix="quietframe-tool-") as folder:
        result = Path(folder) / "result.json"
        command = [
            *(sys.executable, "-P", "-m", _MODULE),
            *(f"--model={model}", f"--num_threads={threads}", f"--result_json={result}"),
            *(f"--num_runs={runs}", f"--warmup_runs={warmup}"),
        ]
        try:
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=_MAX_SECS, errors="replace"
            )
            latency = json.loads(result.read_text(encoding="utf-8"))["latency"]
        except subprocess.TimeoutExpired as exc:
            raise ToolError(f"{LITERT_BENCHMARK} was still running after {_MAX_SECS} s") from exc
        except (OSError, ValueError, KeyError) as exc:
            raise ToolError(f"{LITERT_BENCHMARK} fails: {_last_error(done)}") from exc
    return {key: latency[key] for key in ("avg_ms", "median_ms", "min_ms", "max_ms", "num_runs")}


def _last_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the exception in one line, out of standard error: LiteRT writes on after it."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return (raised or lines or [f"exit code {done.returncode}"])[-1]


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec(_MODULE) is not None
    except ModuleNotFoundError:  # not even its package
        return False
