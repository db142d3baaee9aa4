from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from quietframe.preview.health import Health

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def write_process(folder: Path, cpu_s: float, pages: int = 1000, name: str = "python3") -> None:
    fields = ["S", *["0"] * 10, str(round(cpu_s * TICKS) - 7), "7", *["0"] * 30]
    (folder / "stat").write_text(f"1 ({name}) {' '.join(fields)}\n", encoding="ascii")
    (folder / "statm").write_text(f"5000 {pages} 10 1 0 90 0\n", encoding="ascii")


def write_zone(system: Path, number: int, kind: str, temperature: str) -> None:
    zone = system / "class/thermal" / f"thermal_zone{number}"
    zone.mkdir(parents=True)
    (zone / "type").write_text(kind + "\n", encoding="ascii")
    (zone / "temp").write_text(temperature, encoding="ascii")


def write_throttled(system: Path, text: str) -> None:
    file = system / "devices/platform/soc/soc:firmware/get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="ascii")


def test_the_processor_is_counted_between_two_calls(tmp_path: Path) -> None:
    clock = Clock()
    write_process(tmp_path, 10)
    health = Health(tmp_path, tmp_path, clock)
    clock.now_s += 2
    write_process(tmp_path, 13)  # three seconds of work in two: one and a half cores
    assert health()["cpu_percent"] == 150
    clock.now_s += 4
    write_process(tmp_path, 14)
    assert health()["cpu_percent"] == 25
    assert health()["cpu_percent"] is None  # no time has passed


def test_a_name_with_blanks_and_brackets_does_not_shift_the_fields(tmp_path: Path) -> None:
    clock = Clock()
    write_process(tmp_path, 10, name="a) S 1 (b")
    health = Health(tmp_path, tmp_path, clock)
    clock.now_s += 1
    write_process(tmp_path, 10.5, name="a) S 1 (b")
    assert health()["cpu_percent"] == 50


def test_memory_is_in_millions_of_bytes(tmp_path: Path) -> None:
    write_process(tmp_path, 1, pages=50_000)
    assert Health(tmp_path, tmp_path)()["rss_mb"] == round(50_000 * PAGE / 1e6, 1)


def test_the_hottest_processor_zone_counts(tmp_path: Path) -> None:
    write_zone(tmp_path, 0, "cpu-thermal", "48312\n")
    write_zone(tmp_path, 1, "CPU-therm", "61000\n")
    write_zone(tmp_path, 2, "battery", "90000\n")
    write_zone(tmp_path, 3, "soc-thermal", "-274000\n")  # switched off
    write_zone(tmp_path, 4, "cpu-offline", "")
    assert Health(tmp_path, tmp_path)()["temperature_c"] == 61


def test_without_a_processor_zone_there_is_no_temperature(tmp_path: Path) -> None:
    write_zone(tmp_path, 0, "battery", "30000\n")
    assert Health(tmp_path, tmp_path)()["temperature_c"] is None


@pytest.mark.parametrize(
    ("text", "throttled"),
    [
        ("0\n", False),
        ("4\n", True),  # throttled
        ("2\n", True),  # frequency capped
        ("0x8\n", True),  # soft temperature limit
        ("50000\n", False),  # it was, since it was started
        ("50005\n", True),
        ("1\n", False),  # the voltage is low, and it is not slower for that yet
    ],
)
def test_throttling_is_what_a_raspberry_pi_tells(tmp_path: Path, text: str, throttled: bool) -> None:
    write_throttled(tmp_path, text)
    assert Health(tmp_path, tmp_path)()["throttled"] is throttled


def test_where_the_system_tells_nothing_all_is_none(tmp_path: Path) -> None:
    expected = {"cpu_percent": None, "rss_mb": None, "temperature_c": None, "throttled": None}
    assert Health(tmp_path, tmp_path)() == expected


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc is Linux's")
def test_this_very_process_is_seen_at_work() -> None:
    health = Health()
    until_s = time.process_time() + 0.2
    while time.process_time() < until_s:
        pass
    figures = health()
    assert figures["cpu_percent"] is not None and figures["cpu_percent"] > 5
    assert figures["rss_mb"] is not None and 5 < figures["rss_mb"] < 1e5
