from __future__ import annotations

import pytest

from quietframe.errors import QuietFrameError
from quietframe_bench.kinds.startup import HEAVY, MAX_RATIO, help_imports, measure_overhead
from quietframe_bench.rows import Run

# Processor time of two short processes on a machine that others use, too: the goal itself is for `bench startup`.
MARGIN = 1.15


def test_the_first_denoiser_costs_little_more_than_the_libraries(denoiser_file):
    startup = measure_overhead(denoiser_file, 9, Run({}))
    assert len(startup.libraries_ns) == len(startup.denoiser_cpu_ns) == 9
    assert startup.cpu_ratio < MAX_RATIO * MARGIN


def test_help_imports_nothing_heavy():
    assert help_imports() == []


def test_the_check_of_help_can_fail():
    assert set(help_imports(("info", "no-such-model"))) >= {"numpy"}
    assert {"numpy", "cv2", "ai_edge_litert"} == set(HEAVY)


def test_a_model_that_does_not_open_is_an_error(bad_file):
    with pytest.raises(QuietFrameError, match="not a LiteRT model"):
        measure_overhead(bad_file, 1, Run({}))
