from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest

from quietframe.errors import UsageError
from quietframe_bench.columns import print_tables
from quietframe_bench.kinds.compare import compare as compare_files

HUGE = 10**400
MICRO = {"model": {"file": "micro.int8.tflite", "sha256": "cc"}, "name": "micro"}


@pytest.fixture
def failed_row(make_row):
    """A function that makes the row of a model that could not be opened: nothing else is known of it."""

    def make(error="no such operator", **fields):
        row = make_row(error=error, size_wh=None, threads=None, samples_ns={}, round_runs=[], **fields)
        return {name: value for name, value in row.items() if name not in ("name", "precision", "engine")}

    return make


@pytest.fixture
def compare(bench):
    """Run `quietframe bench compare …`; returns (exit code, standard output, standard error)."""
    return partial(bench, "compare")


@pytest.fixture
def verdicts(write_rows):
    """The verdicts of comparing one list of rows with another."""

    def compared(old, new, **options):
        return [row.verdict for row in compare_files(write_rows("old", *old), write_rows("new", *new), **options)]

    return compared


def test_the_table_and_the_json_tell_the_ratio_and_its_interval(bench, compare, write_rows, make_row, tmp_path):
    target = tmp_path / "compared.jsonl"
    old, new = write_rows("old", make_row(10)), write_rows("new", make_row(12.5, seed=1))
    code, out, err = compare(old, new, "--out", target)
    assert (code, err) == (0, f"wrote {target}\n")
    row = json.loads(target.read_text())
    assert (row["kind"], row["settings"]["old"], row["settings"]["new"]) == ("compare", "old.jsonl", "new.jsonl")
    assert row["settings"]["confidence"] == 0.95
    assert (row["name"], row["precision"], row["engine"]) == ("nano", "int8", "LiteRtEngine")
    assert (row["size_wh"], row["threads"], row["verdict"]) == ([640, 480], 2, "slower")
    assert list(row["stages"]) == ["pre", "engine", "post", "total"]
    for stage in row["stages"].values():
        assert stage["ratio"] == pytest.approx(1.25, rel=0.01)
        assert stage["low"] < stage["ratio"] < stage["high"]
        assert stage["ratio"] == pytest.approx(stage["new_p50_ms"] / stage["old_p50_ms"])
    total = row["stages"]["total"]
    assert (row["old"]["samples"], row["new"]["rounds"]) == (20, 5)
    for said in (
        *("nano.int8.tflite 640×480, 2 threads", "OLD old.jsonl: commit d885457"),
        *(f"{total['ratio']:.3f}", f"{total['low']:.3f}–{total['high']:.3f}", f"{total['new_p50_ms']:.3f}"),
    ):
        assert said in out
    assert bench("report", target)[1] == out
    assert compare(new, old, "--out", tmp_path / "back.jsonl")[0] == 0
    assert bench("report", target, tmp_path / "back.jsonl")[1].count("median time of a frame") == 2  # a table for each


def test_the_table_fits_a_terminal(write_rows, make_row, capsys, monkeypatch):
    rows = make_row(234.5), make_row(999.9, threads=1)
    found = compare_files(write_rows("old", *rows), write_rows("new", *rows))
    monkeypatch.setattr("quietframe.cli.terminal.PIPE_WIDTH", 80)
    print_tables(found.tables())
    out = capsys.readouterr().out
    medians = [f"{row.stages['total'].old_p50_ms:.3f}" for row in found]
    for said in ("nano.int8.tflite", "1.000", "unclear", *medians):
        assert said in out
    assert "…" not in out


@pytest.mark.parametrize(
    ("new_ms", "limit", "verdict", "code"),
    [
        (10, None, "unclear", 0),
        (12, None, "slower", 0),
        (8, None, "faster", 0),
        (12, 1.1, "too slow", 1),
        (12, 1.3, "slower", 0),
        (8, 1.0, "faster", 0),
    ],
)
def test_verdicts_and_exit_codes(compare, write_rows, make_row, new_ms, limit, verdict, code):
    options = ["--fail-above", limit] if limit else []
    done, out, err = compare(write_rows("old", make_row()), write_rows("new", make_row(new_ms, seed=1)), *options)
    assert done == code
    assert verdict in out
    if code:
        assert err.startswith("failed: nano.int8.tflite 640×480, 2 threads: 1.2")
        assert err.endswith(", above 1.1\n")
    else:
        assert err == ""


