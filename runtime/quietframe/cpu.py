"""What the processor offers. Read from Linux itself; nothing is probed at import."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_FEATURES = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8"),
    *("neon", "asimd", "asimdhp", "asimddp", "i8mm", "sve", "sve2"),
)


def physical_cores() -> int:
    """Physical cores that this process may use: hyper-threads of one core count once, at least 1."""
    cores = set()
    for cpu in _allowed_cpus():
        try:
            cores.add(Path(_TOPOLOGY.format(cpu)).read_text(encoding="ascii"))
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def logical_cores() -> int:
    """Logical processors that this process may use, hyper-threads counted, at least 1."""
    return len(_allowed_cpus())


def _allowed_cpus() -> set[int]:
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # not Linux
        return set(range(os.cpu_count() or 1))


def cpu_model() -> str | None:
    """The processor's name, or the board's where Linux has none for it, as on ARM; None where neither is known."""
    if name := _proc_fields("cpuinfo").get("model name"):
        return name
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return platform.processor() or None


def cpu_features() -> tuple[str, ...]:
    """The processor's vector and 8-bit arithmetic features, by Linux's names for them."""
    info = _proc_fields("cpuinfo")
    found = (info.get("flags") or info.get("Features") or "").split()
    return tuple(feature for feature in _FEATURES if feature in found)


def memory_mb(entry: str) -> int | None:
    """An entry of /proc/meminfo, such as `MemTotal`, in 10⁶ bytes; None where there is no such entry."""
    return _megabytes("meminfo", entry)


def rss_mb() -> int | None:
    """The memory that this process holds, in 10⁶ bytes; None where the system does not report it."""
    return _megabytes("self/status", "VmRSS")


def peak_rss_mb() -> int | None:
    """The greatest memory that this process has held, in 10⁶ bytes; None where the system does not report it.

    Not from getrusage: its peak outlives exec, so it can be the parent's.
    """
    return _megabytes("self/status", "VmHWM")


def _megabytes(file: str, entry: str) -> int | None:
    kilobytes = _proc_fields(file).get(entry)
    return None if kilobytes is None else round(int(kilobytes.split()[0]) * 1024 / 1e6)


def _proc_fields(file: str) -> dict[str, str]:
    """The fields of a file in /proc, of its first block where it has several; none where there is no such file."""
    try:
        text = Path("/proc", file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
