"""How commands end: by signals at any moment, on a full disk, in odd surroundings."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quietframe.pipeline import Pipeline, PipelineConfig
from quietframe.sources import open_source
from support.images import files_below, random_frame, write_image
from support.process import run_python

Cli = Callable[..., Any]

NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(*args: object, **more: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "quietframe", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload,no-any-return]


def catches_ctrl_c(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGINT."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.2, 0.4])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_while_a_command_starts_leaves_no_traceback(number: signal.Signals, after_s: float) -> None:
    with start("models", "--json") as process:
        # Python's own start, some 20 ms, is its own: with Ctrl-C it says so itself, before any of our code is read.
        while number == signal.SIGINT and not catches_ctrl_c(process.pid):
            time.sleep(0.001)
        while number == signal.SIGINT and catches_ctrl_c(process.pid):
            time.sleep(0.001)
        time.sleep(after_s)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert errors.strip() in ("", "quietframe: interrupted")
    assert process.returncode in (0, -number, 128 + number)


IMPORTING = """
import importlib, os, signal, sys
from pathlib import Path
from quietframe.cli import ends
Path("slow.py").write_text(
    "import os, signal\\nfor _ in range(3):\\n"
    "    try:\\n        os.kill(os.getpid(), signal.SIGTERM)\\n        import numpy\\n"
    "    except BaseException as exc:\\n        raise ImportError('not installed') from None\\n    break\\n"
)
sys.path.insert(0, ".")
try:
    with ends.interruptible():
        import slow
        signal.pause()
except KeyboardInterrupt:
    sys.exit(ends.exit_code())
"""


def test_a_signal_in_an_import_waits_for_its_end(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_in_a_folder_leaves_whole_images(tmp_path: Path, denoiser_file: Path, number: signal.Signals) -> None:
    for index in range(200):
        write_image(tmp_path / f"in/{index:03}.png", random_frame(96, 128, 3, seed=index))
    out = tmp_path / "out"
    with start("denoise", tmp_path / "in", "-o", out, "-m", denoiser_file) as process:
        deadline_s = time.monotonic() + 60
        while not (out / "003.png").exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.002)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (128 + number, "quietframe: interrupted")
    written = files_below(out)
    assert 4 <= len(written) < 200
    assert written == [f"{index:03}.png" for index in range(len(written))]
    assert all((out / name).read_bytes().endswith(b"IEND\xae\x42\x60\x82") for name in written)


@pytest.mark.parametrize("args", [("models", "--json"), ("models",), ("--help",), ("info", "digits")])
def test_a_full_disk_behind_standard_output_is_one_line(args: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "quietframe", *args],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    said = "quietframe: error: standard output cannot be written (No space left on device)\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_of_several_outputs_the_summary_names_one_that_was_written(
    cli: Cli, tmp_path: Path, small_disk: Path, denoiser_file: Path
) -> None:
    outs = ["-o", small_disk / "a.mkv", "-o", tmp_path / "b.mkv"]
    result = cli("denoise", "test:?size=320x240&frames=60&sigma=80", "-m", denoiser_file, *outs)
    assert result.code == 1
    assert result.error_lines[-1].endswith(f"written to {tmp_path}/b.mkv")
    assert any(f"{small_disk}/a.mkv: cannot be written (No space left" in line for line in result.error_lines)
    assert files_below(small_disk) == []


def test_statistics_on_a_full_disk_end_in_one_line(cli: Cli, small_disk: Path, denoiser_file: Path) -> None:
    with (small_disk / "full").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    stats = small_disk / "stats.jsonl"
    result = cli("denoise", "test:?size=64x48&frames=20", "-m", denoiser_file, "-o", "null", "--json-stats", stats)
    assert result.code == 0
    assert len([line for line in result.error_lines if "No space left on device" in line]) == 1


def test_an_output_folder_that_is_removed_meanwhile_is_an_error(
    cli: Cli, tmp_path: Path, denoiser_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    remover = threading.Thread(target=lambda: (wait_for_file(out / "a.mkv"), shutil.rmtree(out)))
    remover.start()
    live = ("test:?size=64x48&frames=0&fps=100", "--frames", 150)
    result = cli("denoise", *live, "-m", denoiser_file, "-o", out / "a.mkv")
    remover.join()
    assert result.code == 2
    assert result.error_lines[-1] == (
        f"quietframe: error: {out}/a.mkv: is gone: it or its folder was removed meanwhile"
    )


def wait_for_file(path: Path) -> None:
    while not path.exists():
        time.sleep(0.002)


def test_a_clock_that_is_set_changes_no_duration(
    tmp_path: Path, denoiser_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.cycle([0, 10**9])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    monkeypatch.setattr(time, "time_ns", lambda: int((real() + next(jumps)) * 1e9))
    config = PipelineConfig(stats_file=tmp_path / "stats.jsonl", max_frames=20)
    result = Pipeline("test:?size=64x48&frames=0&fps=50", denoiser_file, tmp_path / "a.mkv", config).run()
    assert result.frames == 20
    assert result.wall_s < 60
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert 0 <= lines[-1]["uptime_s"] < 60
    with open_source(tmp_path / "a.mkv") as source:
        assert list(source)[-1].time_s < 60


@pytest.mark.parametrize("descriptors", [64, 16])
def test_few_descriptors_are_enough(tmp_path: Path, denoiser_file: Path, descriptors: int) -> None:
    write_image(tmp_path / "in/a.png", random_frame(48, 64, 3))
    command = [sys.executable, "-m", "quietframe", "denoise", str(tmp_path / "in"), "-m", str(denoiser_file)]
    limit = f'ulimit -n {descriptors}; exec "$@"'
    done = subprocess.run(["sh", "-c", limit, "sh", *command], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, files_below(tmp_path / "in-denoised")) == (0, ["a.png"]), done.stderr


def test_odd_surroundings(tmp_path: Path, denoiser_file: Path) -> None:
    """Locale C, no home that can be written, and a file name that is not UTF-8."""
    (tmp_path / "in").mkdir()
    image = write_image(tmp_path / "a.png", random_frame(48, 64, 3))
    name = os.fsdecode(b"\xff\xfe.png")
    image.rename(tmp_path / "in" / name)
    surroundings = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": "/proc/1/none"}
    surroundings |= {"XDG_CACHE_HOME": "", "QUIETFRAME_ISOLATE": "1"}
    done = run_python("-m", "quietframe", "denoise", tmp_path / "in", "-m", denoiser_file, "--json", **surroundings)
    assert json.loads(done.stdout)["frames"] == 1
    assert [path.name for path in (tmp_path / "in-denoised").iterdir()] == [name]


WRITING = """
from pathlib import Path
from quietframe.images import write_whole
for _ in range(1000):
    write_whole(Path("model.tflite"), bytes(1 << 26))
"""


def test_kill_9_leaves_no_half_file(tmp_path: Path) -> None:
    """Every file of an export, and every image, is written this way."""
    half = []
    for _ in range(3):
        (tmp_path / "model.tflite").write_bytes(b"earlier")
        with subprocess.Popen([sys.executable, "-c", WRITING], cwd=tmp_path) as process:
            while not (parts := list(tmp_path.glob(".*.part"))):
                time.sleep(0.001)
            process.kill()
        half += [part.name for part in parts if part.exists()]
        assert (tmp_path / "model.tflite").stat().st_size in (len(b"earlier"), 1 << 26)
        for part in tmp_path.glob(".*.part"):
            part.unlink()
    assert half  # it was killed while it wrote
