"""Whether the figures are right: the time of whole processes, taken with another clock, says the same."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from quietframe.zoo import find_model
from quietframe_bench.process import Child, fresh_environment

MODEL, FRAMES, SIZE_WH, ROUNDS = "camera-small", 400, (640, 480), 8
# Processes start in times that differ by a tenth of a second: little beside several seconds of frames.
TOLERANCE = 0.05
PROGRAM = """
import sys
import quietframe
from quietframe_bench.frames import open_feed
feed = open_feed(None, (640, 480))
denoise = quietframe.Denoiser(sys.argv[1], threads=1)
for index in range(3):
    denoise(feed.frame(index))
for index in range(int(sys.argv[3])):
    frame = feed.frame(index)
    if sys.argv[2] == "denoise":
        result = denoise(frame)
"""


def process_s(model: str, what: str) -> float:
    """How long a program takes that makes frames and denoises them, or only makes them; from outside."""
    start = time.time()
    subprocess.run([sys.executable, "-P", "-c", PROGRAM, model, what, str(FRAMES)], check=True, env=fresh_environment())
    return time.time() - start


def measure(model: str, child: Child) -> tuple[float, float, float]:
    """(seconds of a process that denoises, of one that only makes frames, and of the same frames by the stopwatch)."""
    samples = child.call("subject:TimedModel.time", warmup=3, runs=FRAMES, min_secs=0)
    return process_s(model, "denoise"), process_s(model, "make"), float(np.sum(samples["stages_ns"]["total"]) / 1e9)


@pytest.mark.long
def test_whole_processes_take_as_long_as_the_sum_of_their_frames() -> None:
    """In turn on the same machine, the quickest of each: other work only ever adds time, and seldom to all rounds."""
    model = str(find_model(MODEL))
    rounds = []
    with Child() as child:
        task = child.call("subject:describe", model=model)["task"]
        child.call("subject:TimedModel", model=model, task=task, size_wh=SIZE_WH, threads=1, frames=None)
        for _ in range(ROUNDS):
            rounds.append(measure(model, child))
            whole_s, making_s, watched_s = (min(times) for times in zip(*rounds, strict=True))
            ratio = (whole_s - making_s) / watched_s
            print(f"{whole_s - making_s:.2f} s by whole processes, {watched_s:.2f} by the stopwatch: {ratio:.3f}")
            if len(rounds) > 1 and abs(ratio - 1) <= TOLERANCE:
                return
    pytest.fail(f"whole processes over the stopwatch: {ratio:.3f}")
