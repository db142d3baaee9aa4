"""`quietframe denoise` on moving sources, run as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from quietframe.sources import open_source
from quietframe.zoo import ALIASES
from support.images import files_below, write_image

SCENE = "test:?size=64x48&fps=40&frames=40&sigma=20"


def start(*args: object) -> subprocess.Popen[str]:
    """`quietframe denoise` of an endless scene, as a process of its own."""
    command = [sys.executable, "-m", "quietframe", "denoise", "test:?size=64x48&fps=30&frames=0"]
    return subprocess.Popen([*command, *map(str, args)], stderr=subprocess.PIPE, text=True)


def test_a_recording_that_is_played_live_takes_its_time(tmp_path, cli, denoiser_file):
    stats = tmp_path / "stats.jsonl"
    began = time.monotonic()
    result = cli("denoise", SCENE, "--live", "-o", "null", "-m", denoiser_file, "--json", "--json-stats", stats)
    assert result.code == 0
    assert time.monotonic() - began > 0.97
    record = json.loads(result.out)
    assert record["captured"] == 40
    assert record["frames"] + record["dropped"] == 40
    lines = [json.loads(line) for line in stats.read_text().splitlines()]
    assert len(lines) >= 2
    assert lines[-1]["captured"] == 40
    assert {"age_p50_ms", "age_p95_ms", "age_p99_ms", "denoise_p95_ms", "fps", "dropped", "reconnects"} <= set(
        lines[-1]
    )


def test_several_models_and_a_rate_to_hold(cli, denoiser_file, blur_file):
    result = cli("denoise", SCENE, "--live", "-o", "null", "-m", f"{denoiser_file},{blur_file}", "--fps", "30")
    assert result.code == 0
    (choice, _) = result.error_lines
    assert "holds 30 fps (33.3 ms a frame)" in choice
    assert str(denoiser_file) in choice and str(blur_file) in choice


def test_frames_are_denoised_one_by_one_on_request(tmp_path, cli):
    for option, fused in (((), True), (("--single-frame",), False)):
        stats = tmp_path / f"{fused}.jsonl"
        result = cli("denoise", "test:?size=64x48&frames=6&sigma=20", "-o", "null", "--json-stats", stats, *option)
        assert result.code == 0
        last = json.loads(stats.read_text().splitlines()[-1])
        assert last["model"] == ALIASES["video" if fused else "camera"]
        assert (last["fused"] or 0) > 0.3 if fused else last["fused"] is None


def test_one_output_that_fails_stops_no_other(tmp_path, cli, denoiser_file):
    (tmp_path / "5.png").write_text("precious")
    result = cli("denoise", SCENE, "-o", tmp_path / "%d.png", "-o", tmp_path / "a.mkv", "-m", denoiser_file)
    assert result.code == 1
    assert any("5.png: exists already" in line for line in result.error_lines)
    with open_source(tmp_path / "a.mkv") as written:
        assert len(list(written)) == 40


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--every-frame", "--live"], "--every-frame and --live exclude each other"),
        (["-m", "camera,nowhere"], "nowhere: no such model file"),
        (["-m", "camera,"], "--model: expected a name, or names with commas between"),
        (["-m", "auto", "--card", "x.json"], "--card describes one model"),
        (["--json-stats", "nowhere/stats.jsonl"], "nowhere/stats.jsonl: cannot be written"),
        (["--fps", "0"], "--fps"),
        (["--timeout", "0"], "--timeout"),
    ],
)
def test_options_that_do_not_fit(tmp_path, cli, arguments, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "auto" in arguments:
        arguments = ["-m", "camera-nano,digit-unet", *arguments[2:]]
    result = cli("denoise", SCENE, "-o", "null", *arguments)
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert says in result.error_lines[0]


@pytest.mark.parametrize("option", ["--live", "--every-frame"])
def test_pictures_do_not_move(tmp_path, cli, denoiser_file, option):
    result = cli("denoise", write_image(tmp_path / "a.png"), option, "-m", denoiser_file)
    assert result.code == 2
    assert f"{option} is for videos, cameras and streams" in result.error_lines[0]
    assert files_below(tmp_path) == ["a.png"]


def test_a_service_that_is_stopped_finishes_its_video(tmp_path, denoiser_file):
    out = tmp_path / "a.mkv"
    with start("--live", "-o", out, "-m", denoiser_file) as process:
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size > 1000 for path in tmp_path.glob("*.mkv")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    with open_source(out) as written:
        assert len(list(written)) > 5
    assert files_below(tmp_path) == ["a.mkv"]


@pytest.fixture
def preview(denoiser_file):
    """A run with a preview on a free port, in a process of its own: (process, its address)."""
    pytest.importorskip("uvicorn", reason="the preview needs the extra 'serve'")
    with start("--serve", "127.0.0.1:0", "-m", denoiser_file) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("quietframe: preview: http://127.0.0.1:"), line
        yield process, line.split()[-1].rstrip("/")
        process.kill()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


def wait_for_stats(url, condition):
    """The figures of a run as soon as they meet a condition: how soon, on a busy machine, nobody knows."""
    deadline = time.monotonic() + 60
    while not condition(stats := json.loads(get(f"{url}/stats.json"))):
        assert time.monotonic() < deadline, stats
        time.sleep(0.05)
    return stats


def test_a_served_run_shows_frames_and_obeys(preview):
    process, url = preview
    stats = wait_for_stats(url, lambda stats: stats["processed"])
    assert stats["size_wh"] == [64, 48]
    assert stats["rss_mb"] > 10
    assert "camera-nano" in stats["models"]
    assert get(f"{url}/snapshot.jpg")[:2] == b"\xff\xd8"
    body = json.dumps({"strength": 0, "model": "camera-nano"}).encode()
    request = urllib.request.Request(f"{url}/controls", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["strength"] == 0
    wait_for_stats(url, lambda stats: stats["model"] == "camera-nano")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "frames" in errors.splitlines()[-1]


def test_a_port_that_is_taken_is_one_line(preview, cli, denoiser_file):
    _, url = preview
    result = cli("denoise", SCENE, "--serve", url.removeprefix("http://"), "-m", denoiser_file)
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert "in use" in result.error_lines[0]
