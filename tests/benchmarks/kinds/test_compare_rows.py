from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench.kinds.compare import read_timed_rows
from quietframe_bench.kinds.speed import SpeedSettings, speed
from quietframe_bench.timing import STAGES

HUGE = 10**400


def test_a_row_and_its_samples_round_by_round(write_rows, make_row):
    given_row = make_row(round_runs=[1, 12, 7])
    (row,) = read_timed_rows(write_rows("rows", given_row))
    assert row.key == ("nano", "int8", "LiteRtEngine", (640, 480), 2)
    assert (row.line, row.row.file, row.row.model.sha256, row.row.error) == (1, "nano.int8.tflite", "aa", None)
    assert row.label == "nano int8 LiteRt 640×480, 2 threads"
    for stage in STAGES:
        rounds = row.rounds_ns(stage)
        assert [len(times) for times in rounds] == [1, 12, 7]
        assert np.concatenate(rounds).tolist() == given_row["samples_ns"][stage]


def test_what_bench_measures_is_read(denoiser_file, tmp_path):
    results = speed([denoiser_file], SpeedSettings(sizes_wh=((64, 48),), runs=10, min_secs=0))
    results.to_json(tmp_path / "rows.jsonl")
    (one,) = read_timed_rows(tmp_path / "rows.jsonl")
    assert (one.row.size_wh, one.row.threads) == ((64, 48), 1)
    assert [len(times) for times in one.rounds_ns("total")] == [2] * 5
    assert one.row.samples_ns == results[0].samples_ns


def test_a_model_that_could_not_be_opened_goes_by_its_file(write_rows, make_row):
    record = make_row(error="no such operator", size_wh=None, threads=None, samples_ns={}, round_runs=[])
    for name in ("name", "precision", "engine"):
        del record[name]
    (row,) = read_timed_rows(write_rows("rows", record))
    assert (row.key, row.label, row.row.error) == (None, "nano.int8.tflite", "no such operator")


def test_rows_of_other_kinds_are_left_out_and_lines_still_counted(write_rows, make_row):
    quality = make_row(kind="quality", source="images", candidate="a", samples_ns={})
    (row,) = read_timed_rows(write_rows("rows", quality, make_row()))
    assert row.line == 2
    with pytest.raises(UsageError, match=r"rows.jsonl: holds no speed rows \(quality, sustained\): quietframe bench"):
        read_timed_rows(write_rows("rows", quality, quality, make_row(kind="sustained")))


def test_two_rows_for_the_same_are_refused(write_rows, make_row):
    path = write_rows("rows", make_row(), make_row(threads=1), make_row(12))
    with pytest.raises(UsageError, match=r"rows.jsonl: lines 1 and 3 are both nano .*: keep one of them"):
        read_timed_rows(path)


@pytest.mark.parametrize("longest", [2**53 - 1, 2**53])
def test_the_longest_time(write_rows, make_row, longest):
    path = write_rows("rows", make_row(samples_ns={"total": [longest] * 20}))
    if longest < 2**53:
        assert read_timed_rows(path)[0].rounds_ns("total")[0][0] == longest
    else:
        with pytest.raises(UsageError, match=r"Expected `int` <= .*samples_ns.total"):
            read_timed_rows(path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"samples_ns": {"pre": [], "total": []}}, "0 samples of 'pre', but round_runs add up to 20"),
        ({"samples_ns": {"total": [1] * 19}}, "19 samples of 'total', but round_runs add up to 20"),
        ({"samples_ns": None}, r"Expected `object`, got `null` - at `\$.samples_ns`"),
        ({"samples_ns": {"pre": "fast"}}, r"Expected `array`, got `str` - at `\$.samples_ns.pre`"),
        ({"samples_ns": {"total": [0] * 20}}, r"Expected `int` >= 1 - at `\$.samples_ns.total\[0\]`"),
        ({"samples_ns": {"post": [-1] * 20}}, r"Expected `int` >= 0 - at `\$.samples_ns.post\[0\]`"),
        ({"samples_ns": {"post": [1.5] * 20}}, "Expected `int`, got `float`"),
        ({"samples_ns": {"post": [True] * 20}}, "Expected `int`, got `bool`"),
        ({"samples_ns": {"post": [None] * 20}}, "Expected `int`, got `null`"),
        ({"samples_ns": {"total": [HUGE] * 20}}, "samples_ns.total"),
        ({"round_runs": [4] * 6}, "20 samples of 'pre', but round_runs add up to 24"),
        ({"round_runs": []}, "20 samples of 'pre', but round_runs add up to 0"),
        ({"round_runs": [20, 0]}, "Expected `int` >= 1 - at `\\$.round_runs"),
        ({"round_runs": [21, -1]}, "round_runs"),
        ({"round_runs": 20}, "Expected `array`, got `int` - at `\\$.round_runs`"),
        ({"size_wh": [640]}, "size_wh"),
        ({"size_wh": None}, "'size_wh' is missing"),
        ({"size_wh": [640, 0]}, "size_wh"),
        ({"threads": True}, "got `bool` - at `\\$.threads`"),
        ({"threads": "2"}, "threads"),
        ({"name": None}, "'name' is missing"),
        ({"name": ""}, "name"),
        ({"name": "\x1b[2J"}, "name"),
        ({"engine": 7}, "engine"),
        ({"model": None}, "'model' is missing"),
        ({"error": 7}, "got `int` - at `\\$.error`"),
        ({"round_runs": [], "samples_ns": {stage: [] for stage in STAGES}}, "holds no samples"),
    ],
)
def test_a_wrong_row_is_refused_in_one_line_that_names_it(write_rows, make_row, fields, says):
    path = write_rows("rows", make_row(threads=1), make_row(**fields))
    with pytest.raises(UsageError, match=says) as refused:
        read_timed_rows(path)
    assert "rows.jsonl: line 2: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


@pytest.mark.parametrize("name", ["name", "precision", "engine", "size_wh", "threads", "model"])
def test_a_missing_field_is_named(write_rows, make_row, name):
    row = make_row()
    del row[name]
    with pytest.raises(UsageError, match=name):
        read_timed_rows(write_rows("rows", row))


@pytest.mark.parametrize("stage", ["pre", "engine", "post", "total"])
def test_a_missing_stage_is_named(write_rows, make_row, stage):
    row = make_row()
    del row["samples_ns"][stage]
    with pytest.raises(UsageError, match=f"0 samples of '{stage}'"):
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
        assert row.row.error is not None or sum(map(len, row.rounds_ns("total"))) == 20
