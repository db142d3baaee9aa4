from __future__ import annotations

import pytest

from quietframe.zoo import builtin_models
from quietframe_bench.kinds.startup import MAX_RATIO, measure_overhead, tables
from quietframe_bench.rows import Run

# Processor time of two short processes on a machine that others use, too: the goal itself is for `bench startup`.
MARGIN = 1.15


def test_the_first_denoiser_costs_little_more_than_the_libraries(denoiser_file):
    startup = measure_overhead(Run({}), denoiser_file, 5)
    assert len(startup.libraries_ns) == len(startup.denoiser_cpu_ns) == 5
    assert startup.cpu_ratio < MAX_RATIO * MARGIN


@pytest.mark.parametrize(("suffix", "engine"), [(".tflite", "ai_edge_litert"), (".onnx", "onnxruntime")])
def test_the_bare_libraries_are_those_of_the_models_engine(make_model, suffix, engine):
    row = measure_overhead(Run({}), make_model(suffix=suffix), 1)
    (cells,) = tables([row])[1].cells()
    assert any(cell.text.startswith(f"import numpy, cv2, {engine}") for cell in cells)


def test_a_video_model_starts_as_one():
    row = measure_overhead(Run({}), builtin_models()["video-nano"], 1)
    assert row.error is None
    assert row.ratio > 0


def test_a_model_that_does_not_open_is_a_failed_row(bad_file):
    row = measure_overhead(Run({}), bad_file, 1)
    assert "not a LiteRT model" in row.error
    assert row.ratio is row.cpu_ratio is None
    (failure,) = row.failures()
    assert "bad.tflite" in failure
