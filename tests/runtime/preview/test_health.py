from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from quietframe.preview import health
from quietframe.preview.health import Health


def write_zone(system: Path, number: int, kind: str, temperature: str) -> None:
    zone = system / "class/thermal" / f"thermal_zone{number}"
    zone.mkdir(parents=True)
    (zone / "type").write_text(kind + "\n", encoding="ascii")
    (zone / "temp").write_text(temperature, encoding="ascii")


def write_throttled(system: Path, text: str) -> None:
    file = system / "devices/platform/soc/soc:firmware/get_throttled"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="ascii")


def test_the_processor_is_counted_between_two_calls(monkeypatch, tmp_path):
    wall_s, cpu_s = iter([100, 102, 106, 106]), iter([10, 13, 14, 14])  # three seconds of work in two
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=wall_s.__next__, process_time=cpu_s.__next__))
    measure = Health(tmp_path)
    assert [measure()["cpu_percent"] for _ in range(3)] == [150, 25, None]  # at last no time has passed


def test_the_hottest_processor_zone_counts(tmp_path):
    write_zone(tmp_path, 0, "cpu-thermal", "48312\n")
    write_zone(tmp_path, 1, "CPU-therm", "61000\n")
    write_zone(tmp_path, 2, "battery", "90000\n")
    write_zone(tmp_path, 3, "soc-thermal", "-274000\n")  # switched off
    write_zone(tmp_path, 4, "cpu-offline", "")
    assert Health(tmp_path)()["temperature_c"] == 61


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
def test_throttling_is_what_a_raspberry_pi_tells(tmp_path, text, throttled):
    write_throttled(tmp_path, text)
    assert Health(tmp_path)()["throttled"] is throttled


def test_where_the_system_reports_nothing_there_is_none(tmp_path):
    write_zone(tmp_path, 0, "battery", "30000\n")
    figures = Health(tmp_path)()
    assert (figures["temperature_c"], figures["throttled"]) == (None, None)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc is Linux's")
def test_this_very_process_is_seen_at_work():
    measure = Health()
    until_s = time.process_time() + 0.2
    while time.process_time() < until_s:
        pass
    figures = measure()
    assert figures["cpu_percent"] is not None and figures["cpu_percent"] > 5
    assert figures["rss_mb"] is not None and 5 < figures["rss_mb"] < 1e5
