from __future__ import annotations

import pytest

from quietframe.zoo import builtin_models
from quietframe_bench.kinds.startup import MAX_RATIO, StartupRow, measure_overhead, tables
from quietframe_bench.rows import Run

# Processor time of two short processes, in `make test` beside no other test: the goal itself is for `bench startup`.
MARGIN = 1.15


def measured(path, runs=1):
    """A row with the overhead over the libraries alone."""
    row = Run({}).row(StartupRow, path)
    measure_overhead(path, row, runs)
    return row


def test_the_first_denoiser_costs_little_more_than_the_libraries(denoiser_file):
    row = measured(denoiser_file, 5)
    assert len(row.libraries_ns) == len(row.model_cpu_ns) == 5
    assert row.cpu_ratio < MAX_RATIO * MARGIN


@pytest.mark.parametrize(
    ("suffix", "library"),
    [(".tflite", "ai_edge_litert"), (".onnx", "onnxruntime"), (".xml", "quietframe_bench.openvino_library")],
)
def test_the_bare_libraries_are_those_of_the_models_engine(make_model, suffix, library):
    pytest.importorskip(library)
    (cells,) = tables([measured(make_model(suffix=suffix))])[1].cells()
    assert any(cell.text.startswith(f"import numpy, cv2, {library}") for cell in cells)


@pytest.mark.parametrize("name", ["video-nano", "digit-cnn", "denoise-and-classify"])
def test_a_model_of_any_task_is_opened_as_what_it_is(name):
    row = measured(builtin_models()[name])
    assert row.error is None
    assert row.ratio > 0


def test_a_model_that_does_not_open_is_a_failed_row(bad_file):
    row = measured(bad_file)
    assert "not a LiteRT model" in row.error
    assert row.ratio is row.cpu_ratio is None
    (failure,) = row.failures()
    assert "bad.tflite" in failure
