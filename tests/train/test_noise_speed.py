"""How long batches of noise take, beside training steps."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from quietframe.images import Image, write_image
from quietframe_train.batches import PhotoBatches
from quietframe_train.noise_speed import main, measure
from quietframe_train.recipes import find_recipe


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(3):
        write_image(tmp_path / f"{index}.png", Image(rng.integers(0, 255, (160, 160, 3), np.uint8)))
    return tmp_path


def test_slow_batches_are_seen_as_slow(photos, monkeypatch):
    make = PhotoBatches.__getitem__

    def slowly(self, index):
        time.sleep(0.2)
        return make(self, index)

    recipe = replace(find_recipe("camera-nano"), batch=2)
    quick = measure(recipe, photos, count=5)
    monkeypatch.setattr(PhotoBatches, "__getitem__", slowly)
    slow = measure(recipe, photos, count=5)
    assert 0 < quick.batch_ms < 200 < slow.batch_ms
    assert slow.step_ms < slow.batch_ms


def test_a_folder_without_pictures_is_a_line(tmp_path):
    result = CliRunner().invoke(main, ["camera-nano", "--data", str(tmp_path)])
    assert result.exit_code == 1
    assert "usable pictures" in result.output
    assert result.output.count("\n") == 1
