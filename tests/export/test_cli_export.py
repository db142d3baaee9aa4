"""`quietframe export` as a user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import quietframe as qf
from quietframe.card import Spatial
from quietframe_export import frames
from quietframe_export.subject import Subject
from quietframe_train.data import photos

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of 64 frames to hold out, and of 128 to calibrate with."""
    for module in (photos, frames):
        monkeypatch.setattr(module, "HELD_OUT_FRAMES", 8)
        monkeypatch.setattr(module, "CALIBRATION_PATCHES", 16)


def test_a_run_folder(camera_run: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "new" / "folder"
    done = cli("export", camera_run, "--to", "tflite-int8,tflite-int16x8", "--no-checks", "-o", out)
    assert done.code == 0
    assert "tflite-int8" in done.out and "passed" in done.out and "refused" in done.out
    assert "calibrated with 16 frames from training photographs" in done.err
    assert "oneDNN" not in done.err and "Traceback" not in done.err
    assert (out / "camera-nano.int8.tflite").is_file()
    assert done.err.endswith(f"run it: quietframe denoise IMAGE --model {out / 'camera-nano.int8.tflite'}\n")


def test_a_model_that_int8_ruins_is_exit_1(
    collapsing_keras: tuple[Path, Path], photo_folder: Path, tmp_path: Path, cli: Cli
) -> None:
    """Whatever the converters print, it is not on stdout."""
    model, card = collapsing_keras
    arguments = (
        "export",
        model,
        "--card",
        card,
        "--calibrate",
        photo_folder,
        "-o",
        tmp_path,
        "--json",
        "--mixed",
        "none",
    )
    done = cli(*arguments, "--to", "tflite-int8,onnx-fp32", "--to", "onnx-int8")
    assert done.code == 1
    files = {file["target"]: file for file in json.loads(done.out)["files"]}
    assert files["tflite-int8"]["reason"].startswith("drops ")
    assert "--mixed auto" in files["tflite-int8"]["try_next"]
    assert files["onnx-fp32"]["comparisons"][0]["unit"] == "psnr_db"
    assert not (tmp_path / "filter.int8.tflite").exists() and (tmp_path / "filter.fp32.onnx").exists()


def test_a_keras_file_of_ones_own(camera: Subject, photo_folder: Path, tmp_path: Path, cli: Cli) -> None:
    import keras

    image = keras.Input((None, None, 3), name="picture")
    smoothed = keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=keras.initializers.Constant(1 / 9))
    keras.Model(image, smoothed(image)).save(tmp_path / "mine.keras")
    spec = replace(camera.card.inputs[0], name="picture")
    card = replace(camera.card, name="mine", inputs=(spec,), conditioning="none", recipe="my own")
    (tmp_path / "card.json").write_text(card.to_json())
    arguments = ("export", tmp_path / "mine.keras", "--to", "tflite-int8,onnx-fp32", "-o", tmp_path / "out")
    refused = cli(*arguments)
    assert refused.code == 2 and "pass --calibrate IMAGES" in refused.err
    assert cli(*arguments, "--card", tmp_path / "card.json", "--calibrate", photo_folder).code == 0
    assert qf.Denoiser(tmp_path / "out" / "mine.int8.tflite").card.name == "mine"


def test_a_gray_model_of_ones_own(camera: Subject, photo_folder: Path, tmp_path: Path, cli: Cli) -> None:
    """Colour pictures calibrate it channel by channel, as it will denoise them; its pieces are 64×64."""
    import keras

    image = keras.Input((64, 64, 1), name="image")
    smoothed = keras.layers.Conv2D(1, 3, padding="same", kernel_initializer=keras.initializers.Constant(1 / 9))
    keras.Model(image, smoothed(image)).save(tmp_path / "gray.keras")
    (spec, _), (result,) = camera.card.inputs, camera.card.outputs
    card = replace(
        camera.card,
        name="gray",
        inputs=(replace(spec, channels=1, colour="GRAY"),),
        outputs=(replace(result, channels=1, colour="GRAY"),),
        spatial=Spatial("fixed", size_hw=(64, 64), fit="tile", halo=1),
        conditioning="none",
    )
    (tmp_path / "card.json").write_text(card.to_json())
    arguments = ("export", tmp_path / "gray.keras", "--card", tmp_path / "card.json", "--calibrate", photo_folder)
    assert cli(*arguments, "--to", "tflite-int8,onnx-int8", "-o", tmp_path / "out").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "no such run folder or .keras file"),
        (["{tmp}"], "not a run folder"),
        (["{tmp}/run/deeper"], "deeper: not a run folder"),
        (["{tmp}/bad.keras", "--card", "{tmp}/card.json", "--calibrate", "{photos}"], "not a Keras model"),
        (["{run}", "--to", "tflite-int4"], "Expected --to all"),
        (["{run}", "--max-psnr-drop", "nan"], "Expected --max-psnr-drop"),
        (["{run}", "--calibrate", "{tmp}"], "at least 2 different ones"),
        (["{run}", "--data", "{tmp}/nowhere"], "no such folder"),
        (["{run}", "-o", "{tmp}/bad.keras"], "cannot be made a folder"),
        (["{run}", "--card", "{tmp}/card.json"], "has its own"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, camera: Subject, camera_run: Path, photo_folder: Path, tmp_path: Path, cli: Cli
) -> None:
    (tmp_path / "bad.keras").write_text("this is not a model")
    (tmp_path / "card.json").write_text(camera.card.to_json())
    (tmp_path / "run" / "deeper").mkdir(parents=True)
    (tmp_path / "run" / "recipe.json").touch()
    names = {"tmp": tmp_path, "run": camera_run, "photos": photo_folder}
    done = cli("export", *(argument.format(**names) for argument in arguments))
    assert done.code == 2
    lines = done.err.strip().splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("quietframe: error:")
    assert not [line for line in lines if "Traceback" in line]
