"""Training the noise estimator that comes with the runtime."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.errors import SourceError
from quietframe.noise import add_gaussian
from quietframe.noise.estimate import READINGS, Weights, read_noise, read_weights, to_features
from quietframe_train.estimator import train_estimator


def answer(weights: Weights, frame: np.ndarray) -> float:
    values = to_features(read_noise(frame))
    for matrix, bias in zip(weights.matrices[:-1], weights.biases[:-1], strict=True):
        values = np.maximum(values @ matrix + bias, 0)
    return float(np.exp(values @ weights.matrices[-1] + weights.biases[-1])[0] - 1)


def test_a_short_training_learns_the_level(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index, part in enumerate(np.array_split(photo_bgr(), 2)):
        for turn in range(3):
            cv2.imwrite(str(photos / f"{index}{turn}.png"), np.rot90(part, turn))
    out = tmp_path / "level.npz"
    error = train_estimator(photos, out, examples=400)
    assert error < 0.25
    weights = read_weights(out)
    assert [matrix.shape for matrix in weights.matrices] == [(READINGS, 32), (32, 32), (32, 1)]
    for sigma_255 in (8, 20, 40):
        noisy = add_gaussian(photo_bgr(), sigma_255, np.random.default_rng(sigma_255))
        assert answer(weights, noisy) == pytest.approx(sigma_255, rel=0.35)


def test_without_photographs(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="0 usable images"):
        train_estimator(tmp_path, tmp_path / "level.npz")
    assert not (tmp_path / "level.npz").exists()
