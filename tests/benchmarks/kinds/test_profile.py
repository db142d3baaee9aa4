from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quietframe.zoo import builtin_models
from quietframe_bench import litert_file
from quietframe_bench.kinds import profile as module
from quietframe_bench.kinds.profile import (
    UNATTRIBUTED,
    ProfileRow,
    ProfileSettings,
    derive_operators,
    measure_profiles,
    profile,
)
from quietframe_bench.results import Results, read_results
from quietframe_bench.rows import Run

QUICK = ProfileSettings(sizes_wh=((64, 48),), threads=(1,), runs=4, warmup=1, engine_tool=False)


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
    model = make_model("blur.fp32", suffix=suffix, blur=True, sigma=True)
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
    one = {"kind": "Conv", "name": "a", "output_shape": [1], "macs": 6_000_000, "bytes": 3_000_000}
    other = {"kind": "Add", "name": "b", "output_shape": [1], "macs": 0, "bytes": None}
    profiled = {
        "source": "a profiler",
        "notes": [],
        "runs_ns": [4_000_000, 5_000_000, 9_000_000],
        "operators": [
            one | {"samples_ns": [1_000_000, 2_000_000, 6_000_000]},
            other | {"samples_ns": [2_000_000, 2_000_000, 2_000_000]},
        ],
    }
    first, second, rest = derive_operators(profiled)
    assert (first.median_ms, first.mean_ms, first.min_ms) == (2, 3, 1)
    assert (first.gmacs_per_s, first.gbytes_per_s) == (3, 1.5)
    assert (first.share, second.share, rest.share) == (0.5, 0.5, None)
    assert second.gmacs_per_s is second.gbytes_per_s is None
    assert rest.samples_ns == [1_000_000, 1_000_000, 1_000_000]
    row = Run({}).row(ProfileRow, builtin_models()["camera-nano"], card_macs=6_000_000)
    row.samples_ns.extend({stage: [8_000_000] for stage in ("pre", "engine", "post", "total")})
    row.finish(profiled, [])
    assert row.macs == 6_000_000
    clocks = row.clocks_ms
    assert (clocks["stopwatch"], clocks["profiler"], clocks["operators"], clocks["tool"]) == (8, 5, 4, None)


def test_a_model_that_fails_is_a_failed_row(denoiser_file, capsys, bad_file):
    failed, good = measure_profiles([bad_file, denoiser_file], QUICK)
    assert "not a LiteRT model" in failed.error
    assert (failed.operators, failed.clocks_ms) == ([], {})
    assert good.error is None
    out = printed([failed, good], capsys)
    assert "failed" in out
    assert "ADD" in out.upper()


def test_a_frame_in_tiles_is_several_runs_and_the_table_is_of_one(make_model, capsys):
    tiles = make_model("tiles", size_hw=(32, 32), fit="tile", card_changes={"macs_per_pixel": 0.0})
    (row,) = measure_profiles([tiles], QUICK)
    assert row.engine_runs == 4
    assert row.input_shapes["image"] == [1, 32, 32, 3]
    assert row.clocks_ms["stopwatch"] == pytest.approx(row.samples_ns.p50_ms("engine") / 4)
    assert "one of the 4 runs that a frame takes" in printed([row], capsys)


def test_work_that_is_not_the_cards_is_noted(denoiser_file, capsys):
    (row,) = measure_profiles([denoiser_file], QUICK)  # its card says 9 a pixel, and it multiplies nothing
    assert row.notes == ["operators: 0 MMAC a frame; the model card: 0.02765 MMAC"]
    assert "model card" in printed([row], capsys)


def test_a_tool_that_is_not_installed_is_said_in_its_row(denoiser_file, monkeypatch, capsys):
    monkeypatch.setattr(litert_file, "_MODULE", "no_such_package.tools.benchmark")
    (row,) = measure_profiles([denoiser_file], ProfileSettings(((64, 48),), (1,), runs=4, warmup=0))
    assert row.error is None
    assert row.clocks_ms["tool"] is None
    assert row.engine_tool["name"] == "litert-benchmark"
    assert "not installed" in " ".join(printed([row], capsys).split())


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_the_engines_own_clocks_agree_with_the_stopwatch(suffix, make_model):
    """Fastest runs against fastest, of a small frame, and a wide band: what else runs here must not decide."""
    path = builtin_models()["camera-nano"] if suffix == ".tflite" else make_model("b.fp32", suffix=".onnx", blur=True)
    (row,) = measure_profiles([path], ProfileSettings(((160, 120),), (1,), runs=60))
    assert row.error is None
    stopwatch = min(row.samples_ns.engine) / 1e6
    operators = float(np.sum([one.samples_ns for one in row.operators[:-1]], axis=0).min()) / 1e6
    assert 0.6 * stopwatch < operators < 1.6 * stopwatch
    if suffix == ".tflite" and "missing" not in row.engine_tool:
        assert 0.6 * stopwatch < min(one["min_ms"] for one in row.engine_tool["rounds"]) < 1.6 * stopwatch


def test_the_clocks_can_be_asked_from_python(denoiser_file):
    found = profile([denoiser_file], ProfileSettings(((64, 48),), (1,), runs=3, warmup=0))[0].clocks_ms
    assert list(found) == ["stopwatch", "profiler", "operators", "tool", "tool_avg"]
    assert found["stopwatch"] > 0


def test_the_command_prints_the_clocks_and_writes_rows(bench, conditioned_file, tmp_path):
    target = tmp_path / "rows.jsonl"
    code, out, _ = bench("profile", conditioned_file, "--size", "64x48", "--threads", 1, "--runs", 3, "--out", target)
    assert code == 0
    for text in (conditioned_file.name, "64×48", "stopwatch", UNATTRIBUTED, "share"):
        assert text in out
    (row,) = map(json.loads, target.read_text().splitlines())
    assert (row["kind"], row["model"]["file"]) == ("profile", conditioned_file.name)
    assert row["settings"]["runs"] == 3
    assert {len(one["samples_ns"]) for one in row["operators"]} == {3}
    assert row["clocks_ms"]["stopwatch"] > 0


def test_the_profiles_of_both_engines_need_nothing_of_each_other_or_of_the_kind():
    root = Path(module.__file__).parents[1]
    for name in ("profiles", "litert_profile", "onnx_profile", "litert_file"):
        text = (root / f"{name}.py").read_text()
        assert "quietframe_bench.kinds" not in text
        assert name == "profiles" or f"{'onnx' if name.startswith('litert') else 'litert'}_profile" not in text
