"""Keras models that once ended in tracebacks, a crash or dead ends: each target is a file, or a row with the reason."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quietframe_export import frames

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif("QUIETFRAME_CASES" not in os.environ, reason="QUIETFRAME_CASES is not set"),
]
SCALE = """
import keras

@keras.saving.register_keras_serializable("mine")
class Scale(keras.layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones", name="gain")

    def call(self, inputs):
        return inputs * self.gain
"""


@pytest.fixture
def case(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a case and its card, which was written for a card of format 1."""

    def copy(name: str) -> Path:
        folder = Path(os.environ["QUIETFRAME_CASES"], "keras")
        card = json.loads((folder / f"{name}.card.json").read_text()) | {"format": 2}
        (tmp_path / f"{name}.card.json").write_text(json.dumps(card))
        return Path(shutil.copy(folder / f"{name}.keras", tmp_path))

    return copy


NAMES = [
    "rescale255",
    "groups",
    "gnorm",
    "deconv",
    "bilinear",
    "unet_any_nearest",
    "mixed",
    "chfirst",
    "keras_int8",
    "gru_rows",
    "lam",
    "customlayer",
]


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """With files that are tried in another process first, as by default: LiteRT aborts on some."""
    monkeypatch.setenv("QUIETFRAME_ISOLATE", "1")
    monkeypatch.setattr(frames, "HELD_OUT_FRAMES", 8)
    monkeypatch.setattr(frames, "CALIBRATION_PATCHES", 16)


@pytest.mark.parametrize("name", NAMES)
def test_every_target_is_a_file_or_a_reason(
    name: str,
    case: Callable[[str], Path],
    photo_folder: Path,
    digit_file: Path,
    tmp_path: Path,
    cli: Callable[..., Any],
) -> None:
    (tmp_path / "mine.py").write_text(SCALE)
    options = {"lam": ["--unsafe"], "customlayer": ["--custom-objects", f"{tmp_path / 'mine.py'}:Scale"]}.get(name, [])
    data = digit_file if "rows" in name else photo_folder
    targets = "tflite-fp32,tflite-int8,onnx-fp32"
    done = cli("export", case(name), "--calibrate", data, "--to", targets, "-o", tmp_path / "out", "--json", *options)
    assert "Traceback" not in done.err
    for file in json.loads(done.out)["files"]:
        if (name, file["target"], file["outcome"]) == ("gru_rows", "tflite-int8", "failed"):
            assert re.fullmatch(r"drops [\d.]+ points, more than the 0.5 allowed; not kept", file["reason"])
        else:
            assert file["outcome"] == "passed", file["reason"]
