from __future__ import annotations

from threading import Lock

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

from quietframe.engines import LiteRtEngine, OnnxEngine
from quietframe_bench import peaks
from quietframe_bench.litert_profile import tflite_nodes
from quietframe_bench.peaks import (
    LAYERS,
    TRIALS,
    Trial,
    copy_memory,
    last_cache_bytes,
    litert_trial,
    onnx_trial,
    run_trials,
)

SMALL = [Trial(16, (12, 20), kernel=3), Trial(24, (10, 14), kernel=1)]


def real(values, dtype):
    return values if dtype == "float32" else (values.astype(np.float32) - (128 if dtype == "uint8" else 0)) / 64


def run(engine, trial, dtype, *, channels_first):
    picture = engine.inputs["in"].from_declared(trial.image(dtype, channels_first=channels_first))
    found = engine.run({"in": picture})["out"]
    return real(engine.outputs["out"].as_declared(found), dtype)


@pytest.mark.parametrize("trial", SMALL, ids=lambda trial: trial.name)
def test_a_trial_computes_the_same_in_every_engine_and_precision(trial, tmp_path):
    results = {}
    for dtype in ("float32", "int8"):
        path = tmp_path / "trial.tflite"
        path.write_bytes(litert_trial(trial, dtype))
        results["LiteRT", dtype] = run(LiteRtEngine(path, threads=1), trial, dtype, channels_first=False)
    for dtype in ("float32", "uint8", "int8"):
        path = tmp_path / "trial.onnx"
        path.write_bytes(onnx_trial(trial, dtype))
        found = run(OnnxEngine(path, threads=1), trial, dtype, channels_first=True)
        results["ONNX", dtype] = found
    # The layouts differ, and with them where each random number stands: compare within a format.
    for (engine, dtype), found in results.items():
        exact = results[engine, "float32"]
        assert found.shape == exact.shape
        assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.95, (engine, dtype)
        assert 0.5 < found.std() < 2  # neither fading nor saturating from layer to layer


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_tflite_trial_is_what_it_says(trial, dtype):
    shape = trial.image(dtype, channels_first=False).shape
    nodes = tflite_nodes(litert_trial(trial, dtype), {"in": shape})
    assert [node.kind for node in nodes] == ["CONV_2D"] * LAYERS
    assert sum(node.macs for node in nodes) == trial.macs
    assert {node.output_shape for node in nodes} == {shape}
    width = 4 if dtype == "float32" else 1
    assert (
        nodes[0].bytes == 2 * np.prod(shape) * width + trial.kernel**2 * trial.channels**2 * width + 4 * trial.channels
    )


@pytest.mark.parametrize("trial", SMALL, ids=lambda trial: trial.name)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_an_onnx_trial_is_a_valid_model(trial, dtype):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(onnx_trial(trial, dtype))
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv" if dtype == "float32" else "QLinearConv"] * LAYERS


@pytest.mark.parametrize(
    ("suffix", "precision", "dtypes"),
    [(".tflite", "fp32", ["float32"]), (".tflite", "int8", ["int8"]), (".onnx", "int8", ["uint8", "int8"])],
)
def test_every_trial_is_run_through_the_engine(suffix, precision, dtypes, monkeypatch):
    monkeypatch.setattr(peaks, "TRIALS", (SMALL[0], SMALL[1]))
    found = run_trials(suffix=suffix, precision=precision, threads=1, secs=0.01)
    assert [(one["name"], one["dtype"]) for one in found] == [
        (trial.name, dtype) for trial in (SMALL[0], SMALL[1]) for dtype in dtypes
    ]
    assert [one["macs"] for one in found] == [trial.macs for trial in (SMALL[0], SMALL[1]) for _ in dtypes]
    assert all(len(one["samples_ns"]) >= 5 and sum(one["samples_ns"]) >= 0.01e9 for one in found)


def test_bytes_read_and_written_are_counted_over_all_threads(monkeypatch):
    """By a clock that advances a nanosecond for every ten bytes that are moved: 10 GB/s."""
    moved, lock = [0], Lock()

    def copyto(target, source):
        assert target.shape == source.shape
        with lock:
            moved[0] += target.nbytes + source.nbytes

    monkeypatch.setattr(peaks.np, "copyto", copyto)
    monkeypatch.setattr(peaks, "perf_counter_ns", lambda: moved[0] // 10)
    monkeypatch.setattr(peaks, "_LARGE_BYTES", 2**24)
    monkeypatch.setattr(peaks, "last_cache_bytes", lambda: 2**20)
    for threads in (1, 2):
        found = {one["level"]: one for one in copy_memory(threads=threads, secs=0.05)}
        assert found["memory"]["held_bytes"] == 2**24
        assert found["cache"]["held_bytes"] == 2**19
        for one in found.values():
            assert len(one["rates"]) >= 5
            assert one["rates"] == pytest.approx([10e9] * len(one["rates"]), rel=1e-6)


def test_memory_is_really_copied_and_without_a_known_cache_that_alone(monkeypatch):
    monkeypatch.setattr(peaks, "_LARGE_BYTES", 2**24)
    monkeypatch.setattr(peaks, "last_cache_bytes", lambda: None)
    (found,) = copy_memory(threads=1, secs=0.02)
    assert found["level"] == "memory"
    assert 1e8 < max(found["rates"]) < 1e13


def test_the_last_cache_is_the_one_of_the_highest_level(tmp_path, monkeypatch):
    monkeypatch.setattr(peaks, "_CACHES", tmp_path)
    assert last_cache_bytes() is None
    for index, (level, size) in enumerate([("1", "32K"), ("3", "32M"), ("2", "1024K"), ("4", "nonsense")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    assert last_cache_bytes() == 32 * 2**20
