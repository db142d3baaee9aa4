"""`quietframe bench live`: the real-time loop measured from outside."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.tasks import open_denoiser
from quietframe.zoo import builtin_models
from quietframe_bench.kinds import live as module
from quietframe_bench.kinds.live import LiveSettings, live, run_live


@pytest.fixture
def slow_engine(monkeypatch):
    """Every engine takes 30 ms longer, by sleeping."""
    original = Denoiser.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        run = self.engine.run

        class Slow:
            inputs, outputs, card_json = self.engine.inputs, self.engine.outputs, None

            def run(self, inputs):
                time.sleep(0.03)
                return run(inputs)

        self.engine = Slow()

    monkeypatch.setattr(Denoiser, "__init__", init)


def test_engine_loop_and_age_contain_each_other(denoiser_file, slow_engine):
    found = run_live(model=str(denoiser_file), size_wh=[64, 48], threads=1, fps=20, secs=1.5)
    engine, busy, latency = (np.array(found["samples_ms"][name]) for name in ("engine", "busy", "latency"))
    assert found["captured"] == 30
    assert found["processed"] + found["dropped"] == 30
    assert len(engine) == found["processed"] - min(10, (found["processed"] + 1) // 2)
    assert np.all(engine >= 30)
    assert np.all(busy >= engine)
    assert np.all(latency >= busy)
    assert np.median(busy) < 40


def test_a_model_too_slow_for_the_rate_drops_frames(denoiser_file, slow_engine):
    found = run_live(model=str(denoiser_file), size_wh=[64, 48], threads=1, fps=60, secs=1.5)
    assert found["dropped"] > 20
    assert np.percentile(found["samples_ms"]["latency"], 95) < 2 * 40 + 20


def test_a_video_model_remembers_in_the_loop(monkeypatch):
    opened = []
    monkeypatch.setattr(module, "open_denoiser", lambda *a, **k: opened.append(open_denoiser(*a, **k)) or opened[-1])
    path = builtin_models()["video-nano"]
    found = run_live(model=str(path), size_wh=[160, 120], threads=1, fps=10, secs=2)
    assert len(found["samples_ms"]["engine"]) > 2
    assert opened[0].fused > 0.3  # the frames are those of one scene in motion: no cut between them


def test_a_model_that_fails_is_a_failed_row(bench, denoiser_file, bad_file, tmp_path):
    target = tmp_path / "live.json"
    quick = ("--size", "64x48", "--seconds", 1, "--fps", 60, "--out", target)
    code, out, _ = bench("live", bad_file, denoiser_file, *quick)
    assert code == 1
    assert denoiser_file.name in out
    failed, row = map(json.loads, target.read_text().splitlines())
    assert "bad.tflite" in failed["error"]
    assert (row["captured"], row["settings"]["fps"]) == (60, 60)
    assert row["samples_ms"].keys() == {"latency", "engine", "busy"}


def test_with_a_preview_there_are_rows_with_nobody_and_with_one_who_looks(denoiser_file):
    pytest.importorskip("uvicorn", reason="the preview needs the extra 'serve'")
    rows = live([denoiser_file], LiveSettings((64, 48), 1, 30, 1, clients=(None, 0, 1)))
    assert [row.error for row in rows] == [None] * 3
    assert [row.preview_clients for row in rows] == [None, 0, 1]
    assert [row.images_sent for row in rows[:2]] == [[], []]
    assert 0 < rows[2].images_sent[0] <= 31
