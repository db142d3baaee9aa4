"""The campaign sees every kind of fault, goes on where it was interrupted, and can be repeated."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from support.process import run_python

TESTS = Path(__file__).parent
PATHS = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


def test_a_small_campaign_goes_on_and_writes_its_table(tmp_path: Path) -> None:
    def run(count: int) -> dict[str, int]:
        options = ["--only", "card", "--count", count, "--out", tmp_path, "--table", tmp_path / "page.md"]
        run_python("-W", "ignore", "-m", "campaign", *options, PYTHONPATH=PATHS)
        state = json.loads((tmp_path / "card.json").read_text())
        assert state["findings"] == []
        return {"tried": state["tried"], "outcomes": sum(state["outcomes"].values())}

    (tmp_path / "page.md").write_text("before\n<!-- campaign -->\n<!-- end -->\nafter\n")
    assert run(3) == {"tried": 3, "outcomes": 3}
    assert run(5) == {"tried": 5, "outcomes": 5}
    page = (tmp_path / "page.md").read_text()
    assert "| damaged model cards | 5 |" in page
    assert page.startswith("before\n") and page.endswith("<!-- end -->\nafter\n")


@pytest.mark.long
def test_every_fault_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    from campaign.worker import Worker

    worker = Worker("test", max_s=4, max_bytes=2**28)
    try:
        for word in ("fine", "crash", "traceback", "fine", "memory", "hang", "fine"):
            (tmp_path / "input").write_text(word)
            assert worker.run(tmp_path / "input")["outcome"] == ("read" if word == "fine" else word)
    finally:
        worker.close()


@pytest.mark.parametrize("kind", ["image", "card", "tflite", "onnx", "video", "stream"])
def test_a_seed_gives_the_same_input_again(kind: str) -> None:
    pytest.importorskip("onnx")
    from campaign.mutate import MUTATIONS

    inputs = [MUTATIONS[kind](np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert inputs[0] == inputs[2] != inputs[1]
