"""Memory that frames take: not given back to the kernel and fetched anew with each."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

LOOP = """
import resource
import numpy as np
from quietframe import Denoiser

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

denoise, base = Denoiser("camera-nano", threads=2), np.zeros((480, 640, 3), np.uint8)
for index in range(60):
    if index == 20:
        before = faults()
    frame = base + np.uint8(index)
    held = frame, denoise(frame)
print((faults() - before) / 40)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is known to give memory back so often")
def test_frames_find_their_memory_mapped() -> None:
    done = subprocess.run([sys.executable, "-c", LOOP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(f"page faults a frame of 640x480: {float(done.stdout):.1f}")
    assert float(done.stdout) < 20
