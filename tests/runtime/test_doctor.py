from __future__ import annotations

import json
import os
import re
import sys
from importlib.metadata import requires, version

import pytest

from quietframe import __version__, builtin_models
from quietframe.cpu import cpu_features, logical_cores, memory_mb, peak_rss_mb, physical_cores
from quietframe.doctor import BASE_PACKAGES, EXTRAS, Report, examine
from quietframe.v4l2 import Camera
from support.process import run_python


@pytest.fixture(scope="module")
def report() -> Report:
    return examine()


def test_what_is_not_right_comes_with_a_remedy(report):
    for found in report.findings:
        assert found.found
        assert bool(found.remedy) == (found.status != "ok"), found


def test_versions_are_those_that_are_installed(report):
    assert report.versions["quietframe"] == __version__
    assert report.versions["numpy"] == version("numpy")
    assert report.versions["ai-edge-litert"] == version("ai-edge-litert")


def test_an_extra_that_is_missing_names_its_install(report):
    for extra, packages in EXTRAS.items():
        (found,) = [found for found in report.findings if found.topic == f"extra: {extra}"]
        absent = [package for package in packages if package not in report.versions]
        assert found.status == ("note" if absent else "ok")
        assert found.remedy == (f"pip install 'quietframe[{extra}]'" if absent else "")
        assert all(package in found.found for package in absent or packages)


def test_extras_are_those_of_the_package():
    """An extra's requirements include those of the extras that it brings."""
    known = {package for packages in (BASE_PACKAGES.values(), *EXTRAS.values()) for package in packages}
    for extra, packages in EXTRAS.items():
        of_extra = [line for line in requires("quietframe") or () if re.search(rf"extra == ['\"]{extra}['\"]", line)]
        named = {re.split("[^a-z0-9-]", line)[0] for line in of_extra} - {"quietframe"}
        assert set(packages) <= named <= known


def test_the_built_in_models_are_run(report):
    (found,) = [found for found in report.findings if found.topic == "built-in models"]
    assert found.status == "ok", found
    assert all(name in found.found for name in builtin_models())


def test_the_machine(report):
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


def test_the_command_prints_all_that_was_found(report, monkeypatch, cli):
    monkeypatch.setattr("quietframe.doctor.examine", lambda: report)
    code, out, _ = cli("doctor", "--json")
    record = json.loads(out)
    assert set(record) == {"versions", "machine", "cameras", "findings", "works"}
    assert (record["works"], code) == (report.works, 0 if report.works else 1)
    assert [entry["topic"] for entry in record["findings"]] == [found.topic for found in report.findings]
    _, out, _ = cli("doctor")
    assert f"QuietFrame {__version__}" in out
    words = set(out.split())  # what is long goes on in the next line
    assert all({*found.topic.split(), *found.remedy.split()} <= words for found in report.findings)


def test_two_opencv_packages_are_seen(tmp_path, report, monkeypatch):
    other = "opencv-python" if "opencv-python-headless" in report.versions else "opencv-python-headless"
    folder = tmp_path / f"{other.replace('-', '_')}-4.9.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {other}\nVersion: 4.9.0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("quietframe.doctor.SIZES_WH", ())
    (found,) = [found for found in examine().findings if found.topic == "OpenCV"]
    assert found.status == "note"
    assert f"{other} 4.9.0" in found.found
    assert found.remedy.startswith("pip uninstall -y opencv-python opencv-python-headless")


@pytest.mark.parametrize(
    ("module", "package", "error"),
    [
        ("cv2", "opencv-python-headless", "ImportError('libGL.so.1: cannot open shared object file')"),
        ("ai_edge_litert", "ai-edge-litert", "OSError('not for this machine')"),
    ],
)
def test_a_package_that_does_not_load_is_wrong(module, package, error, tmp_path):
    (tmp_path / f"{module}.py").write_text(f"raise {error}\n", encoding="utf-8")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = run_python("-m", "quietframe", "doctor", "--json", check=False, PYTHONPATH=path)
    record = json.loads(done.stdout)
    assert (done.returncode, record["works"]) == (1, False)
    assert "Traceback" not in done.stderr
    (found,) = [entry for entry in record["findings"] if entry["topic"] == package]
    assert found["status"] == "wrong"
    assert error.split("'")[1] in found["found"]
    assert package in found["remedy"]


def test_a_camera_that_reduces_noise_itself_is_noticed(monkeypatch):
    camera = Camera("/dev/video0", "HD Webcam", "", (1280, 720), "MJPG", {"Gain": 64, "3D Noise Reduction": 2})
    monkeypatch.setattr("quietframe.doctor.SIZES_WH", ())
    monkeypatch.setattr("quietframe.doctor.find_cameras", lambda: [camera])
    (found,) = [found for found in examine().findings if found.topic == "cameras"]
    assert found.status == "note"
    assert "1280x720 MJPG (JPEG, compressed), Gain: 64, 3D Noise Reduction: 2" in found.found
    assert found.remedy.endswith("v4l2-ctl -d /dev/video0 -c 3d_noise_reduction=0")


def test_which_model_holds_video_rate_is_measured(report):
    found = [found for found in report.findings if found.topic.startswith("real time, ")]
    assert [entry.topic.split()[-1] for entry in found] == ["640x480", "1280x720"]
    for entry in found:
        assert re.search(r"30 fps \(33\.3 ms a frame\): (camera|video)-\w+ [\d.]+ ms", entry.found)
        assert ("does not hold" in entry.found) == (entry.status == "note")
