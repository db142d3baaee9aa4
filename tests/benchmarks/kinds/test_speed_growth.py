from __future__ import annotations

import pytest

from quietframe_bench.columns import print_tables
from quietframe_bench.kinds.speed import SpeedRow, growth_tables, pixel_exponents, speedups
from quietframe_bench.rows import ModelFile, Run


def line(model, size_wh, threads, total_ms, error=None):
    fields = {"name": "n", "precision": "int8", "engine": "e", "size_wh": size_wh, "threads": threads, "error": error}
    row = Run({}).row(SpeedRow, None, **{**fields, "error": "not yet"})
    row.error, row.model = error, ModelFile(model, "aa")
    row.stages = {} if error else {"total": {"p50_ms": total_ms}}
    return row


GRID = [
    line("a", (w, h), threads, 3e-5 * (w * h) ** 1.1 / (1 if threads == 1 else 1.6))
    for w, h in ((320, 240), (640, 480), (1920, 1080))
    for threads in (1, 2)
]


def test_the_exponent_is_that_of_the_times():
    assert pixel_exponents(GRID) == [("a", 1, pytest.approx(1.1)), ("a", 2, pytest.approx(1.1))]


def test_speedups_are_against_the_fewest_threads():
    assert speedups(GRID[::-1]) == [
        ("a", size, {2: pytest.approx(1.6)}) for size in ("1920×1080", "640×480", "320×240")
    ]


def test_one_size_and_one_number_of_threads_tell_nothing():
    assert growth_tables([line("a", (64, 48), 1, 5), line("b", (64, 48), 1, 7)]) == []


def test_failed_rows_take_no_part():
    assert pixel_exponents([*GRID, line("a", (32, 24), 1, 0, "broken")])[0].exponent == pytest.approx(1.1)


def test_the_tables_show_both(capsys):
    print_tables(growth_tables(GRID))
    text = capsys.readouterr().out
    assert "1.10" in text and "1.60" in text and "640×480" in text
