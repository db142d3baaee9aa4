"""What the tests of every room share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

# Keras imports TensorFlow, TensorFlow JAX if it is there, and JAX sets 1 where nothing is set: the processes that tests
# start would inherit that, and write of missing GPUs to standard error.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Every model that a test makes would be tried in a process of its own: that is for test_trial.py.
os.environ.setdefault("QUIETFRAME_ISOLATE", "0")

# A shell that starts the tests in the background has them ignore Ctrl-C, nohup a hangup. The processes that they start
# and then interrupt would inherit that: they never end.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

sys.path.insert(0, str(Path(__file__).parent))  # for tests/support: pytest's importlib mode puts no folder there


class CliResult(NamedTuple):
    """How a run of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """The lines of standard error that are not empty."""
        return [line for line in self.err.splitlines() if line]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Callable[..., CliResult]:
    """A function that runs `quietframe ARGS…` in this process; what C libraries print is in the result as well."""
    from quietframe.cli import main

    def run(*args: object) -> CliResult:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_info:
            main([str(arg) for arg in args])
        captured = capfd.readouterr()
        assert isinstance(exit_info.value.code, int)
        return CliResult(exit_info.value.code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, where there is one."""
    folder = os.environ.get("QUIETFRAME_DATA")
    if not folder:
        pytest.skip("QUIETFRAME_DATA is not set")
    return Path(folder)
