from __future__ import annotations

import pytest

from quietframe_bench.kinds.compare import compare as compare_files

HUGE = 10**400


@pytest.fixture
def warnings_of(write_rows):
    """The warnings of comparing one list of rows with another."""

    def compared(old, new):
        return compare_files(write_rows("old", *old), write_rows("new", *new)).warnings

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
