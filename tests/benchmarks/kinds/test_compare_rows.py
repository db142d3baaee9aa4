from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietframe.errors import QuietFrameError, UsageError
from quietframe_bench.kinds.compare import key_of, read_speed_rows
from quietframe_bench.kinds.speed import SpeedSettings, speed
from quietframe_bench.results import Results
from quietframe_bench.subject import STAGES


def test_a_row_is_known_by_model_engine_size_and_threads(write_rows, make_row):
    (row,) = read_speed_rows(write_rows("rows", make_row(round_runs=[1, 12, 7])))
    assert key_of(row) == ("nano", "int8", "LiteRtEngine", (640, 480), 2)
    assert (row.file, row.model.sha256, row.error, row.round_runs) == ("nano.int8.tflite", "aa", None, [1, 12, 7])
    assert row.label == "nano.int8.tflite 640×480, 2 threads"


def test_what_bench_measures_is_read(denoiser_file, tmp_path):
    results = speed([denoiser_file], SpeedSettings(sizes_wh=((64, 48),), runs=10, min_secs=0))
    results.to_json(tmp_path / "rows.jsonl")
    rows = read_speed_rows(tmp_path / "rows.jsonl")
    assert Results(rows).to_json() == results.to_json()
    assert rows[0].round_runs == [2] * 5


def test_a_model_that_could_not_be_opened_goes_by_its_file(write_rows, make_row):
    record = make_row(error="no such operator", size_wh=None, threads=None, samples_ns={}, round_runs=[])
    for name in ("name", "precision", "engine"):
        del record[name]
    (row,) = read_speed_rows(write_rows("rows", record))
    assert (key_of(row), row.label, row.error) == (None, "nano.int8.tflite", "no such operator")


def test_rows_of_other_kinds_are_left_out(write_rows, make_row):
    quality = make_row(kind="quality", source="images", candidate="a", samples_ns={})
    assert len(read_speed_rows(write_rows("rows", quality, make_row()))) == 1
    with pytest.raises(UsageError, match=r"rows.jsonl: holds no speed rows \(quality, startup\): quietframe bench"):
        read_speed_rows(write_rows("rows", quality, quality, make_row(kind="startup", samples_ns={})))


def test_two_rows_for_the_same_are_refused(write_rows, make_row):
    path = write_rows("rows", make_row(), make_row(threads=1), make_row(12))
    with pytest.raises(UsageError, match=r"rows.jsonl: lines 1 and 3 are both nano.int8.tflite .*: keep one of them"):
        read_speed_rows(path)


@pytest.mark.parametrize("longest", [2**53 - 1, 2**53])
def test_the_longest_time(write_rows, make_row, longest):
    path = write_rows("rows", make_row(samples_ns={"total": [longest] * 20}))
    if longest < 2**53:
        assert read_speed_rows(path)[0].samples_ns.total[0] == longest
    else:
        with pytest.raises(UsageError, match=r"Expected `int` <= .*samples_ns.total"):
            read_speed_rows(path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"samples_ns": {"pre": [], "total": []}}, "0 samples of 'pre', but round_runs add up to 20"),
        ({"samples_ns": {"total": [1] * 19}}, "19 samples of 'total', but round_runs add up to 20"),
        ({"samples_ns": {"total": [0] * 20}}, r"Expected `int` >= 1 - at `\$.samples_ns.total\[0\]`"),
        ({"samples_ns": {"post": [-1] * 20}}, r"Expected `int` >= 0 - at `\$.samples_ns.post\[0\]`"),
        ({"round_runs": [4] * 6}, "20 samples of 'pre', but round_runs add up to 24"),
        ({"round_runs": [20, 0]}, "Expected `int` >= 1 - at `\\$.round_runs"),
        ({"size_wh": [640, 0]}, "size_wh"),
        ({"size_wh": None}, "'size_wh' is missing"),
        ({"threads": "2"}, "threads"),
        ({"name": "\x1b[2J"}, "name"),
        ({"model": None}, "'model' is missing"),
        ({"round_runs": [], "samples_ns": {stage: [] for stage in STAGES}}, "holds no samples"),
    ],
)
def test_a_wrong_row_is_refused_in_one_line_that_names_it(write_rows, make_row, fields, says):
    path = write_rows("rows", make_row(threads=1), make_row(**fields))
    with pytest.raises(UsageError, match=says) as refused:
        read_speed_rows(path)
    assert "rows.jsonl: line 2: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700


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
        (row,) = read_speed_rows(path)
    except QuietFrameError as exc:
        assert "\n" not in str(exc)
    else:
        assert row.error is not None or len(row.samples_ns.total) == 20
