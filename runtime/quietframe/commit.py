"""Which commit code belongs to: for benchmark rows and training records."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def describe_commit(file: Path = Path(__file__)) -> Mapping[str, Any] | None:
    """Name the commit that `file` belongs to and whether its checkout is changed; None where git does not track it.

    A package that was installed into somebody else's checkout is not tracked there, so that no foreign commit
    is reported.
    """
    tracked = _git(file.parent, "ls-files", "--error-unmatch", file.name)
    commit = _git(file.parent, "rev-parse", "HEAD")
    if tracked is None or commit is None:
        return None
    top = _git(file.parent, "rev-parse", "--show-toplevel") or str(file.parent)
    changed = _git(Path(top), "status", "--porcelain", "--untracked-files=no")
    return {"sha": commit, "dirty": changed != ""}


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
