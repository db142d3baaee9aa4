"""The choice of a model under real load. It measures time, so that nothing else may run beside it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.cpu import logical_cores
from quietframe.pipeline.models import AUTO, measure_ms
from support.live import Camera, Noted


@contextmanager
def busy_machine():
    """Twice as many processes as processors, each of which takes all that it gets."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(2 * logical_cores())]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.long
def test_on_a_busy_machine_a_faster_model_takes_over_and_gives_way_again(live, caplog):
    """Real work, the real clock, and real load from outside."""

    class Thorough(Denoiser):
        def __call__(self, frame, *, sigma_255=None):
            return [super(Thorough, self).__call__(frame, sigma_255=sigma_255) for _ in range(5)][-1]

    models = {"quick": Denoiser("camera-nano"), "thorough": Thorough("camera-nano")}
    side = 320
    times_ms = [measure_ms(models["thorough"], np.zeros((side, side, 3), np.uint8)) for _ in range(3)]
    caplog.set_level("INFO", "quietframe")
    sink = Noted()
    loop = live(Camera(fps := 1000 / (2.5 * min(times_ms)), side=side), sink, models, model=AUTO, fps=fps)

    def chosen():
        return [message.partition(":")[0] for message in caplog.messages]

    def load():
        wait_for(lambda: chosen()[-1:] == ["thorough"], 40)  # at once, unless others load the machine
        with busy_machine():
            wait_for(lambda: chosen()[-1:] == ["quick"], 20)
        wait_for(lambda: chosen()[-1:] == ["thorough"], 40)
        sink.wants_more = False

    thread = threading.Thread(target=load)
    thread.start()
    loop.run()
    thread.join()
    print(*caplog.messages, sep="\n")
    assert chosen()[-3:] == ["thorough", "quick", "thorough"]


def wait_for(condition, seconds):
    end_s = time.monotonic() + seconds
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.05)
