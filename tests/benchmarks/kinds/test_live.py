"""`quietframe bench live`: the real-time loop measured from outside."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from click.testing import CliRunner

from quietframe import Denoiser
from quietframe_bench.cli import bench
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
    found = run_live(model=str(denoiser_file), size_wh=[64, 48], threads=1, fps=20, secs=3)
    engine, busy, latency = (np.array(found["samples_ms"][name]) for name in ("engine", "busy", "latency"))
    assert found["captured"] == 60
    assert found["processed"] + found["dropped"] == 60
    assert len(engine) == found["processed"] - 10
    assert np.all(engine >= 30)
    assert np.all(busy >= engine)
    assert np.all(latency >= busy)
    assert np.median(busy) < 40


def test_a_model_too_slow_for_the_rate_drops_frames(denoiser_file, slow_engine):
    found = run_live(model=str(denoiser_file), size_wh=[64, 48], threads=1, fps=60, secs=2)
    assert found["dropped"] > 30
    assert np.percentile(found["samples_ms"]["latency"], 95) < 2 * 40 + 20


def test_a_model_that_fails_is_a_failed_row(denoiser_file, tmp_path):
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"nothing")
    rows = live([broken, denoiser_file], LiveSettings((64, 48), 1, 60, 1))
    assert "broken.tflite" in rows[0].error
    assert rows[1].captured == 60


def test_the_command_prints_and_writes_it(denoiser_file, tmp_path):
    out = tmp_path / "live.json"
    arguments = ["live", str(denoiser_file), "--size", "64x48", "--seconds", "1", "--fps", "60", "--out", str(out)]
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 0, result.output
    assert denoiser_file.name in result.output
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["captured"] == 60
    assert row["settings"]["fps"] == 60
    assert row["samples_ms"].keys() == {"latency", "engine", "busy"}


def test_with_a_preview_there_are_rows_with_nobody_and_with_one_who_looks(denoiser_file):
    pytest.importorskip("uvicorn", reason="the preview needs the extra 'serve'")
    rows = live([denoiser_file], LiveSettings((64, 48), 1, 30, 2, clients=(None, 0, 1)))
    assert [row.error for row in rows] == [None] * 3
    assert [row.preview_clients for row in rows] == [None, 0, 1]
    assert [row.images_sent for row in rows[:2]] == [[], []]
    assert 30 <= rows[2].images_sent[0] <= 61
