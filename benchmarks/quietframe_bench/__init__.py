"""Benchmarks: what models cost on a machine, and how good they are.

Each function measures one kind and returns `Results`, which hold typed rows with all raw samples::

    import quietframe_bench as bench

    results = bench.speed(["camera-small"])
    results.to_json("rows.jsonl")
    print(results.to_markdown())
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quietframe_bench.kinds.accuracy import accuracy
    from quietframe_bench.kinds.compare import compare
    from quietframe_bench.kinds.live import LiveSettings, live
    from quietframe_bench.kinds.profile import ProfileSettings, profile
    from quietframe_bench.kinds.quality import QualitySettings, quality
    from quietframe_bench.kinds.speed import SpeedSettings, speed
    from quietframe_bench.kinds.startup import StartupSettings, startup
    from quietframe_bench.results import Results, read_results

__all__ = [
    "LiveSettings", "ProfileSettings", "QualitySettings", "Results", "SpeedSettings", "StartupSettings",
    "accuracy", "compare", "live", "profile", "quality", "read_results", "speed", "startup",
]  # fmt: skip

_MODULES = {
    **{name: f"kinds.{name}" for name in ("accuracy", "compare", "live", "profile", "quality", "speed", "startup")},
    **{name: f"kinds.{name.removesuffix('Settings').lower()}" for name in __all__ if name.endswith("Settings")},
    **{"Results": "results", "read_results": "results"},
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
