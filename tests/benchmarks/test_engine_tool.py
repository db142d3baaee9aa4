from __future__ import annotations

import importlib.util

import pytest

from quietframe_bench import engine_tool
from quietframe_bench.engine_tool import ToolError, run_litert_benchmark
from quietframe_bench.litert_file import copy_at_size

needs_tool = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert.tools") is None, reason="litert-benchmark comes with LiteRT 2.2"
)


@needs_tool
def test_litert_benchmark_is_asked_for_its_figures(denoiser_file, tmp_path):
    copy = tmp_path / "copy.tflite"
    shapes = {"image": (1, 48, 64, 3), "sigma": (1, 1, 1, 1)}
    copy.write_bytes(copy_at_size(denoiser_file.read_bytes(), shapes))
    found = run_litert_benchmark(copy, threads=1, warmup=1, runs=7)
    assert found["num_runs"] == 7
    assert found["min_ms"] <= found["median_ms"] <= found["max_ms"]


@needs_tool
def test_a_file_that_it_cannot_run_is_one_line(tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    with pytest.raises(ToolError, match=r"litert-benchmark fails: .*Error") as caught:
        run_litert_benchmark(bad, threads=1, warmup=0, runs=1)
    assert "\n" not in str(caught.value)


def test_where_it_is_not_installed_that_is_said(monkeypatch, denoiser_file):
    monkeypatch.setattr(engine_tool, "_MODULE", "no_such_package.tools.benchmark")
    with pytest.raises(ToolError, match=r"not installed: it comes with ai-edge-litert 2\.2"):
        run_litert_benchmark(denoiser_file, threads=1, warmup=0, runs=1)
