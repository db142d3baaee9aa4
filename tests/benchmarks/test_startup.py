from __future__ import annotations

import pytest

from quietframe.errors import QuietFrameError
from quietframe_bench.startup import GOAL_RATIO, HEAVY, help_imports, measure_startup

# Processor time of two short processes on a machine that others use, too: the goal itself is for `bench --startup`.
MARGIN = 1.15


def test_the_first_denoiser_costs_little_more_than_the_libraries(denoiser_file):
    startup = measure_startup(denoiser_file, runs=9)
    assert len(startup.libraries.wall_ns) == len(startup.denoiser.cpu_ns) == 9
    assert startup.cpu_ratio < GOAL_RATIO * MARGIN


def test_help_imports_nothing_heavy():
    assert help_imports() == []


def test_the_check_of_help_can_fail():
    assert set(help_imports(("info", "no-such-model"))) >= {"numpy"}
    assert {"numpy", "cv2", "ai_edge_litert"} == set(HEAVY)


def test_a_model_that_does_not_open_is_an_error(tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    with pytest.raises(QuietFrameError, match="not a LiteRT model"):
        measure_startup(bad, runs=1)
