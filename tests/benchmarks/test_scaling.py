from __future__ import annotations

import pytest
from rich.console import Console

from quietframe_bench.scaling import pixel_exponents, scaling_table, speedups


def line(model, size_wh, threads, total_ms, error=None):
    stages = {} if error else {"stages": {"total": {"p50_ms": total_ms}}}
    return {"model": {"file": model}, "size_wh": list(size_wh), "threads": threads, "error": error, **stages}


GRID = [
    line("a", (w, h), threads, 3e-5 * (w * h) ** 1.1 / (1 if threads == 1 else 1.6))
    for w, h in ((320, 240), (640, 480), (1920, 1080))
    for threads in (1, 2)
]


def test_the_exponent_is_that_of_the_times():
    assert pixel_exponents(GRID) == {("a", 1): pytest.approx(1.1), ("a", 2): pytest.approx(1.1)}


def test_speedups_are_against_the_fewest_threads():
    assert speedups(GRID[::-1]) == {
        ("a", size_wh): {2: pytest.approx(1.6)} for size_wh in ((1920, 1080), (640, 480), (320, 240))
    }


def test_one_size_and_one_number_of_threads_tell_nothing():
    assert scaling_table([line("a", (64, 48), 1, 5), line("b", (64, 48), 1, 7)]) == []


def test_failed_rows_take_no_part():
    assert pixel_exponents([*GRID, line("a", (32, 24), 1, 0, "broken")])[("a", 1)] == pytest.approx(1.1)


def test_the_tables_show_both():
    console = Console(record=True, width=100)
    for table in scaling_table(GRID):
        console.print(table)
    text = console.export_text()
    assert "1.10" in text and "1.60" in text and "640×480" in text
