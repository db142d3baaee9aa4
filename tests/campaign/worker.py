"""Run inputs one after the other in a process of its own, whose death is a finding: `python -m campaign.worker KIND`.

It reads a path a line and answers with a line of JSON: `outcome`, `text` and the peak of its memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

MAX_S, MAX_BYTES = 10, 10**9
FAULTS = ("crash", "traceback", "hang", "memory", "wrong")
_START_S = 120


def read_image(path: Path) -> str:
    import quietframe as qf

    return f"{qf.read_image(path, to_8bit=True).pixels.ndim} axes"


def read_card(path: Path) -> str:
    from quietframe.card import parse_card

    return parse_card(path.read_text(errors="surrogateescape"), origin=str(path)).task


def run_model(path: Path) -> str:
    from quietframe.engines import ENGINES
    from quietframe.errors import QuietFrameError
    from quietframe.tasks import Classifier, Denoiser

    try:
        Denoiser(path)(np.full((32, 32, 3), 100, np.uint8), sigma_255=10)
    except QuietFrameError as exc:
        if "card" not in str(exc) and "does not denoise" not in str(exc):
            raise
        engine = ENGINES[path.suffix](path, threads=1)  # the card alone is wrong, or the task: the rest runs
        shapes = {name: [size or 16 for size in info.shape] for name, info in engine.inputs.items()}
        if sum(np.prod(shape, dtype=float) for shape in shapes.values()) < 1e6:
            engine.run({name: np.zeros(shapes[name], info.dtype) for name, info in engine.inputs.items()})
        Classifier(path)(np.full((28, 28), 100, np.uint8))
    return "ran"


def read_video(path: Path) -> str:
    from quietframe.sources import open_source

    with open_source(path) as source:
        return f"{sum(1 for _, _ in zip(range(50), source, strict=False))} frames"


def read_stream(path: Path) -> str:
    from quietframe.sources import open_source

    reading, writing = os.pipe()
    kept = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)

    def feed() -> None:
        try:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(path.read_bytes())
        except BrokenPipeError:
            pass

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        with open_source("-") as source:
            return f"{sum(1 for _, _ in zip(range(50), source, strict=False))} frames"
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def misbehave(path: Path) -> str:
    """Do what a file says: for the test of this module."""
    word = path.read_text()
    if word == "crash":
        os.abort()
    if word == "hang":
        time.sleep(60)
    if word == "memory":
        np.ones(2**28, np.uint8)
    if word == "traceback":
        raise KeyError(word)
    return word


TARGETS: dict[str, Callable[[Path], str]] = {
    "image": read_image,
    "card": read_card,
    "tflite": run_model,
    "onnx": run_model,
    "video": read_video,
    "stream": read_stream,
    "test": misbehave,
}


class Worker:
    """The parent's side: start the process, give it inputs, watch its time and memory, start it anew."""

    def __init__(self, kind: str, max_s: float = MAX_S, max_bytes: int = MAX_BYTES) -> None:
        self._kind, self._max_s, self._max_bytes = kind, max_s, max_bytes
        self._process: subprocess.Popen[str] | None = None

    def run(self, path: Path) -> dict[str, Any]:
        """Run one input. Returns what became of it."""
        process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        answers: list[str] = []
        reader = threading.Thread(target=lambda: answers.append(process.stdout.readline()))  # type: ignore[union-attr]
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        reader.start()
        start_s, fault = time.monotonic(), ""
        while reader.is_alive() and not fault:
            reader.join(0.02)
            if time.monotonic() - start_s > self._max_s:
                fault = "hang"
            elif _rss_bytes(process.pid) > self._max_bytes:
                fault = "memory"
        if fault:
            process.kill()
        reader.join()
        if fault or not answers[0]:
            code = process.wait()
            self.close()
            return {"outcome": fault or "crash", "text": f"exit {code}"}
        answer: dict[str, Any] = json.loads(answers[0])
        if answer["peak"] > self._max_bytes:
            answer["outcome"] = "memory"
        return answer

    def close(self) -> None:
        if self._process is not None:
            with suppress(BrokenPipeError), self._process:
                self._process.kill()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "campaign.worker", self._kind]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the worker of {self._kind} did not start")
        return self._process


def _rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    from quietframe.errors import QuietFrameError

    os.environ["QUIETFRAME_ISOLATE"] = "0"
    target = TARGETS[sys.argv[1]]
    inputs, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for module in ("quietframe.tasks", "quietframe.sources", "av", "cv2", "PIL.Image"):
        __import__(module)
    print("ready", file=answers, flush=True)
    for line in inputs:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        try:
            outcome, text = "read", target(Path(line.rstrip("\n")))
        except QuietFrameError as exc:
            text = str(exc)
            outcome = "wrong" if "\n" in text or not text.strip() else "refused"
        except BaseException:  # noqa: BLE001  whatever it is, it is this input's result
            outcome, text = "traceback", traceback.format_exc()
        print(json.dumps({"outcome": outcome, "text": text[-2000:], "peak": _peak_bytes()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
