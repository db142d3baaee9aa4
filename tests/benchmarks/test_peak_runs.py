from __future__ import annotations

from threading import Lock

import pytest

from quietframe_bench import peak_runs
from quietframe_bench.peak_models import Trial
from quietframe_bench.peak_runs import copy_memory, last_cache_bytes, run_trials

SMALL = (Trial(16, (12, 20), kernel=3), Trial(32, (8, 0)))


@pytest.mark.parametrize(
    ("suffix", "precision", "dtypes"),
    [(".tflite", "fp32", ["float32"]), (".tflite", "int8", ["int8"]), (".onnx", "int8", ["uint8", "int8"])],
)
def test_every_trial_is_run_through_the_engine(suffix, precision, dtypes, monkeypatch):
    monkeypatch.setattr(peak_runs, "TRIALS", SMALL)
    monkeypatch.setattr(peak_runs, "_TOO_SLOW", 1e9)
    found = run_trials(suffix=suffix, precision=precision, threads=1, secs=0.01)
    assert [(one["name"], one["dtype"]) for one in found] == [
        (trial.name, dtype) for trial in SMALL for dtype in dtypes
    ]
    assert [one["macs"] for one in found] == [trial.macs for trial in SMALL for _ in dtypes]
    assert all(len(one["samples_ns"]) >= 5 and sum(one["samples_ns"]) >= 0.01e9 for one in found)


def test_a_trial_far_from_the_best_is_not_run_on(monkeypatch):
    monkeypatch.setattr(peak_runs, "TRIALS", SMALL)
    monkeypatch.setattr(peak_runs, "_TOO_SLOW", 1e-9)
    first, second = run_trials(suffix=".tflite", precision="fp32", threads=1, secs=0)
    assert len(first["samples_ns"]) == 5
    assert len(second["samples_ns"]) == 1


def test_bytes_read_and_written_are_counted_over_all_threads(monkeypatch):
    """By a clock that advances a nanosecond for every ten bytes that are moved: 10 GB/s."""
    moved, lock = [0], Lock()

    def copyto(target, source):
        assert target.shape == source.shape
        with lock:
            moved[0] += target.nbytes + source.nbytes

    monkeypatch.setattr(peak_runs.np, "copyto", copyto)
    monkeypatch.setattr(peak_runs, "perf_counter_ns", lambda: moved[0] // 10)
    monkeypatch.setattr(peak_runs, "_LARGE_BYTES", 2**24)
    monkeypatch.setattr(peak_runs, "last_cache_bytes", lambda: 2**20)
    for threads in (1, 2):
        found = {one["level"]: one for one in copy_memory(threads=threads, secs=0.05)}
        assert found["memory"]["held_bytes"] == 2**24
        assert found["cache"]["held_bytes"] == 2**19
        for one in found.values():
            assert len(one["rates"]) >= 5
            assert one["rates"] == pytest.approx([10e9] * len(one["rates"]), rel=1e-6)


def test_memory_is_really_copied(monkeypatch):
    monkeypatch.setattr(peak_runs, "_LARGE_BYTES", 2**24)
    (found, *_) = copy_memory(threads=1, secs=0.02)
    assert 1e8 < max(found["rates"]) < 1e13


def test_the_last_cache_is_the_one_of_the_highest_level(tmp_path, monkeypatch):
    monkeypatch.setattr(peak_runs, "_CACHES", tmp_path)
    assert last_cache_bytes() is None
    for index, (level, size) in enumerate([("1", "32K"), ("3", "32M"), ("2", "1024K"), ("4", "nonsense")]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    assert last_cache_bytes() == 32 * 2**20


def test_without_a_known_cache_only_memory_is_copied(monkeypatch):
    monkeypatch.setattr(peak_runs, "_LARGE_BYTES", 2**20)
    monkeypatch.setattr(peak_runs, "last_cache_bytes", lambda: None)
    assert [one["level"] for one in copy_memory(threads=1, secs=0)] == ["memory"]
