"""How trainings went, side by side."""

import cv2
import pytest
from click.testing import CliRunner

from quietframe.card import DataTerms
from quietframe_train.curves import main, read_curves
from quietframe_train.recipes import RECIPES
from quietframe_train.run_folder import Run, begin


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "settling").mkdir(parents=True)
    facts = {"data_path": tmp_path, "data": DataTerms("photos", "mine"), "data_sha256": "ab" * 32}
    begin(Run(folder, RECIPES["camera-nano"], seed=0, epochs=2, limit=None, versions={}, created="", **facts))
    header = "epoch,loss,psnr_db,val_loss,val_psnr_db,seconds\n"
    (folder / "history.csv").write_text(f"{header}1,0.05,28,0.04,29.5,1800\n2,0.04,29,0.03,30.5,1800\n")
    (folder / "settling" / "history.csv").write_text(f"{header}1,-0.07,31,-0.07,31.5,900\n")
    return folder


def test_phases_follow_each_other_in_hours_of_training(run):
    first, settling = read_curves(run)
    assert first.hours == [0.5, 1.0]
    assert first.psnr_db == [29.5, 30.5]
    assert settling.hours == [1.25]
    assert settling.psnr_db == [31.5]


def test_a_training_is_drawn(run, tmp_path):
    done = CliRunner().invoke(main, [str(tmp_path / "curves.png"), str(run), str(run)])
    assert done.exit_code == 0, done.output
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 10


def test_what_cannot_be_drawn_is_one_line(run, tmp_path):
    out = tmp_path / "curves.png"
    nothing = CliRunner().invoke(main, [str(out), str(tmp_path)])
    assert nothing.exit_code == 1
    (run / "history.csv").write_text("epoch,loss,accuracy,val_loss,val_accuracy,seconds\n1,1,0.5,1,0.5,3\n")
    classifier = CliRunner().invoke(main, [str(out), str(run)])
    assert classifier.output == f"Error: {run}: a training without a PSNR\n"
    (run / "history.csv").unlink()
    (run / "settling" / "history.csv").unlink()
    begun = CliRunner().invoke(main, [str(out), str(run)])
    assert begun.output == f"Error: {run}: not a whole epoch of its training is done\n"
    assert not out.exists()
