"""The page of results, written from run folders."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

pytest.importorskip("keras", reason="reading run folders needs the extra 'train'")

from support.programs import load_program

RUN = {"metrics": {"parameters": 65182, "macs_per_pixel": 1945.0, "epochs_run": 10, "training_seconds": 516.0}}


@pytest.fixture
def results():
    """The program as a module."""
    return load_program("docs/research/results.py")


@pytest.fixture
def run_folder(tmp_path, results):
    """A finished training with an export."""
    from quietframe.card import DataTerms
    from quietframe_train.recipes import find_recipe
    from quietframe_train.run_folder import Run, write_recipe

    folder = tmp_path / "runs" / "digit-unet"
    folder.mkdir(parents=True)
    terms = DataTerms("MNIST", "CC BY-SA 3.0")
    write_recipe(Run(folder, find_recipe("digit-unet"), 3, None, None, terms, "aa", {"keras": "3.14"}, "2026-01-02"))
    measured = {"set": "MNIST test", "noise": "uniform 0.9", "measure": "psnr_db", "value": 24.375, "noisy": 6.29}
    (folder / "metrics.json").write_text(json.dumps(RUN["metrics"] | {"measured": [measured]}))
    (folder / "history.csv").write_text("epoch,loss,val_loss\n1,0.5,0.4\n2,0.4,0.3125\n")
    (folder / "export").mkdir()
    file = {"target": "tflite-int8", "outcome": "passed", "size_bytes": 376_992, "reason": ""}
    comparison = {"unit": "psnr_db", "drop": 0.0751}
    (folder / "export" / "export.json").write_text(json.dumps({"files": [file | {"comparisons": [comparison]}]}))
    return folder


def test_the_page_holds_what_the_folders_say(results, run_folder, tmp_path):
    out = tmp_path / "results.md"
    done = CliRunner().invoke(results.main, [str(run_folder.parent), "-o", str(out)])
    assert done.exit_code == 0, done.output
    text = out.read_text()
    for said in ("## digit-unet", "65,182", "0.3125", "24.38", "6.29", "tflite-int8", "377", "0.075 dB", "MNIST"):
        assert said in text
    again = CliRunner().invoke(results.main, [str(run_folder), "-o", str(out)])
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    assert CliRunner().invoke(results.main, [str(run_folder), "-o", str(out), "--overwrite"]).exit_code == 0


def test_a_folder_without_runs_is_an_error(results, tmp_path):
    done = CliRunner().invoke(results.main, [str(tmp_path), "-o", str(tmp_path / "a.md")])
    assert done.exit_code == 1
    assert "no run folders" in done.output
