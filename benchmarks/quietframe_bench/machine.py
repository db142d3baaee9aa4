"""What was measured on: the machine and the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from quietframe.cpu import cpu_model, logical_cores, physical_cores
from quietframe.preview.health import Health

_PACKAGES = (
    "quietframe",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "ai-edge-litert",
    "onnxruntime",
    "openvino",
)
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_BOARD = Path("/proc/device-tree/model")


def describe_machine() -> dict[str, Any]:
    """Return the machine, in plain values. What is unknown is None."""
    return {
        "board": _first_line(_BOARD),
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "physical_cores": physical_cores(),
        "logical_cores": logical_cores(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "governor": _first_line(_GOVERNOR),
        "clock_mhz": _clock_mhz(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
    }


def is_busy(machine: Mapping[str, Any]) -> bool:
    """Return whether a machine, as described, had so much else to do that times are too long. Unknown figures: no."""
    load, cores = machine.get("load_1min"), machine.get("physical_cores")
    return isinstance(load, int | float) and isinstance(cores, int | float) and 2 * load > cores


def machine_now() -> dict[str, Any]:
    """Return `temperature_c`, `throttled` and `clock_mhz` at this moment; None for what the system does not say."""
    found = Health()()
    return {"temperature_c": found["temperature_c"], "throttled": found["throttled"], "clock_mhz": _clock_mhz()}


def describe_versions() -> dict[str, str]:
    """Return versions of Python and of the packages that take part, where they are installed."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ").partition("\n")[0] or None
    except OSError:
        return None


def _clock_mhz() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        return None
    return round(frequency.current, 1) if frequency else None
