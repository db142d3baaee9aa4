"""What docs/research/designs.py writes of two trainings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe_train import train
from support.programs import load_program

designs = load_program("docs/research/designs.py")


@pytest.mark.long
def test_two_trainings_side_by_side(mnist_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [
        train("latent-autoencoder", data=mnist_npz, out=tmp_path / f"run-{epochs}", epochs=epochs, limit=200)
        for epochs in (1, 3)
    ]
    monkeypatch.setattr(sys, "argv", ["designs.py", *(str(run.folder) for run in runs), "-o", str(tmp_path / "out")])
    designs.main()
    written = {path.name for path in (tmp_path / "out").iterdir()}
    of_each = (".txt", "-architecture.png", "-grid-20.png", "-grid-27.png")
    assert written == {"images.png", *(f"run-{epochs}{end}" for epochs in (1, 3) for end in of_each)}
    text = (tmp_path / "out" / "run-3.txt").read_text()
    assert "178,001" in text and "latent (Dense)" in text and '"learning_rate": 0.001' in text
    measured = json.loads((runs[1].folder / "metrics.json").read_text())["measured"]
    tests = [metric["value"] for metric in measured if metric["measure"] == "mse"]
    assert len(tests) == 3 and all(f"test        {value:.4f}" in text for value in tests)
    assert cv2.imread(str(tmp_path / "out" / "images.png")).std() > 20


def test_one_image_of_each_class(mnist_npz: Path) -> None:
    from quietframe_train.data.images import ImageSet

    with np.load(mnist_npz) as file:
        test = ImageSet(file["x_test"][..., None], file["y_test"].astype(np.int64))
    chosen = designs.one_of_each(test)
    assert test.labels[chosen].tolist() == list(range(10))
    assert designs.one_of_each(ImageSet(test.images, np.zeros(len(test), np.int64))) == list(range(5))
