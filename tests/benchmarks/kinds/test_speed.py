from __future__ import annotations

import pytest

from quietframe.tasks.base import open_model
from quietframe_bench.kinds import speed as module
from quietframe_bench.kinds.speed import ROUNDS, SpeedRow, SpeedSettings, speed, spread_of
from quietframe_bench.rows import Run

QUICK = SpeedSettings(sizes_wh=((64, 48),), threads=(1,), runs=10, min_secs=0, warmup=1)


def test_every_model_size_and_thread_count_is_a_row(denoiser_file, blur_file):
    settings = SpeedSettings(sizes_wh=((64, 48), (32, 24)), threads=(1, 2), runs=5, min_secs=0, warmup=1)
    rows = speed([denoiser_file, blur_file], settings)
    assert [(row.file, row.size_wh, row.threads) for row in rows] == [
        (model.name, size_wh, threads)
        for model in (denoiser_file, blur_file)
        for size_wh in ((32, 24), (64, 48))
        for threads in (1, 2)
    ]
    for row in rows:
        assert row.error is None
        assert len(row.samples_ns.total) == 5
        total = row.stages["total"]
        assert total["p50_ms"] <= total["p95_ms"] <= total["p99_ms"]
        assert row.total_over_engine_p50 > 1
        assert row.frames_per_s_p50 == pytest.approx(1000 / total["p50_ms"])
        assert row.peak_rss_mb > 10


def test_rows_are_measured_in_turn(denoiser_file, blur_file):
    steps = []
    rows = speed([denoiser_file, blur_file], QUICK, on_step=lambda text, step, of: steps.append((text, step, of)))
    measured = [text.removeprefix("measure ") for text, *_ in steps if text.startswith("measure")]
    there = [denoiser_file.name, blur_file.name]
    assert measured == (there + there[::-1]) * (ROUNDS // 2) + there * (ROUNDS % 2)
    assert [step for _, step, _ in steps] == list(range(len(steps)))
    assert {of for *_, of in steps} == {len(steps)}
    assert [row.round_runs for row in rows] == [[2] * ROUNDS] * 2
    assert [len(row.warmup_ns) for row in rows] == [ROUNDS] * 2


def test_runs_are_spread_over_the_rounds_exactly(denoiser_file):
    for runs in (1, 3, 7):
        (row,) = speed([denoiser_file], SpeedSettings(((64, 48),), (1,), runs=runs, min_secs=0, warmup=0))
        assert len(row.samples_ns.total) == sum(row.round_runs) == runs


def test_models_of_a_fixed_size_run_at_it(classifier_file, make_model):
    tile_file = make_model("tile", size_hw=(32, 32), fit="tile")
    settings = SpeedSettings(sizes_wh=((64, 48), (32, 24)), threads=(1,), runs=2, min_secs=0, warmup=0)
    rows = speed([classifier_file, tile_file], settings)
    assert [row.size_wh for row in rows] == [(28, 28), (32, 24), (64, 48)]
    assert [row.task for row in rows] == ["classify", "denoise", "denoise"]
    assert all(row.error is None for row in rows)


def test_a_model_that_does_both_is_timed(make_model):
    both = make_model("both", task="denoise+classify", colour="GRAY", blur=True)
    (row,) = speed([both], QUICK)
    assert row.error is None
    assert row.gray_frames is True


def test_a_model_that_fails_is_a_failed_row(denoiser_file, make_model, tmp_path):
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(denoiser_file.read_bytes()[:200])
    nameless = make_model("nameless", carries_card=False)
    good, first, second = speed([denoiser_file, bad, nameless], QUICK)
    assert good.error is None
    assert len(good.samples_ns.total) == QUICK.runs
    assert "bad.tflite" in first.error
    assert "carries no model card" in second.error
    assert first.stages == second.stages == {}


def test_a_file_whose_card_lies_beside_it_is_timed(denoiser_file, make_model):
    model = make_model("mine", carries_card=False)
    model.with_suffix(".card.json").write_text(open_model(make_model("other"))[1].to_json(), encoding="utf-8")
    (row,) = speed([model], QUICK)
    assert row.error is None


def test_a_model_that_fails_only_while_it_runs_is_a_failed_row(make_model, denoiser_file):
    # Without the multiple in its card the runtime does not pad, and space-to-depth refuses the frame.
    from quietframe.card import Spatial

    broken = make_model("broken", multiple=4, card_changes={"spatial": Spatial(kind="any", multiple=1)})
    settings = SpeedSettings(sizes_wh=((61, 45),), threads=(1,), runs=5, min_secs=0)
    failed, good = speed([broken, denoiser_file], settings)
    assert failed.error
    assert good.error is None


def test_blocks_hold_the_models_at_one_size(denoiser_file, blur_file, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)
    settings = SpeedSettings(sizes_wh=((64, 48), (32, 24)), threads=(1,), runs=1, min_secs=0, warmup=0)
    blocks = []
    rows = speed([denoiser_file, blur_file], settings, on_block=blocks.append)
    assert [[(row.file, row.size_wh) for row in block] for block in blocks] == [
        [(denoiser_file.name, (32, 24)), (blur_file.name, (32, 24))],
        [(denoiser_file.name, (64, 48)), (blur_file.name, (64, 48))],
    ]
    assert all(len(row.samples_ns.total) == 1 for row in rows)


def test_rows_that_are_done_are_kept_and_not_measured_again(denoiser_file, blur_file):
    before = speed([denoiser_file], QUICK)
    opened = []
    first, second = speed(
        [denoiser_file, blur_file], QUICK, on_step=lambda text, *_: opened.append(text), resume=before
    )
    assert first is before[0]
    assert second.file == blur_file.name
    assert not any(denoiser_file.name in text for text in opened)


def test_rounds_that_differ_are_called_noisy(denoiser_file):
    assert spread_of([10, 10, 10, 11, 11], [3, 2]) == pytest.approx(0.1)
    assert spread_of([10, 90, 10, 10], [4]) == 0  # one round has nothing to differ from
    row = Run({}).row(SpeedRow, denoiser_file, error="not yet")
    row.error, row.round_runs = None, [2, 2]
    row.samples_ns.extend({stage: [100, 100, 130, 130] for stage in ("pre", "engine", "post", "total")})
    row.finish()
    assert row.noisy_machine is True
    assert row.spread == pytest.approx(30 / 115)


def test_each_round_tells_how_the_machine_was(denoiser_file):
    (row,) = speed([denoiser_file], QUICK)
    assert len(row.round_health) == len(row.round_runs) == ROUNDS
    assert {"temperature_c", "throttled", "clock_mhz"} == set(row.round_health[0])
    assert 10 < row.steady_rss_mb <= row.peak_rss_mb
