"""How commands end: by signals at any moment, on a full disk, in odd surroundings."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.images import files_below, random_frame, write_image

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
