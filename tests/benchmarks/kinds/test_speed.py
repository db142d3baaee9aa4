from __future__ import annotations

import shutil

import numpy as np
import pytest

from quietframe.card import Spatial
from quietframe.tasks.base import open_model
from quietframe_bench.columns import print_tables
from quietframe_bench.kinds import speed as module
from quietframe_bench.kinds.speed import (
    ROUNDS,
    SpeedRow,
    SpeedSettings,
    growth_tables,
    pixel_exponents,
    speed,
    speedups,
)
from quietframe_bench.kinds.startup import StartupRow
from quietframe_bench.kinds.sustained import ends
from quietframe_bench.rows import ModelFile, Run

QUICK = SpeedSettings(sizes_wh=((64, 48),), threads=(1,), runs=5, min_secs=0, warmup=1)


@pytest.fixture(scope="module")
def grid(lasting, tmp_path_factory):
    """Two models at two sizes with two numbers of threads: (their names, the rows, the steps, the blocks of rows)."""
    first = lasting[0]
    second = shutil.copy(first, tmp_path_factory.mktemp("grid") / "second.tflite")
    settings = SpeedSettings(sizes_wh=((64, 48), (32, 24)), threads=(1, 2), runs=7, min_secs=0, warmup=1)
    steps, blocks = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 4)
        rows = speed([first, second], settings, on_step=lambda *step: steps.append(step), on_block=blocks.append)
    return [first.name, second.name], rows, steps, blocks


def test_every_model_size_and_thread_count_is_a_row_with_its_figures(grid):
    names, rows, _, _ = grid
    assert [(row.file, row.size_wh, row.threads) for row in rows] == [
        (name, size_wh, threads) for name in names for size_wh in ((32, 24), (64, 48)) for threads in (1, 2)
    ]
    for row in rows:
        assert row.error is None
        assert (row.round_runs, len(row.samples_ns.total), len(row.warmup_ns)) == ([2, 2, 1, 1, 1], 7, ROUNDS)
        total = row.stages["total"]
        assert total["p50_ms"] <= total["p95_ms"] <= total["p99_ms"]
        assert row.total_over_engine_p50 > 1
        assert row.frames_per_s_p50 == pytest.approx(1000 / total["p50_ms"])
        assert 10 < row.steady_rss_mb <= row.peak_rss_mb
        assert len(row.round_health) == ROUNDS
        assert {"temperature_c", "throttled", "clock_mhz"} == set(row.round_health[0])


