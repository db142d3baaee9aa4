"""A fresh process that measures one model: the parent's end of `quietframe_bench.worker`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quietframe.errors import QuietFrameError


def fresh_environment() -> dict[str, str]:
    """Return the environment for a process whose imports are timed: it may keep bytecode, as installed packages do."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class ChildError(QuietFrameError):
    """A call in a measuring process failed, or the process died."""


@contextmanager
def failing(row: Any) -> Iterator[None]:
    """Note in a row why its measuring fails, in place of a crash."""
    try:
        yield
    except ChildError as exc:
        row.error = str(exc)


class Child:
    """A measuring process. Close it, or use it in a `with`.

    Starting one costs as much as starting Python: open many and call them in turn.
    """

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            # -P: a file in the working folder must not stand in for a package.
            [sys.executable, "-P", "-m", "quietframe_bench.worker"],
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

    def call(self, path: str, /, **arguments: Any) -> Any:
        """Call code in the process by its import path and wait for its result. See `quietframe_bench.worker`.

        Args:
            path: `module:function`, `module:Class` or `module:Class.method`, inside this package.
            arguments: of the call; paths are passed on as text, everything else as JSON.

        Raises:
            ChildError: with the error that the process reports, or with how it died.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"call": f"quietframe_bench.{path}", "arguments": arguments}
        try:
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()
        except OSError:  # it died before: the missing answer says so
            pass
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise ChildError(self._death())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer["result"]

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

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _death(self) -> str:
        code = self._process.wait()
        how = f"exit code {code}" if code >= 0 else f"{signal.Signals(-code).name}"
        self._log.seek(0)
        printed = self._log.read().decode(errors="replace").strip().splitlines()
        return f"the measuring process died ({how})" + (f": {printed[-1]}" if printed else "")
