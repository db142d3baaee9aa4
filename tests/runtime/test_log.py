"""The one logger: nothing is printed by the library, and a program can see what happens."""

from __future__ import annotations

import logging

from quietframe.log import log
from support.process import run_python

USE = """
import logging, sys
import numpy as np
import quietframe as qf
logging.basicConfig(stream=sys.stdout, format="%(name)s %(levelname)s %(message)s", level=logging.DEBUG)
denoise = qf.Denoiser(sys.argv[1])
denoise(np.zeros((40, 40, 3), np.uint8))
denoise(np.zeros((4, 4, 3), np.uint8))
"""


def test_what_the_engine_prints_and_which_model_was_opened_are_logged(blur_file):
    """In a process of its own: LiteRT prints its line once."""
    done = run_python("-c", USE, blur_file)
    assert done.stdout.splitlines() == [
        f"quietframe DEBUG opened {blur_file} with LiteRtEngine",
        "quietframe DEBUG LiteRT: Created TensorFlow Lite XNNPACK delegate for CPU.",
        f"quietframe DEBUG {blur_file}: a new interpreter for much smaller inputs",
    ]
    assert done.stderr == ""


def test_without_a_handler_nothing_is_printed():
    code = "from quietframe.log import log; log.warning('a warning'); log.error('an error')"
    done = run_python("-c", code)
    assert (done.stdout, done.stderr) == ("", "")
    assert log is logging.getLogger("quietframe")