def test_the_models_at_one_size_are_measured_in_turn_and_handed_out_as_a_block(grid):
    _, rows, steps, blocks = grid
    assert [row.size_wh for row in blocks[0]] == [(32, 24)] * 4
    assert blocks[1] == rows
    measured = [text for text, *_ in steps if text.startswith("measure")]
    for block in (measured[: 4 * ROUNDS], measured[4 * ROUNDS :]):
        assert block == (block[:4] + block[:4][::-1]) * (ROUNDS // 2) + block[:4] * (ROUNDS % 2)
    assert [(step, of) for _, step, of in steps] == [(step, len(steps)) for step in range(len(steps))]


def test_fewer_runs_than_rounds_are_spread_exactly(denoiser_file):
    (row,) = speed([denoiser_file], SpeedSettings(((64, 48),), (1,), runs=3, min_secs=0, warmup=0))
    assert len(row.samples_ns.total) == sum(row.round_runs) == 3


def test_models_of_a_fixed_size_run_at_it_and_those_of_two_tasks_are_timed(classifier_file, make_model):
    both = make_model("both", task="denoise+classify", colour="GRAY", blur=True)
    tile_file = make_model("tile", size_hw=(32, 32), fit="tile")
    settings = SpeedSettings(sizes_wh=((64, 48), (32, 24)), threads=(1,), runs=2, min_secs=0, warmup=0)
    rows = speed([classifier_file, tile_file, both], settings)
    assert [(row.task, row.size_wh, row.error) for row in rows] == [
        ("classify", (28, 28), None),
        ("denoise", (32, 24), None),
        ("denoise", (64, 48), None),
        ("denoise+classify", (28, 28), None),
    ]
    assert rows[-1].gray_frames is True


def test_models_that_fail_are_failed_rows(denoiser_file, make_model, bad_file):
    nameless, beside = (make_model(name, carries_card=False) for name in ("nameless", "beside"))
    beside.with_suffix(".card.json").write_text(open_model(make_model("other"))[1].to_json(), encoding="utf-8")
    # Without the multiple in its card the runtime does not pad, and space-to-depth refuses the frame.
    late = make_model("late", multiple=4, card_changes={"spatial": Spatial(kind="any", multiple=1)})
    settings = SpeedSettings(sizes_wh=((61, 45),), threads=(1,), runs=1, min_secs=0)
    good, bad, nameless_row, beside_row, late_row = speed([denoiser_file, bad_file, nameless, beside, late], settings)
    assert (good.error, beside_row.error) == (None, None)
    assert "bad.tflite" in bad.error
    assert "carries no model card" in nameless_row.error
    assert late_row.error and late_row.size_wh == (61, 45)
    assert bad.stages == late_row.stages == {}


def test_rows_that_are_done_are_kept_and_not_measured_again(denoiser_file, blur_file):
    before = speed([denoiser_file], QUICK)
    other = Run({}).row(StartupRow, denoiser_file, error="of another kind")
    opened = []
    first, second, third = speed(
        [denoiser_file, blur_file], QUICK, on_step=lambda text, *_: opened.append(text), resume=[other, *before]
    )
    assert first is before[0]
    assert second.file == blur_file.name
    assert third is other
    assert not any(denoiser_file.name in text for text in opened)


def test_rounds_that_differ_are_called_noisy(denoiser_file):
    for samples, rounds, spread in (
        ([10, 10, 10, 11, 11], [3, 2], 0.1),
        ([10, 90, 10, 10], [4], 0),  # one round has nothing to differ from
        ([100, 100, 130, 130], [2, 2], 30 / 115),
    ):
        row = Run({}).row(SpeedRow, denoiser_file, error="not yet")
        row.error, row.round_runs = None, rounds
        row.samples_ns.extend(dict.fromkeys(("pre", "engine", "post", "total"), samples))
        row.finish()
        assert row.spread == pytest.approx(spread)
        assert row.noisy_machine is (spread > 0.1)


@pytest.mark.parametrize(
    ("seconds", "from_s", "first", "last"),
    [(2, [0, 1], [1], [2]), (12, [0, 5, 10], [1, 2], [3]), (300, [0, 55, 100, 245, 290], [1, 2], [4, 5])],
)
def test_the_ends_of_a_run_are_a_minute_or_half_of_it(seconds, from_s, first, last):
    found = ends(seconds, from_s, [np.array([1e6 * number]) for number in range(1, len(from_s) + 1)])
    assert found == {
        "ends_s": min(60, seconds / 2), "first_p50_ms": np.median(first), "last_p50_ms": np.median(last)
    }  # fmt: skip


# How times grow


def line(model, size_wh, threads, total_ms, error=None):
    fields = {"name": "n", "precision": "int8", "engine": "e", "size_wh": size_wh, "threads": threads}
    row = Run({}).row(SpeedRow, None, **fields, error="not yet")
    row.error, row.model = error, ModelFile(model, "aa")
    row.stages = {} if error else {"total": {"p50_ms": total_ms}}
    return row


GRID = [
    line("a", (w, h), threads, 3e-5 * (w * h) ** 1.1 / (1 if threads == 1 else 1.6))
    for w, h in ((320, 240), (640, 480), (1920, 1080))
    for threads in (1, 2)
]


def test_the_power_of_the_pixels_and_the_speedup_over_the_fewest_threads(capsys):
    rows = [*GRID[::-1], line("a", (32, 24), 1, 0, "broken")]
    assert pixel_exponents(rows) == {("a", 1): pytest.approx(1.1), ("a", 2): pytest.approx(1.1)}
    assert speedups(rows) == {("a", size): {2: pytest.approx(1.6)} for size in ("1920×1080", "640×480", "320×240")}
    print_tables(growth_tables(rows))
    text = capsys.readouterr().out
    assert "1.10" in text and "1.60" in text and "640×480" in text


def test_one_size_and_one_number_of_threads_tell_nothing():
    assert growth_tables([line("a", (64, 48), 1, 5), line("b", (64, 48), 1, 7)]) == []
