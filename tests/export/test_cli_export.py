"""`quietframe export` as a user meets it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import quietframe as qf
from quietframe.card import Spatial
from quietframe.cli import main
from quietframe_export.subject import Subject


def run(*args: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(arg) for arg in args])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_run_folder(camera_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run(
            "export", camera_run, "--to", "tflite-int8,tflite-int16x8", "--no-checks", "-o", tmp_path / "new" / "folder"
        )
        == 0
    )
    printed = capfd.readouterr()
    assert "tflite-int8" in printed.out and "passed" in printed.out and "refused" in printed.out
    assert "calibrated with 128 frames from training photographs" in printed.err
    assert "oneDNN" not in printed.err and "Traceback" not in printed.err
    assert (tmp_path / "new" / "folder" / "camera-nano.int8.tflite").is_file()


def test_json(camera_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("export", camera_run, "--to", "tflite-fp32", "--no-checks", "-o", tmp_path, "--json") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["files"][0]["comparisons"][0]["unit"] == "psnr_db"


def test_a_model_that_int8_ruins_is_exit_1(
    collapsing_keras: tuple[Path, Path], photo_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, card = collapsing_keras
    arguments = ("export", model, "--card", card, "--calibrate", photo_folder, "-o", tmp_path)
    assert run(*arguments, "--to", "tflite-int8,tflite-fp32") == 1
    assert "failed: drops" in " ".join(capfd.readouterr().out.split())
    assert {path.name for path in tmp_path.iterdir()} == {"filter.fp32.tflite", "export.json"}


def test_a_keras_file_of_ones_own(
    camera: Subject, photo_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    image = keras.Input((None, None, 3), name="picture")
    smoothed = keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=keras.initializers.Constant(1 / 9))
    keras.Model(image, smoothed(image)).save(tmp_path / "mine.keras")
    spec = replace(camera.card.inputs[0], name="picture")
    card = replace(camera.card, name="mine", inputs=(spec,), conditioning="none", recipe="my own")
    (tmp_path / "card.json").write_text(card.to_json())
    arguments = ("export", tmp_path / "mine.keras", "--to", "tflite-int8,onnx-fp32", "-o", tmp_path / "out")
    assert run(*arguments) == 2
    assert "needs --card FILE and --calibrate FOLDER" in capfd.readouterr().err
    assert run(*arguments, "--card", tmp_path / "card.json", "--calibrate", photo_folder) == 0
    assert qf.Denoiser(tmp_path / "out" / "mine.int8.tflite").card.name == "mine"


def test_a_gray_model_of_ones_own(camera: Subject, photo_folder: Path, tmp_path: Path) -> None:
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
    assert run(*arguments, "--to", "tflite-int8,onnx-int8", "-o", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "no such run folder or .keras file"),
        (["{tmp}"], "not a run folder"),
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
    arguments: list[str],
    message: str,
    camera: Subject,
    camera_run: Path,
    photo_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.keras").write_text("this is not a model")
    (tmp_path / "card.json").write_text(camera.card.to_json())
    names = {"tmp": tmp_path, "run": camera_run, "photos": photo_folder}
    assert run("export", *(argument.format(**names) for argument in arguments)) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert lines[-1].startswith("quietframe: error:")
    assert not [line for line in lines if "Traceback" in line]
