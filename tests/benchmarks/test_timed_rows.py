from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietframe.commit import describe_commit
from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench.machine import describe_file, describe_machine, describe_versions
from quietframe_bench.rows import SCHEMA
from quietframe_bench.speed import SpeedSettings, measure_speed, settings_record
from quietframe_bench.timed_rows import read_timed_rows

HUGE = 10**400


def test_a_row_and_its_samples_round_by_round(write_rows, make_row):
    given_row = make_row(round_runs=[1, 12, 7])
    (row,) = read_timed_rows(write_rows("rows", given_row))
    assert row.key == ("nano", "int8", "LiteRtEngine", (640, 480), 2)
    assert (row.line, row.file, row.sha256, row.error) == (1, "nano.int8.tflite", "aa", None)
    assert row.label == "nano int8 LiteRt 640×480, 2 threads"
    for stage, rounds in row.rounds_ns.items():
        assert [len(times) for times in rounds] == [1, 12, 7]
        assert np.concatenate(rounds).tolist() == given_row["samples_ns"][stage]


def test_what_bench_measures_is_read(write_rows, denoiser_file):
    how = SpeedSettings(sizes_wh=((64, 48),), runs=10, min_secs=0)
    (measured,) = measure_speed([denoiser_file], how)
    record = {
        **{"schema": SCHEMA, "kind": "speed", "finished_utc": "2026-01-02T03:04:05+00:00"},
        **{"model": describe_file(denoiser_file), **measured.as_record(), "settings": settings_record(how)},
        **{"machine": describe_machine(), "versions": describe_versions(), "commit": describe_commit()},
    }
    (row,) = read_timed_rows(write_rows("rows", record))
    assert (row.size_wh, row.threads) == ((64, 48), 1)
    assert [len(times) for times in row.rounds_ns["total"]] == [2] * 5


def test_a_model_that_could_not_be_opened_goes_by_its_file(write_rows, make_row):
    record = make_row(error="no such operator", size_wh=None, threads=None, samples_ns=None, round_runs=[])
    for name in ("name", "precision", "engine"):
        del record[name]
    (row,) = read_timed_rows(write_rows("rows", record))
    assert (row.key, row.label, row.error, row.rounds_ns) == (None, "nano.int8.tflite", "no such operator", {})


def test_rows_of_other_kinds_are_left_out_and_lines_still_counted(write_rows, make_row):
    quality = make_row(kind="quality", samples_ns=None)
    (row,) = read_timed_rows(write_rows("rows", quality, make_row()))
    assert row.line == 2
    with pytest.raises(UsageError, match=r"rows.jsonl: holds no speed rows \(quality, video\): quietframe bench"):
        read_timed_rows(write_rows("rows", quality, quality, make_row(kind="video")))


def test_two_rows_for_the_same_are_refused(write_rows, make_row):
    path = write_rows("rows", make_row(), make_row(threads=1), make_row(12))
    with pytest.raises(UsageError, match=r"rows.jsonl: lines 1 and 3 are both nano .*: keep one of them"):
        read_timed_rows(path)


@pytest.mark.parametrize("longest", [2**53 - 1, 2**53])
def test_the_longest_time(write_rows, make_row, longest):
    path = write_rows("rows", make_row(samples_ns={"total": [longest] * 20}))
    if longest < 2**53:
        assert read_timed_rows(path)[0].rounds_ns["total"][0][0] == longest
    else:
        with pytest.raises(UsageError, match="expected 'total' to be a list of nanoseconds"):
            read_timed_rows(path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"samples_ns": {"pre": [], "total": []}}, "0 samples of 'pre', but round_runs add up to 20"),
        ({"samples_ns": {"total": [1] * 19}}, "19 samples of 'total', but round_runs add up to 20"),
        ({"samples_ns": None}, "expected 'samples_ns' to be an object"),
        ({"samples_ns": {"pre": "fast"}}, "samples_ns: expected 'pre' to be a list of nanoseconds, 0 to"),
        ({"samples_ns": {"total": [0] * 20}}, "samples_ns: expected 'total' to be a list of nanoseconds, 1 to"),
        ({"samples_ns": {"post": [-1] * 20}}, "expected 'post' to be a list"),
        ({"samples_ns": {"post": [1.5] * 20}}, "expected 'post' to be a list"),
        ({"samples_ns": {"post": [True] * 20}}, "expected 'post' to be a list"),
        ({"samples_ns": {"post": [None] * 20}}, "expected 'post' to be a list"),
        ({"samples_ns": {"total": [HUGE] * 20}}, "expected 'total' to be a list"),
        ({"round_runs": [4] * 6}, "20 samples of 'pre', but round_runs add up to 24"),
        ({"round_runs": []}, "expected 'round_runs' to be whole numbers above 0"),
        ({"round_runs": [20, 0]}, "expected 'round_runs'"),
        ({"round_runs": [21, -1]}, "expected 'round_runs'"),
        ({"round_runs": 20}, "expected 'round_runs'"),
        ({"round_runs": [HUGE]}, "round_runs add up to 1000000"),
        ({"size_wh": [640]}, r"expected 'size_wh' to be \[W, H\]. Received: \[640\]"),
        ({"size_wh": None}, "expected 'size_wh'"),
        ({"size_wh": [640, 0]}, "expected 'size_wh'"),
        ({"threads": True}, "expected 'threads' to be a whole number above 0"),
        ({"threads": "2"}, "expected 'threads'"),
        ({"name": None}, "expected 'name' to be text"),
        ({"name": ""}, "expected 'name' to be text"),
        ({"name": "\x1b[2J"}, "expected 'name' to be text"),
        ({"engine": 7}, "expected 'engine' to be text"),
        ({"model": None}, "expected 'model' to be an object"),
        ({"error": 7}, "expected 'error' to be text or null"),
    ],
)
def test_a_wrong_row_is_refused_in_one_line_that_names_it(write_rows, make_row, fields, says):
    path = write_rows("rows", make_row(threads=1), make_row(**fields))
    with pytest.raises(UsageError, match=says) as refused:
        read_timed_rows(path)
    assert "rows.jsonl: line 2: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize(
    "name", ["error", "name", "precision", "engine", "size_wh", "threads", "round_runs", "samples_ns", "model"]
)
def test_a_missing_field_is_named(write_rows, make_row, name):
    row = make_row()
    del row[name]
    with pytest.raises(UsageError, match=f"'{name}' is missing: run quietframe bench --json again"):
        read_timed_rows(write_rows("rows", row))


@pytest.mark.parametrize("stage", ["pre", "engine", "post", "total"])
def test_a_missing_stage_is_named(write_rows, make_row, stage):
    row = make_row()
    del row["samples_ns"][stage]
    with pytest.raises(UsageError, match=f"samples_ns: '{stage}' is missing"):
        read_timed_rows(write_rows("rows", row))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.data(), VALUES)
def test_any_value_in_any_field_is_read_or_refused(tmp_path_factory, make_row, data, value):
    name = data.draw(st.sampled_from(sorted(make_row())))
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_text(json.dumps(make_row() | {name: value}) + "\n")
    try:
        (row,) = read_timed_rows(path)
    except QuietFrameError as exc:
        assert "\n" not in str(exc)
    else:
        assert row.error is not None or sum(map(len, row.rounds_ns["total"])) == 20
