"""The process in which one model is measured: calls come as JSON lines, results go back as JSON lines.

A process of its own gives each model its own load time, first frame and peak memory, and a model that crashes
fails only its own row. `quietframe_bench.process` is the other end. Which code runs is said by its import path, so that
a kind of measurement brings its own measuring side.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from quietframe.errors import QuietFrameError, UsageError


def main() -> None:
    """Answer calls until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what an engine prints must not come between the answers
    subjects: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": _call(subjects, request["call"], request["arguments"])}
        except QuietFrameError as exc:
            answer = {"error": str(exc)}
        except Exception as exc:  # noqa: BLE001  engines raise what they like: it all goes into the failed row
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _call(subjects: dict[str, Any], path: str, arguments: Mapping[str, Any]) -> Any:
    """Call what an import path names.

    `module:function` is called; `module:Class` is made, kept as this process's one and answers its `facts`;
    `module:Class.method` is called on the one that was made.
    """
    module_name, _, name = path.partition(":")
    owner, _, method = name.partition(".")
    if method:
        if (subject := subjects.get(f"{module_name}:{owner}")) is None:
            raise UsageError(f"no {owner} is open")
        return getattr(subject, method)(**arguments)
    target = getattr(importlib.import_module(module_name), owner)
    if not isinstance(target, type):
        return target(**arguments)
    subject = subjects[path] = target(**arguments)
    return getattr(subject, "facts", None)


if __name__ == "__main__":
    main()