def test_a_ratio_above_the_limit_that_may_be_chance_is_unsure_and_does_not_fail(compare, write_rows, make_row):
    wild = make_row(10)
    factors = np.repeat([0.8, 0.9, 1.25, 1.4, 1.5], 4)  # rounds that disagree
    for times in wild["samples_ns"].values():
        times[:] = [round(time * factor) for time, factor in zip(times, factors, strict=True)]
    code, out, err = compare(write_rows("old", make_row(10)), write_rows("new", wild), "--fail-above", 1.1)
    assert code == 0
    assert "unsure" in out
    assert err.startswith("unsure: nano.int8.tflite 640×480, 2 threads: 1.2")
    assert "measure both again" in err


def test_a_ratio_above_the_limit_fails_though_its_interval_reaches_below_the_limit(verdicts, make_row):
    new = make_row(10)
    factors = np.repeat([1.05, 1.1, 1.15, 1.2, 1.25], 4)
    new["samples_ns"]["total"] = [round(time * f) for time, f in zip(new["samples_ns"]["total"], factors, strict=True)]
    assert verdicts([make_row()], [new], fail_above=1.12) == ["too slow"]
    assert verdicts([make_row()], [new], fail_above=1.2) == ["slower"]


def test_too_few_rounds_are_said_and_never_fail(verdicts, make_row):
    old, new = make_row(10, rounds=2), make_row(15, rounds=2)
    assert verdicts([old], [new]) == ["no interval"]
    assert verdicts([old], [new], fail_above=1.1) == ["unsure"]
    assert verdicts([old], [new], fail_above=2) == ["no interval"]


@pytest.mark.parametrize("limit", ["0.9", "nan", "ten"])
def test_a_limit_that_is_none_is_refused(compare, write_rows, make_row, limit):
    path = write_rows("rows", make_row())
    code, out, err = compare(path, path, "--fail-above", limit)
    assert (code, out) == (2, "")
    assert "--fail-above" in err
    assert err.count("\n") == 1


def test_rows_are_matched_by_model_precision_engine_size_and_threads(write_rows, make_row):
    changes = [{"name": "micro"}, {"precision": "fp32"}, {"engine": "OnnxEngine"}, {"size_wh": [3, 2]}, {"threads": 1}]
    same, others = make_row(), [make_row(**change) for change in changes]
    found = compare_files(write_rows("old", same, *others[:2]), write_rows("new", *reversed(others[2:]), same))
    assert [row.verdict for row in found] == ["unclear", *["only in OLD"] * 2, *["only in NEW"] * 3]
    assert found[0].stages["total"].ratio == 1
    assert not any(row.stages for row in found[1:])


def test_a_row_without_a_partner_is_shown_and_with_a_limit_said(compare, write_rows, make_row):
    old, new = write_rows("old", make_row(), make_row(threads=1)), write_rows("new", make_row())
    code, out, err = compare(old, new)
    assert (code, err) == (0, "")
    assert "only in OLD" in out
    code, _, err = compare(old, new, "--fail-above", 1.1)
    assert code == 0
    assert err == "warning: nano.int8.tflite 640×480, 1 thread is only in OLD: not compared\n"


@pytest.mark.parametrize("fields", [{"name": "micro"}, {"engine": "OnnxEngine"}, {"size_wh": [32, 24]}, {"threads": 1}])
def test_nothing_in_common_is_exit_2_and_says_what_there_is(compare, write_rows, make_row, fields):
    new = write_rows("new", *(make_row(**fields, precision=f"p{number}") for number in range(5)))
    code, out, err = compare(write_rows("old", make_row()), new)
    assert (code, out) == (2, "")
    assert "OLD: nano.int8.tflite 640×480, 2 threads (nano int8, LiteRtEngine) in OLD, " in err
    assert "; … in NEW: measure both alike" in err
    assert err.count("\n") == 1


