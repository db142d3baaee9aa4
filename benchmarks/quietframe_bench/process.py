"""A fresh process that measures one model: the parent's end of `quietframe_bench.child`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from quietframe.errors import QuietFrameError


def fresh_environment() -> dict[str, str]:
    """The environment for a process whose imports are timed: it may keep bytecode, as an installed package has it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class ChildError(QuietFrameError):
    """What a measuring process was asked for went wrong, or the process died."""


class Child:
    """A measuring process. Close it, or use it in a `with`.

    Starting one costs as much as starting Python: open many and ask them in turn.
    """

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            # -P: a file in the working folder must not stand in for a package.
            [sys.executable, "-P", "-m", "quietframe_bench.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=fresh_environment(),
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, job: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            ChildError: with the error that the process reports, or with how it died.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"job": job, **arguments}) + "\n")
            self._process.stdin.flush()
        except OSError:  # it died before: the answer's absence tells
            pass
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise ChildError(self._death())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # a request that the process did not live to read
                pass

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _death(self) -> str:
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"{signal.Signals(-code).name}"
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return f"the measuring process died ({how})" + (f": {said[-1]}" if said else "")
