"""A fresh process that measures one model: calls go there as JSON lines, results come back as JSON lines.

A process of its own gives each model its own load time, first frame and peak memory, and a model that crashes fails
only its own row. Which code runs is said by its import path, so that a kind of measurement brings its own measuring
side.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from quietframe.errors import QuietFrameError, UsageError


def fresh_environment() -> dict[str, str]:
    """Return the environment for a process whose imports are timed: it may keep bytecode, as installed packages do."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class ChildError(QuietFrameError):
    """A call in a measuring process failed, or the process died."""


class Child:
    """A measuring process. Close it, or use it in a `with`.

    Starting one costs as much as starting Python: open many and call them in turn.
    """

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            # -P: a file in the working folder must not stand in for a package.
            [sys.executable, "-P", "-m", "quietframe_bench.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env=fresh_environment(),
        )

    def call(self, path: str, /, **arguments: Any) -> Any:
        """Call code in the process by its import path and wait for its result.

        Args:
            path: inside this package. `module:function` is called; `module:Class` is made, kept as this process's one
                and answers its `facts`; `module:Class.method` is called on the one that was made.
            arguments: of the call; paths are passed on as text, everything else as JSON.

        Raises:
            ChildError: with the error that the process reports, or with how it died.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        request = {"path": f"quietframe_bench.{path}", "arguments": arguments}
        with suppress(OSError):  # it died before: the missing answer says so
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise ChildError(self._death())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer["result"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):  # a request that the process did not live to read
                if stream is not None:
                    stream.close()

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


# In the measuring process


def main() -> None:
    """Answer calls until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what an engine prints must not come between the answers
    subjects: dict[str, Any] = {}
    for line in sys.stdin:
        try:
            answer = {"result": _call(subjects, **json.loads(line))}
        except QuietFrameError as exc:
            answer = {"error": str(exc)}
        except Exception as exc:  # noqa: BLE001  engines raise what they like: it all goes into the failed row
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _call(subjects: dict[str, Any], path: str, arguments: Mapping[str, Any]) -> Any:
    """Call what an import path names. See `Child.call`."""
    module, _, name = path.partition(":")
    owner, _, method = name.partition(".")
    if method:
        if (subject := subjects.get(f"{module}:{owner}")) is None:
            raise UsageError(f"no {owner} is open")
        return getattr(subject, method)(**arguments)
    target = getattr(importlib.import_module(module), owner)
    if not isinstance(target, type):
        return target(**arguments)
    subject = subjects[path] = target(**arguments)
    return getattr(subject, "facts", None)


if __name__ == "__main__":
    main()
