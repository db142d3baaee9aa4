"""Health of the machine: processor, memory, temperature, throttling. From /proc and /sys alone."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

from quietframe.cpu import rss_mb

_CPU_ZONE = re.compile("cpu|core|soc|x86_pkg", re.IGNORECASE)
_THROTTLED = Path("devices/platform/soc/soc:firmware/get_throttled")
_SLOWED_NOW = 0b1110  # frequency capped, throttled, soft temperature limit: Raspberry Pi, `vcgencmd get_throttled`


class Health:
    """Return the present figures at each call. What the system does not report is None.

    `cpu_percent`: what this process took since the call before, 100 for each core (at first: since it was made);
    `rss_mb`: the memory that it holds, in 10⁶ bytes; `temperature_c`: of the hottest processor zone; `throttled`:
    whether a Raspberry Pi runs slower now, for its heat or its power supply.

    Args:
        system: where /sys is.
    """

    def __init__(self, system: Path = Path("/sys")) -> None:
        self._system = system
        self._before = time.monotonic(), time.process_time()

    def __call__(self) -> Mapping[str, float | bool | None]:
        """Return the present figures."""
        return {
            "cpu_percent": self._cpu_percent(),
            "rss_mb": rss_mb(),
            "temperature_c": self._temperature_c(),
            "throttled": self._throttled(),
        }

    def _cpu_percent(self) -> float | None:
        then_s, then_cpu_s = self._before
        self._before = now_s, cpu_s = time.monotonic(), time.process_time()
        return round(100 * (cpu_s - then_cpu_s) / (now_s - then_s), 1) if now_s > then_s else None

    def _temperature_c(self) -> float | None:
        zones = self._system.glob("class/thermal/thermal_zone*")
        texts = [_read(zone / "temp") for zone in zones if _CPU_ZONE.search(_read(zone / "type"))]
        celsius = [int(text) / 1000 for text in texts if text]
        # A zone that is off reports nonsense.
        return max((value for value in celsius if -50 < value < 200), default=None)

    def _throttled(self) -> bool | None:
        text = _read(self._system / _THROTTLED)
        return bool(int(text, 16) & _SLOWED_NOW) if text else None


def _read(path: Path) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