def test_nothing_in_common_with_a_model_that_was_not_opened_says_what_is_known(write_rows, make_row, failed_row):
    with pytest.raises(
        UsageError, match=r"2 threads \(nano int8, LiteRtEngine\) in OLD, other.tflite in NEW: measure both alike$"
    ):
        compare_files(write_rows("old", make_row()), write_rows("new", failed_row(model={"file": "other.tflite"})))


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("measured", "not opened", "failed in NEW"),
        ("measured", "failed later", "failed in NEW"),
        ("not opened", "measured", "failed in OLD"),
        ("failed later", "measured", "failed in OLD"),
        ("not opened", "not opened", "failed in both"),
        ("failed later", "not opened", "failed in both"),
        ("not opened", "failed later", "failed in both"),
    ],
)
def test_rows_that_failed(compare, write_rows, make_row, failed_row, old, new, verdict):
    rows = {"measured": make_row(), "not opened": failed_row(), "failed later": make_row(error="killed", round_runs=[])}
    code, out, err = compare(write_rows("old", rows[old]), write_rows("new", rows[new]))
    assert verdict in out
    if verdict == "failed in NEW":
        assert code == 1
        assert err.startswith("failed: nano.int8.tflite 640×480, 2 threads: ")
    else:
        assert (code, err) == (0, "")


def test_a_model_that_cannot_be_opened_fails_all_its_rows_and_no_others(verdicts, make_row, failed_row):
    old = [make_row(), make_row(threads=1), make_row(**MICRO)]
    assert verdicts(old, [failed_row(), make_row(**MICRO)]) == ["failed in NEW", "failed in NEW", "unclear"]


def test_a_new_model_that_failed_is_a_failure_too(compare, write_rows, make_row, failed_row):
    broken = failed_row("line one\n\x1b[31mline two", model={"file": "new.tflite"})
    code, out, err = compare(write_rows("old", make_row()), write_rows("new", make_row(), broken))
    assert code == 1
    assert "unclear" in out
    assert err == "failed: new.tflite: line one\\n\\x1b[31mline two\n"


@pytest.mark.parametrize(("name", "value"), [("warmup", 0), ("pinned", True)])
def test_other_settings_are_refused(compare, write_rows, make_row, name, value):
    new = make_row(settings={name: value})
    code, out, err = compare(write_rows("old", make_row()), write_rows("new", new))
    assert (code, out) == (2, "")
    before = make_row()["settings"].get(name, "none")
    assert f"OLD and NEW were measured with other settings ({name} {before}, {value}): measure both alike\n" in err
    assert err.count("\n") == 1


def test_another_model_file_is_said_and_is_no_warning(compare, write_rows, make_row, tmp_path):
    target = tmp_path / "compared.json"
    old = write_rows("old", make_row())
    code, out, err = compare(old, write_rows("new", make_row(model={"sha256": "bb"})), "--out", target)
    assert (code, err) == (0, f"wrote {target}\n")
    assert "nano.int8.tflite: OLD and NEW are different model files" in out
    row = json.loads(target.read_text())
    assert (row["old"]["sha256"], row["new"]["sha256"]) == ("aa", "bb")
    assert "different" not in compare(old, old)[1]


def test_warnings_go_to_standard_error_and_into_the_json(compare, write_rows, make_row, tmp_path):
    target = tmp_path / "compared.json"
    new = make_row(machine={"load_1min": 3}, versions={"numpy": "2.3.0"})
    code, out, err = compare(write_rows("old", make_row()), write_rows("new", new), "--out", target)
    assert code == 0
    assert "warning" not in out
    warnings = json.loads(target.read_text())["warnings"]
    assert len(warnings) == 2
    assert err.splitlines() == [f"wrote {target}", *(f"warning: {text}" for text in warnings)]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("{old}",), "Missing argument 'NEW'"),
        (("{old}", "{folder}/missing.jsonl"), "missing.jsonl: cannot be read (No such file or directory)"),
        (("{old}", "{folder}"), "cannot be read (Is a directory)"),
        (("{old}", "{folder}/empty.jsonl"), "the file is empty"),
        (("{old}", "{folder}/document.json"), "document.json: line 1: Input data was truncated"),
        (("{old}", "{folder}/cut.jsonl"), "cut.jsonl: line 1: Input data was truncated"),
        (("{folder}/picture.png", "{old}"), "picture.png: line 1: "),
        (("{old}", "{old}", "--out", "{folder}/no/c.json"), "no such folder"),
        (("{old}", "{old}", "--out", "{old}"), "is the source itself: write to another file"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(compare, write_rows, make_row, tmp_path, args, says):
    old = write_rows("old", make_row())
    before = old.read_bytes()
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "cut.jsonl").write_bytes(before[:300])
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    (tmp_path / "document.json").write_text(json.dumps({"schema": 1, "rows": [make_row()]}, indent=1))
    code, out, err = compare(*(arg.format(old=old, folder=tmp_path) for arg in args))
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert old.read_bytes() == before


