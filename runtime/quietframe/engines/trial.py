"""Try model files in a process of its own: LiteRT and ONNX Runtime do not survive every damaged file."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from quietframe.card import parse_card
from quietframe.engines import ENGINES
from quietframe.engines.base import read_model_file
from quietframe.errors import ModelLoadError, QuietFrameError

SWITCH = "QUIETFRAME_ISOLATE"
"""Environment variable; 0: files are opened without a trial."""

_MAX_BYTES = 2**30
_MAX_S, _MAX_START_S = 10, 60
_SIDE = 64  # of frames whose size is free
_SKIP = f"--no-isolate, or {SWITCH}=0, opens it without this trial"


def try_model(path: Path) -> None:
    """Open and run a model file once in another process, if no file of this content has passed before.

    It costs about as long as starting Python and the engine. What has passed is remembered in the user's cache
    folder, for the engine's version. An error that the engine itself reports is left to whoever opens the file.

    Raises:
        ModelLoadError: the process crashed, took more than 1 GiB of memory or more than 10 seconds.
    """
    if os.environ.get(SWITCH) == "0" or not sys.executable:
        return
    passed = _record(path)
    if passed is not None and passed.exists():
        return
    # -P: a file in the working folder must not stand in for a package.
    command = [sys.executable, "-P", "-m", __name__, str(path.absolute())]
    unread = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=unread, stdout=subprocess.PIPE, stderr=unread) as child:
        try:
            fault = _watch(child)
        finally:
            child.kill()
    if fault:
        raise ModelLoadError(f"{path}: {fault} when it is run ({_SKIP})")
    if passed is not None and child.returncode == 0:
        with suppress(OSError):  # a read-only home: it is tried again the next time
            passed.parent.mkdir(parents=True, exist_ok=True)
            passed.touch()


def _watch(child: subprocess.Popen[bytes]) -> str:
    """Wait for the end of a trial. Returns what was wrong, empty if nothing."""
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    limit_s, start_s = _MAX_START_S, time.monotonic()
    while child.poll() is None:
        if child.stdout.read(1):  # its imports are done
            limit_s, start_s = _MAX_S, time.monotonic()
        if time.monotonic() - start_s > limit_s:
            return f"takes more than {limit_s} s"
        if _resident_bytes(child.pid) > _MAX_BYTES:
            return f"takes more than {_MAX_BYTES >> 30} GiB of memory"
        time.sleep(0.005)
    code = child.returncode
    return f"crashes the process ({signal.Signals(-code).name})" if code < 0 else ""


def _resident_bytes(pid: int) -> int:
    """Memory of a process; 0 where the system does not tell it in /proc."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _record(path: Path) -> Path | None:
    """The file that says that this content has passed; None without a home folder, or if there is nothing to try."""
    engine = ENGINES[path.suffix.lower()]
    with suppress(OSError, RuntimeError, ModelLoadError, ImportError):
        version = getattr(import_module(engine.package), "__version__", "")
        weights = path.with_suffix(".bin") if path.suffix.lower() == ".xml" else None  # of OpenVINO's files
        content = read_model_file(path) + (read_model_file(weights) if weights else b"")
        digest = hashlib.sha256(content + version.encode()).hexdigest()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quietframe" / "models" / digest
    return None


def _run_once(path: Path) -> None:
    engine_class = ENGINES[path.suffix.lower()]
    import_module(engine_class.package)
    sys.stdout.write(".")
    sys.stdout.flush()
    engine = engine_class(path, threads=1)
    strides = {}
    with suppress(QuietFrameError):
        strides = {spec.name: spec.stride for spec in parse_card(engine.card_json or "", origin=str(path)).inputs}
    inputs, rng = {}, np.random.default_rng(0)
    for name, info in engine.inputs.items():
        side = _SIDE // strides.get(name, 1)
        values = rng.random([size or (side if axis else 1) for axis, size in enumerate(info.shape)])
        inputs[name] = (values * (255 if info.is_integer else 1)).astype(info.dtype)
    engine.run(inputs)


if __name__ == "__main__":
    with suppress(QuietFrameError):
        _run_once(Path(sys.argv[1]))
