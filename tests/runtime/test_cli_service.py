"""The service: what systemd hears, and that its unit is one."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from quietframe import assets
from quietframe.cli.service import notify_service

UNITS = [Path(assets.__file__).with_name(name) for name in ("quietframe.service", "quietframe-serve.service")]


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """A socket as systemd opens it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@quietframe-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0") if name[0] == "@" else name)
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listening


def test_a_run_is_ready_alive_and_stopping(manager, cli, denoiser_file):
    assert cli("denoise", "test:?size=32x32&frames=60&fps=30", "--live", "-o", "null", "-m", denoiser_file).code == 0
    heard = [manager.recv(100).decode() for _ in range(5)]
    assert heard[0] == "READY=1"
    assert heard[1:] == ["WATCHDOG=1"] * 4
    manager.settimeout(0.2)
    while True:
        last = manager.recv(100).decode()
        if last != "WATCHDOG=1":
            break
    assert last == "STOPPING=1"


def test_without_a_manager_nothing_is_said(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_service("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    notify_service("READY=1")


def test_the_units_arguments_are_options_of_ours(cli):
    text = UNITS[0].read_text()
    arguments = next(line for line in text.splitlines() if "QUIETFRAME_ARGUMENTS=" in line and line[0] != "#")
    used = {word for word in arguments.split('"')[1].split() if word.startswith("--")}
    known = cli("denoise", "--help").out
    assert used
    assert all(option in known for option in used)
    assert "--check" in UNITS[1].read_text() and "--check" in cli("serve", "--help").out


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(tmp_path, unit):
    text = unit.read_text()
    for needed in ("WatchdogSec=", "Restart=always", "SupplementaryGroups=video", "DynamicUser=yes", "Type=notify"):
        assert needed in text
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    command = tmp_path / "quietframe"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    copy = tmp_path / unit.name
    copy.write_text(text.replace("/opt/quietframe/bin/quietframe", str(command)))
    done = subprocess.run([program, "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60)
    said = [line for line in done.stderr.splitlines() if "quietframe" in line]
    assert (done.returncode, said) == (0, [])
