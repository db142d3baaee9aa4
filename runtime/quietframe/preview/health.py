"""Health of the machine: processor, memory, temperature, throttling. From /proc and /sys alone."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_CPU_ZONE = re.compile("cpu|core|soc|x86_pkg", re.IGNORECASE)
_THROTTLED = Path("devices/platform/soc/soc:firmware/get_throttled")
_SLOWED_NOW = 0b1110  # frequency capped, throttled, soft temperature limit: Raspberry Pi, `vcgencmd get_throttled`


class Health:
    """Return the present figures at each call. What the system does not report is None.

    `cpu_percent`: what this process took since the call before, 100 for each core (at first: since it was made);
    `rss_mb`: the memory that it holds, in 10⁶ bytes; `temperature_c`: of the hottest processor zone; `throttled`:
    whether a Raspberry Pi runs slower now, for its heat or its power supply.

    Args:
        process: the folder of this process in /proc.
        system: where /sys is.
        clock_s: the clock.
    """

    def __init__(
        self,
        process: Path = Path("/proc/self"),
        system: Path = Path("/sys"),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._system = system
        self._clock_s = clock_s
        self._before = clock_s(), self._cpu_s()

    def __call__(self) -> Mapping[str, float | bool | None]:
        """Return the present figures."""
        return {
            "cpu_percent": self._cpu_percent(),
            "rss_mb": self._rss_mb(),
            "temperature_c": self._temperature_c(),
            "throttled": self._throttled(),
        }

    def _cpu_percent(self) -> float | None:
        (then_s, then_cpu_s), now_s, cpu_s = self._before, self._clock_s(), self._cpu_s()
        self._before = now_s, cpu_s
        if cpu_s is None or then_cpu_s is None or now_s <= then_s:
            return None
        return round(100 * (cpu_s - then_cpu_s) / (now_s - then_s), 1)

    def _cpu_s(self) -> float | None:
        """User and system time: fields 14 and 15 of proc(5)'s stat; the name before them may hold blanks."""
        text = _read(self._process / "stat")
        if text is None:
            return None
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _rss_mb(self) -> float | None:
        text = _read(self._process / "statm")
        return None if text is None else round(int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    def _temperature_c(self) -> float | None:
        zones = self._system.glob("class/thermal/thermal_zone*")
        texts = [_read(zone / "temp") for zone in zones if _CPU_ZONE.search(_read(zone / "type") or "")]
        celsius = [int(text) / 1000 for text in texts if text]
        return max(
            (value for value in celsius if -50 < value < 200), default=None
        )  # a zone that is off reports nonsense

    def _throttled(self) -> bool | None:
        text = _read(self._system / _THROTTLED)
        return None if text is None else bool(int(text, 16) & _SLOWED_NOW)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
