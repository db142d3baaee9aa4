"""How soon a page shows something. It measures time, so that nothing else may run beside it."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from chromium import wait_for


def test_the_first_image_is_on_the_page_within_2_s_of_the_command(browser, serve):
    scene = "test:?size=640x480&fps=30&frames=0"
    command = [sys.executable, "-m", "quietframe", "denoise", scene, "--serve", "127.0.0.1:0"]
    took_s = []
    for _ in range(3):
        start_s = time.monotonic()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                browser.open(process.stderr.readline().split()[-1])
                wait_for(lambda: browser.run("document.getElementById('canvas').dataset.index"))
                took_s.append(time.monotonic() - start_s)
            finally:
                process.kill()
    print(f"first image on the page: {statistics.median(took_s):.2f} s after the command")
    assert statistics.median(took_s) <= 2
