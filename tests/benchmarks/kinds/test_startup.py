from __future__ import annotations

import pytest

from quietframe.errors import QuietFrameError
from quietframe_bench.kinds.startup import MAX_RATIO, measure_overhead, tables
from quietframe_bench.rows import Run

# Processor time of two short processes on a machine that others use, too: the goal itself is for `bench startup`.
MARGIN = 1.15


def test_the_first_denoiser_costs_little_more_than_the_libraries(denoiser_file):
    startup = measure_overhead(denoiser_file, 5, Run({}))
    assert len(startup.libraries_ns) == len(startup.denoiser_cpu_ns) == 5
    assert startup.cpu_ratio < MAX_RATIO * MARGIN


@pytest.mark.parametrize(("suffix", "engine"), [(".tflite", "ai_edge_litert"), (".onnx", "onnxruntime")])
def test_the_bare_libraries_are_those_of_the_models_engine(make_model, suffix, engine):
    row = measure_overhead(make_model(suffix=suffix), 1, Run({}))
    (cells,) = tables([row])[1].cells()
    assert any(cell.text.startswith(f"import numpy, cv2, {engine}") for cell in cells)


def test_a_model_that_does_not_open_is_an_error(bad_file):
    with pytest.raises(QuietFrameError, match="not a LiteRT model"):
        measure_overhead(bad_file, 1, Run({}))
