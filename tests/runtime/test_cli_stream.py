"""`quietframe denoise` on streams whose server is killed and started again, run as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quietframe.sources import open_source
from support.stream_servers import SECRET

AWAY_S = 1.5


def wait_for(path: Path, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for a line of the statistics."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [json.loads(line) for line in lines if line.endswith("\n")]
        if whole and condition(whole[-1]):
            return whole[-1]
        time.sleep(0.05)
    raise AssertionError(f"{path.name}: {whole[-1:]}")


def test_a_stream_that_ends_and_comes_back(served, tmp_path, denoiser_file):
    address, start = served
    stats, out = tmp_path / "stats.jsonl", tmp_path / "out.mkv"
    options = ["-m", str(denoiser_file), "-o", str(out), "--json", "--json-stats", str(stats)]
    server = start()
    command = [sys.executable, "-m", "quietframe", "denoise", address, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_for(stats, lambda line: line["processed"] >= 20)
            server.kill()
            time.sleep(AWAY_S)
            before = wait_for(stats, lambda line: True)
            server = start()
            wait_for(stats, lambda line: line["reconnects"] == 1 and line["processed"] >= before["processed"] + 20)
            process.send_signal(signal.SIGTERM)
            said, errors = process.communicate(timeout=30)
        finally:
            process.kill()
            server.kill()
    assert process.returncode == 0, errors
    assert SECRET not in said + errors + stats.read_text()
    record = json.loads(said)
    assert record["reconnects"] == 1
    assert record["frames"] + record["dropped"] == record["captured"] >= 40
    with open_source(out) as written:
        seconds = [frame.time_s for frame in written][-1]
    # The video plays in real time: while there was no stream, the last frame stands.
    assert seconds > record["captured"] / 20 + 0.6 * AWAY_S
