"""Modules that belong to no package: programs under docs/research, and helpers beside other tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def load_program(path: str) -> ModuleType:
    """Import a file by its path from the root of the repository; skips where it is not there, as in a bare wheel."""
    file = ROOT / path
    if not file.is_file():
        pytest.skip(f"{path} is not here", allow_module_level=True)
    name = f"program_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
