from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from quietframe.zoo import builtin_models
from quietframe_bench.operators import measure, own_tool
from quietframe_bench.kinds.profile import REST, OperatorRow, OperatorSettings, engines_own_time, measure_operators
from quietframe_bench.operators.report import operator_tables
from quietframe_bench.process import ChildError
from quietframe_bench.report import print_results
from quietframe_bench.timing import Samples

QUICK = OperatorSettings(sizes_wh=((64, 48),), threads=(1,), runs=4, warmup=1, own_tool=False)


def printed(rows, capsys):
    print_results(*operator_tables(rows))
    return capsys.readouterr().out


def test_every_model_size_and_thread_count_is_a_row(denoiser_file, classifier_file, monkeypatch):
    monkeypatch.setattr(measure, "_measure", lambda row, settings: None)
    settings = OperatorSettings(((64, 48), (32, 24)), (1, 2))
    rows = measure_operators([denoiser_file, classifier_file], settings)
    assert [(row.model, row.size_wh, row.threads) for row in rows] == [
        *((denoiser_file, size_wh, threads) for size_wh in ((64, 48), (32, 24)) for threads in (1, 2)),
        *((classifier_file, (28, 28), threads) for threads in (1, 2)),
    ]


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_operators_are_measured_through_both_engines(suffix, make_model):
    model = make_model("blur.fp32", suffix=suffix, blur=True, sigma=True)
    (row,) = measure_operators([model], replace(QUICK, threads=(2,)))
    assert row.error is None
    operators = row.operators()
    assert [one["index"] for one in operators] == list(range(len(operators)))
    assert operators[-1]["kind"] == REST
    assert sum(one["share"] for one in operators[:-1]) == pytest.approx(1)
    assert any("pool" in one["kind"].lower() for one in operators)
    for one in operators:
        assert len(one["samples_ns"]) == 4
        assert one["median_ms"] == pytest.approx(np.median(one["samples_ns"]) / 1e6)
    assert {48, 64} <= set(row.facts["input_shapes"]["image"])
    assert json.loads(json.dumps(row.as_record(), allow_nan=False))["operators"]


def test_a_layers_rate_is_its_work_by_its_median():
    row = OperatorRow(builtin_models()["camera-nano"], (64, 48), 1, {"engine_runs": 1})
    one = {"kind": "Conv", "name": "a", "output_shape": [1], "macs": 6_000_000, "bytes": 3_000_000}
    other = {"kind": "Add", "name": "b", "output_shape": [1], "macs": 0, "bytes": None}
    row.profiled = {
        "runs_ns": [4_000_000, 5_000_000, 9_000_000],
        "operators": [
            one | {"samples_ns": [1_000_000, 2_000_000, 6_000_000]},
            other | {"samples_ns": [2_000_000, 2_000_000, 2_000_000]},
        ],
    }
    row.samples = Samples([], {stage: [8_000_000] for stage in ("pre", "engine", "post", "total")})
    first, second, rest = row.operators()
    assert (first["median_ms"], first["mean_ms"], first["min_ms"]) == (2, 3, 1)
    assert (first["gmacs_per_s"], first["gbytes_per_s"]) == (3, 1.5)
    assert (first["share"], second["share"], rest["share"]) == (0.5, 0.5, None)
    assert second["gmacs_per_s"] is second["gbytes_per_s"] is None
    assert rest["samples_ns"] == [1_000_000, 1_000_000, 1_000_000]
    assert row.macs == 6_000_000
    clocks = row.clocks()
    assert (clocks["stopwatch"], clocks["profiler"], clocks["operators"], clocks["tool"]) == (8, 5, 4, None)


def test_a_model_that_fails_is_a_failed_row(denoiser_file, tmp_path, capsys):
    bad = tmp_path / "bad.tflite"
    bad.write_text("no model")
    failed, good = measure_operators([bad, denoiser_file], QUICK)
    assert "not a LiteRT model" in failed.error
    assert (failed.operators(), failed.clocks()) == ([], {})
    assert good.error is None
    out = printed([failed, good], capsys)
    assert "failed" in out
    assert "ADD" in out.upper()
    with pytest.raises(ChildError, match="not a LiteRT model"):
        engines_own_time(bad, (64, 48), threads=1, runs=1)


def test_a_frame_in_tiles_is_several_runs_and_the_table_is_of_one(make_model, capsys):
    tiles = make_model("tiles", size_hw=(32, 32), fit="tile", card_changes={"macs_per_pixel": 0.0})
    (row,) = measure_operators([tiles], QUICK)
    assert row.facts["engine_runs"] == 4
    assert row.facts["input_shapes"]["image"] == [1, 32, 32, 3]
    whole = np.median(row.samples.stages_ns["engine"]) / 1e6
    assert row.clocks()["stopwatch"] == pytest.approx(whole / 4)
    assert "one of the 4 runs that a frame takes" in printed([row], capsys)


def test_work_that_is_not_the_cards_is_noted(denoiser_file, capsys):
    (row,) = measure_operators([denoiser_file], QUICK)  # its card says 9 a pixel, and it multiplies nothing
    assert row.profiled["notes"] == ["operators: 0 MMAC a frame; the model card: 0.02765 MMAC"]
    assert "model card" in printed([row], capsys)


def test_a_tool_that_is_not_there_is_said_in_its_row(denoiser_file, monkeypatch, capsys):
    monkeypatch.setattr(own_tool, "_MODULE", "no_such_package.tools.benchmark")
    (row,) = measure_operators([denoiser_file], OperatorSettings(((64, 48),), (1,), runs=4, warmup=0))
    assert row.error is None
    assert row.clocks()["tool"] is None
    assert row.tool["name"] == "litert-benchmark"
    assert "not installed" in " ".join(printed([row], capsys).split())


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_the_engines_own_clocks_agree_with_the_stopwatch(suffix, make_model):
    """Fastest runs against fastest, of a small frame, and a wide band: what else runs here must not decide."""
    path = builtin_models()["camera-nano"] if suffix == ".tflite" else make_model("b.fp32", suffix=".onnx", blur=True)
    (row,) = measure_operators([path], OperatorSettings(((160, 120),), (1,), runs=60))
    assert row.error is None
    stopwatch = min(row.samples.stages_ns["engine"]) / 1e6
    operators = float(np.sum([one["samples_ns"] for one in row.profiled["operators"]], axis=0).min()) / 1e6
    assert 0.6 * stopwatch < operators < 1.6 * stopwatch
    if suffix == ".tflite" and "missing" not in row.tool:
        assert 0.6 * stopwatch < min(one["min_ms"] for one in row.tool["rounds"]) < 1.6 * stopwatch


def test_the_clocks_can_be_asked_from_python(denoiser_file):
    found = engines_own_time(denoiser_file, (64, 48), threads=1, runs=3, warmup=0)
    assert list(found) == ["stopwatch", "profiler", "operators", "tool", "tool_avg"]
    assert found["stopwatch"] > 0
