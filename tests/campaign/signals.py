"""Send a signal to a command at a random moment: it ends as a shell expects, and leaves no half file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from campaign.mutate import MODELS, pick
from support.images import random_frame, write_image

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
_WAIT_S = 180
_KERAS = """
import sys, keras
image = keras.Input((None, None, 3), name="noisy")
features = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
keras.Model(image, keras.layers.Conv2D(3, 3, padding="same", name="clean")(features), name="tiny").save(sys.argv[1])
"""


@cache
def commands(folder: Path) -> dict[str, list[Any]]:
    """Commands and their arguments; what they write lies in `folder / "out"`."""
    given, out = folder / "given", folder / "out"
    given.mkdir()
    model, classifier = given / "a.tflite", given / "b.tflite"
    MODELS[1].write(model)
    MODELS[4].write(classifier)
    subprocess.run([sys.executable, "-W", "ignore", "-c", _KERAS, given / "c.keras"], check=True, capture_output=True)
    image = write_image(given / "a.png", random_frame(240, 320, 3))
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (320, 28, 28), np.uint8), rng.integers(0, 10, 320, np.uint8)
    np.savez(given / "mnist.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    for index in range(30):
        write_image(given / f"photos/{index}.png", random_frame(240, 320, 3, seed=index))
    return {
        "models": ["models"],
        "info": ["info", model],
        "doctor": ["doctor"],
        "demo": ["demo", "-o", out],
        "classify": ["classify", image, "-m", classifier],
        "card": ["card", model, "-o", out / "a.card.json"],
        "train --list": ["train", "--list"],
        "train": ["train", "digit-classifier", "--data", given / "mnist.npz", "--epochs", 3, "--out", out / "run"],
        "export": ["export", given / "c.keras", "--calibrate", given / "photos", "--out", out],
        "bench": ["bench", "speed", model, "--size", "64x48", "--runs", 20, "-o", out / "rows.jsonl"],
        "image": ["denoise", image, "-o", out / "b.png", "-m", model],
        "folder": ["denoise", given / "photos", "-o", out / "clean", "-m", model],
        "recording": ["denoise", "test:?size=64x48&frames=900", "-o", out / "b.mkv", "-m", model],
        "live": ["denoise", "test:?size=64x48&frames=0", "--frames", 60, "-o", out / "c.mkv", "-m", model],
    }


def run(arguments: list[Any], out: Path, after_s: float | None, number: int) -> tuple[int, str, float]:
    """Run a command, with a signal after so long to it and what it started. Returns its end, its errors, its time."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, "-m", "quietframe", *map(str, arguments)]
    start_s = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            if after_s is not None:
                time.sleep(after_s)
                if process.poll() is None:
                    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)  # as a terminal does
            _, errors = process.communicate(timeout=_WAIT_S)
        finally:
            process.kill()
    return process.returncode, errors, time.monotonic() - start_s


@cache
def usual_s(folder: Path, name: str) -> float:
    """How long a command takes undisturbed; a few seconds of those that measure the machine."""
    if name in ("doctor", "demo"):
        return 5.0
    code, errors, seconds = run(commands(folder)[name], folder / "out", None, 0)
    assert code == 0, f"{name}: {errors}"
    return seconds


def signal_a_command(seed: int, folder: Path) -> dict[str, Any]:
    """One trial: a command, a signal and a moment by the seed, every third one in the first 50 ms."""
    rng = np.random.default_rng(seed)
    names = list(commands(folder))
    name, number = names[seed % len(names)], pick(rng, NUMBERS)
    after_s = float(rng.uniform(0, 0.05 if rng.random() < 1 / 3 else 1.1 * usual_s(folder, name)))
    out = folder / "out"
    code, errors, _ = run(commands(folder)[name], out, after_s, number)
    how = f"{name}, {signal.Signals(number).name} after {after_s:.3f} s: exit {code}"
    own_words = errors.replace("quietframe: interrupted", "")
    if number == signal.SIGINT and after_s < 0.05 and "KeyboardInterrupt" in errors and "quietframe" not in own_words:
        return {
            "outcome": "ended by the signal",
            "text": f"{how}, in Python's own start, before any of our code is read",
        }
    if "Traceback" in errors or "Exception ignored" in errors:
        return {"outcome": "traceback", "text": f"{how}: {errors}"}
    if code not in (0, 128 + number, -number):
        return {"outcome": "wrong", "text": f"{how}: {errors}"}
    written = [path for path in out.rglob("*") if path.is_file()]
    if number == signal.SIGKILL:  # the one thing that it may leave
        written = [path for path in written if not (path.name.startswith(".") and path.suffix == ".part")]
    half = [path.name for path in written if not is_whole(path)]
    if half:
        return {"outcome": "wrong", "text": f"{how}: half of {half}"}
    return {"outcome": "finished" if code == 0 else "ended by the signal", "text": how}


def is_whole(path: Path) -> bool:
    """Whether a file has a name of its own and can be read to its end."""
    from quietframe.errors import QuietFrameError
    from quietframe.images import read_image
    from quietframe.sources import open_source
    from quietframe.tasks.base import open_model

    if path.name.startswith(".") or path.stat().st_size == 0:
        return False
    try:
        if path.suffix == ".png":
            read_image(path)
        elif path.suffix in (".mkv", ".mp4"):
            with open_source(path) as source:
                return sum(1 for _ in source) > 0 and not source.failures
        elif path.suffix in (".tflite", ".onnx"):
            open_model(path)
        elif path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            return all(map(json.loads, lines))
    except (QuietFrameError, ValueError):
        return False
    return True
