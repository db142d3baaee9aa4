"""The runtime reaches for no network of its own accord: commands run without one, and the kernel counts who tries.

Engines and libraries tell their makers of their use, from native code: ONNX Runtime from 1.29 on, OpenVINO.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.images import write_image

# A network namespace of its own has no interface: each packet and connection ends as one that found no route.
COUNTED = '"$@"; code=$?; cat /proc/net/snmp /proc/net/snmp6 > "$0"; exit $code'
PUBLIC_NAMES = "import quietframe as qf; [getattr(qf, name) for name in qf.__all__]"


@pytest.fixture(scope="module")
def unshare() -> list[str]:
    """The command that gives another one a network namespace of its own, with root's rights or with anybody's."""
    tried = ""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        try:
            done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        except OSError as exc:
            pytest.skip(f"a network namespace needs unshare: {exc}")
        if done.returncode == 0:
            return command
        tried = done.stderr.strip()
    pytest.skip(f"a network namespace is not permitted here: {tried}")


def without_network(unshare: list[str], home: Path, *args: object) -> tuple[int, str]:
    """Run this Python with arguments; give how many packets and connections it tried to send, and its output.

    It runs in a user's plain environment: where variables tell of continuous integration, some hold still.
    """
    counters = home.with_name("counters.txt")
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [*unshare, "sh", "-c", COUNTED, str(counters), sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=home,
        env=kept | {"HOME": str(home)},
    )
    assert done.returncode == 0, done.stderr
    names, values, *other = counters.read_text(encoding="utf-8").splitlines()
    counted = dict(zip(names.split(), values.split(), strict=True))
    counted |= dict(line.split() for line in other if line.startswith("Ip6"))
    tried = ("OutRequests", "OutNoRoutes", "Ip6OutRequests", "Ip6OutNoRoutes")
    return sum(int(counted[name]) for name in tried), done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home folder. What passed a trial is remembered there, and no one else leaves anything."""
    home = tmp_path / "home"
    home.mkdir()
    yield home
    left = {path.relative_to(home).as_posix() for path in home.rglob(".*/*") if path.is_dir()}
    assert left <= {".cache/quietframe"}


@pytest.mark.parametrize(
    "args", [["-c", PUBLIC_NAMES], *(["-m", "quietframe", name] for name in ("demo", "models", "doctor"))], ids=str
)
def test_commands_need_no_network_and_try_none(unshare, home, args):
    assert without_network(unshare, home, *args)[0] == 0


def test_an_image_is_denoised_without_network(unshare, home, tmp_path, make_model, suffix):
    """By a built-in model, and by one that is tried in another process first."""
    models: list[Any] = [make_model(suffix=suffix), *(["camera-nano"] if suffix == ".tflite" else [])]
    for model in models:
        image, out = write_image(tmp_path / "noisy.png"), tmp_path / f"{Path(model).stem}-clean.png"
        assert without_network(unshare, home, "-m", "quietframe", "denoise", image, "-o", out, "-m", model)[0] == 0
        assert out.exists()


@pytest.mark.parametrize("tries", ["create_connection(('192.0.2.1', 80))", "getaddrinfo('example.org', 80)"])
def test_what_does_try_is_counted(unshare, home, tries):
    code = f"import contextlib, socket\nwith contextlib.suppress(OSError): socket.{tries}\nprint('tried')"
    tried, printed = without_network(unshare, home, "-c", code)
    assert printed == "tried\n" and tried > 0