@pytest.fixture
def warnings_of(write_rows):
    """The warnings of comparing one list of rows with another."""

    def compared(old, new):
        messages = compare_files(write_rows("old", *old), write_rows("new", *new)).messages()
        return [text.removeprefix("warning: ") for text in messages]

    return compared


@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        ({"machine": {"cpu": "N100"}}, "other machine (cpu Cortex-A76, N100): the ratios compare the machines too"),
        ({"machine": {"board": None}}, "other machine (board Raspberry Pi 5, none)"),
        ({"machine": {"cpu": "N100", "logical_cores": 8}}, "other machine (cpu Cortex-A76, N100; logical_cores 4, 8)"),
        ({"machine": {"physical_cores": HUGE}}, "other machine (physical_cores 4, 1000000"),
        ({"machine": {"cpu": "\x1b[2J\n"}}, r"other machine (cpu Cortex-A76, '\x1b[2J\n')"),
        ({"versions": {"numpy": "2.3.0"}}, "other versions (numpy 2.4.6, 2.3.0)"),
        ({"versions": {"onnxruntime": "1.20"}}, "other versions (onnxruntime none, 1.20)"),
        ({"settings": {"frames": "clips"}}, "other frames (frames none, clips)"),
        ({"commit": {"sha": "abcdef0123", "dirty": True}}, "NEW was measured in a changed checkout of commit abcdef0:"),
        ({"machine": {"load_1min": 2.1}}, "NEW was measured on a busy machine (load 2.1 on 4 cores)"),
    ],
)
def test_what_else_differs_is_said_once_in_one_line(warnings_of, make_row, changed, warning):
    old = [make_row(), make_row(threads=1)]
    new = [make_row(**changed), make_row(threads=1, **changed)]
    (found,) = warnings_of(old, new)
    assert found.startswith(warning)
    assert "\n" not in found
    assert len(found) < 200


def test_warnings_of_the_old_run_name_it(warnings_of, make_row):
    old = make_row(commit={"dirty": True}, machine={"load_1min": 3})
    assert [text.split(" was ")[0] for text in warnings_of([old], [make_row()])] == ["OLD", "OLD"]


def test_a_run_put_together_of_two_tells_of_each(warnings_of, make_row):
    new = [make_row(machine={"load_1min": 3}), make_row(threads=1, machine={"load_1min": 4})]
    assert len(warnings_of([make_row(), make_row(threads=1)], new)) == 2


def test_rows_that_are_not_compared_are_not_warned_of(warnings_of, make_row):
    assert warnings_of([make_row()], [make_row(), make_row(threads=1, machine={"load_1min": 3})]) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"commit": None},
        {"commit": {"sha": "other"}},
        {"machine": {"clock_mhz": 600, "load_1min": 2.0}},
        {"machine": {"load_1min": None}},
        {"machine": {"load_1min": "much"}},
        {"machine": {"load_1min": -HUGE}},
        {"finished_utc": "2026-02-03T00:00:00+00:00"},
        {"settings": {"runs": 500, "min_secs": 9, "sizes_wh": [[640, 480], [320, 240]], "threads": []}},
    ],
)
def test_what_is_no_reason_to_doubt_is_not_warned_of(warnings_of, make_row, changed):
    assert warnings_of([make_row()], [make_row(**changed)]) == []
