from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quietframe.zoo import builtin_models
from quietframe_bench.kinds import profile as module
from quietframe_bench.kinds.profile import (
    UNATTRIBUTED,
    ProfileRow,
    ProfileSettings,
    profile,
)
from quietframe_bench.profiles import Operator, Profiled
from quietframe_bench.results import Results, read_results
from quietframe_bench.rows import Run

QUICK = ProfileSettings(sizes_wh=((64, 48),), threads=(1,), runs=4, warmup=1)


def printed(rows, capsys):
    Results(rows).print()
    return capsys.readouterr().out


def test_every_model_size_and_thread_count_is_a_row(denoiser_file, classifier_file, monkeypatch):
    monkeypatch.setattr(module, "_measure", lambda path, row, settings: None)
    settings = ProfileSettings(((64, 48), (32, 24)), (1, 2))
    rows = profile([denoiser_file, classifier_file], settings)
    assert [(row.file, row.size_wh, row.threads) for row in rows] == [
        *((denoiser_file.name, size_wh, threads) for size_wh in ((64, 48), (32, 24)) for threads in (1, 2)),
        *((classifier_file.name, (28, 28), threads) for threads in (1, 2)),
    ]


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_operators_are_measured_through_both_engines(suffix, make_model, tmp_path):
    model = make_model("blur.fp32", suffix=suffix, blur=True, sigma=True, level_map=suffix == ".tflite")
    results = profile([model], replace(QUICK, threads=(2,)))
    (row,) = results
    assert row.error is None
    assert [one.index for one in row.operators] == list(range(len(row.operators)))
    assert row.operators[-1].kind == UNATTRIBUTED
    assert sum(one.share for one in row.operators[:-1]) == pytest.approx(1)
    assert any("pool" in one.kind.lower() for one in row.operators)
    for one in row.operators:
        assert len(one.samples_ns) == 4
        assert one.median_ms == pytest.approx(np.median(one.samples_ns) / 1e6)
    assert {48, 64} <= set(row.input_shapes["image"])
    results.to_json(tmp_path / "rows.jsonl")
    assert read_results(tmp_path / "rows.jsonl")[0].operators == row.operators


def test_a_layers_rate_is_its_work_by_its_median():
    one = Operator("Conv", "a", (1,), 6_000_000, 3_000_000, [1_000_000, 2_000_000, 6_000_000])
    other = Operator("Add", "b", (1,), 0, None, [2_000_000, 2_000_000, 2_000_000])
    row = Run({}).row(ProfileRow, builtin_models()["camera-nano"], card_macs=6_000_000)
    row.samples_ns.extend({stage: [8_000_000] for stage in ("pre", "engine", "post", "total")})
    row.finish(Profiled("a profiler", [one, other], [], [4_000_000, 5_000_000, 9_000_000]))
    first, second, rest = row.operators
    assert (first.median_ms, first.gmacs_per_s, first.gbytes_per_s) == (2, 3, 1.5)
    assert (first.share, second.share, rest.share) == (0.5, 0.5, None)
    assert second.gmacs_per_s is second.gbytes_per_s is None
    assert rest.samples_ns == [1_000_000, 1_000_000, 1_000_000]
    assert row.macs == 6_000_000
    clocks = row.clocks_ms
    assert (clocks["stopwatch"], clocks["profiler"], clocks["operators"]) == (8, 5, 4)


def test_a_model_that_fails_is_a_failed_row(denoiser_file, capsys, bad_file):
    failed, good = profile([bad_file, denoiser_file], QUICK)
    assert "not a LiteRT model" in failed.error
    assert (failed.operators, failed.clocks_ms) == ([], {})
    assert good.error is None
    out = printed([failed, good], capsys)
    assert "failed" in out
    assert "ADD" in out.upper()


def test_an_engine_whose_operators_are_not_profiled_is_a_failed_row(make_model):
    pytest.importorskip("openvino", reason="needs the extra 'openvino'")
    (row,) = profile([make_model("blur", suffix=".xml", blur=True)], QUICK)
    assert row.error == "operators are profiled of .tflite and .onnx files alone"


def test_a_frame_in_tiles_is_several_runs_and_the_table_is_of_one(make_model, capsys):
    tiles = make_model("tiles", size_hw=(32, 32), fit="tile", card_changes={"macs_per_pixel": 0.0})
    (row,) = profile([tiles], QUICK)
    assert row.engine_runs == 4
    assert row.input_shapes["image"] == [1, 32, 32, 3]
    assert row.clocks_ms["stopwatch"] == pytest.approx(np.median(row.samples_ns.engine) / 4e6)
    assert "one of the 4 runs that a frame takes" in " ".join(printed([row], capsys).split())


def test_work_that_is_not_the_cards_is_noted(denoiser_file, capsys):
    (row,) = profile([denoiser_file], QUICK)  # its card says 9 a pixel, and it multiplies nothing
    assert row.error is None
    assert row.notes == ["operators: 0 MMAC a frame; the model card: 0.02765 MMAC"]
    assert "model card" in " ".join(printed([row], capsys).split())


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_the_engines_own_clocks_agree_with_the_stopwatch(suffix, make_model):
    """Fastest runs against fastest, of a small frame, and a wide band: what else runs here must not decide."""
    path = builtin_models()["camera-nano"] if suffix == ".tflite" else make_model("b.fp32", suffix=".onnx", blur=True)
    (row,) = profile([path], ProfileSettings(((160, 120),), (1,), runs=60))
    assert row.error is None
    stopwatch = min(row.samples_ns.engine) / 1e6
    operators = float(np.sum([one.samples_ns for one in row.operators[:-1]], axis=0).min()) / 1e6
    assert 0.6 * stopwatch < operators < 1.6 * stopwatch
    assert 0.6 * stopwatch < min(row.runs_ns) / 1e6 < 2 * stopwatch


def test_the_command_prints_the_clocks_and_writes_rows(rows_of, denoiser_file):
    (row,), out = rows_of("profile", denoiser_file, "--size", "64x48", "--threads", 1, "--runs", 3)
    for text in (denoiser_file.name, "64×48", "stopwatch", UNATTRIBUTED, "share"):
        assert text in out
    assert (row["kind"], row["model"]["file"]) == ("profile", denoiser_file.name)
    assert row["settings"]["runs"] == 3
    assert {len(one["samples_ns"]) for one in row["operators"]} == {3}
    assert row["clocks_ms"]["stopwatch"] > 0
