from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from quietframe import __version__, builtin_models
from quietframe.cpu import cpu_features, logical_cores, memory_mb, peak_rss_mb, physical_cores
from quietframe.doctor import EXTRAS, Report, examine, find_cameras
from support.process import run_python


@pytest.fixture(scope="module")
def report() -> Report:
    return examine()


def doctor(*args: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`quietframe doctor` in a fresh Python, with `path` first on its search path."""
    first = os.pathsep.join(filter(None, (str(path), os.environ.get("PYTHONPATH"))))
    return run_python("-m", "quietframe", "doctor", *args, check=False, **({"PYTHONPATH": first} if path else {}))


def finding(record: dict[str, Any], topic: str) -> dict[str, str]:
    (found,) = [entry for entry in record["findings"] if entry["topic"] == topic]
    return found


def test_what_is_not_right_comes_with_a_remedy(report: Report) -> None:
    for found in report.findings:
        assert found.found
        assert bool(found.remedy) == (found.status != "ok"), found


def test_versions_are_those_that_are_installed(report: Report) -> None:
    assert report.versions["quietframe"] == __version__
    assert report.versions["numpy"] == version("numpy")
    assert report.versions["ai-edge-litert"] == version("ai-edge-litert")


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_that_is_missing_names_its_install(extra: str, report: Report) -> None:
    (found,) = [found for found in report.findings if found.topic == f"extra: {extra}"]
    absent = []
    for package in EXTRAS[extra]:
        try:
            version(package)
        except PackageNotFoundError:
            absent.append(package)
    assert found.status == ("note" if absent else "ok")
    assert found.remedy == (f"pip install 'quietframe[{extra}]'" if absent else "")
    assert all(package in found.found for package in absent or EXTRAS[extra])


def test_the_built_in_models_are_run(report: Report) -> None:
    (found,) = [found for found in report.findings if found.topic == "built-in models"]
    assert found.status == "ok", found
    assert all(name in found.found for name in builtin_models())


def test_the_machine(report: Report) -> None:
    machine = report.machine
    assert 1 <= machine.physical_cores <= machine.logical_cores
    assert (machine.physical_cores, machine.logical_cores) == (physical_cores(), logical_cores())
    assert machine.cpu_features == cpu_features()
    if sys.platform == "linux":
        assert machine.memory_mb is not None and machine.memory_available_mb is not None
        assert 0 < machine.memory_available_mb <= machine.memory_mb
        peak = peak_rss_mb()
        assert peak is not None and 10 < peak < machine.memory_mb
    assert memory_mb("NoSuchEntry") is None


def test_json_agrees_with_the_exit_code(report: Report) -> None:
    done = doctor("--json")
    record = json.loads(done.stdout)
    assert set(record) == {"versions", "machine", "cameras", "findings", "works"}
    assert record["works"] is report.works
    assert done.returncode == (0 if record["works"] else 1)
    assert [entry["topic"] for entry in record["findings"]] == [found.topic for found in report.findings]


def test_the_text_names_every_topic(report: Report) -> None:
    done = doctor()
    assert f"QuietFrame {__version__}" in done.stdout
    for found in report.findings:
        assert found.topic in done.stdout
        if not found.topic.startswith("real time"):  # which is measured anew
            assert found.remedy in done.stdout


def test_two_opencv_packages_are_seen(tmp_path: Path, report: Report) -> None:
    other = "opencv-python" if "opencv-python-headless" in report.versions else "opencv-python-headless"
    folder = tmp_path / f"{other.replace('-', '_')}-4.9.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 4.9.0\n", encoding="utf-8")
    found = finding(json.loads(doctor("--json", path=tmp_path).stdout), "OpenCV")
    assert found["status"] == "note"
    assert f"{other} 4.9.0" in found["found"]
    assert found["remedy"].startswith("pip uninstall -y opencv-python opencv-python-headless")


@pytest.mark.parametrize(
    ("module", "package", "error"),
    [
        ("cv2", "opencv-python-headless", "ImportError('libGL.so.1: cannot open shared object file')"),
        ("ai_edge_litert", "ai-edge-litert", "OSError('not for this machine')"),
    ],
)
def test_a_package_that_does_not_load_is_wrong(module: str, package: str, error: str, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise {error}\n", encoding="utf-8")
    done = doctor("--json", path=tmp_path)
    record = json.loads(done.stdout)
    assert (done.returncode, record["works"]) == (1, False)
    assert "Traceback" not in done.stderr
    found = finding(record, package)
    assert found["status"] == "wrong"
    assert error.split("'")[1] in found["found"]
    assert package in found["remedy"]


def test_cameras_are_asked_in_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("video10", "video2", "video-codec", "video", "null"):
        (tmp_path / name).touch()
    cameras = find_cameras(tmp_path)
    assert [Path(camera.device).name for camera in cameras] == ["video2", "video10"]
    assert all(camera.error for camera in cameras)  # plain files do not answer as cameras do
    assert find_cameras(tmp_path / "missing") == []


def test_which_model_holds_video_rate_is_measured(report: Report) -> None:
    found = [found for found in report.findings if found.topic.startswith("real time, ")]
    assert [entry.topic.split()[-1] for entry in found] == ["640x480", "1280x720"]
    for entry in found:
        assert re.search(r"30 fps \(33\.3 ms a frame\): camera-\w+ [\d.]+ ms", entry.found)
        assert ("does not hold" in entry.found) == (entry.status == "note")
