from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import quietframe as qf
from quietframe.errors import ModelLoadError
from quietframe.metrics import headline
from quietframe.tasks import open_denoiser
from quietframe.tasks.base import open_model
from quietframe.zoo import ALIASES, builtin_models, find_model

BUILTIN = builtin_models()


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_models_say_what_they_are(name):
    """Every built-in model states its name, its data and their terms, and what was measured, and does its tasks."""
    card_name, precision, _ = BUILTIN[name].name.rsplit(".", 2)
    _, card = open_model(name, threads=1)
    assert (card.name, card.precision) == (card_name, precision)
    assert all((card.data.name, card.data.terms, card.license, card.limits, card.parameters, card.source_sha256))
    assert headline(card.metrics)
    frame = np.full((31, 45, 3), 120, np.uint8)
    if "denoise" in card.task:
        assert open_denoiser(name, threads=1)(frame).shape == frame.shape
    if "classify" in card.task:
        answer = qf.Classifier(name, threads=1)(frame)
        assert list(answer.scores) == list(card.labels)
        assert 0 <= answer.score <= 1


def test_onnx_files_are_built_in_where_they_can_run(monkeypatch):
    monkeypatch.setattr("quietframe.zoo.find_spec", lambda package: None if package == "onnxruntime" else package)
    assert builtin_models()
    assert not any(path.suffix == ".onnx" for path in builtin_models().values())
    assert find_model("camera-nano.fp32.onnx").is_file(), "still found by name, so that the error says what to install"


def test_built_in_models_are_small():
    sizes = {path.name: path.stat().st_size for path in BUILTIN.values()}
    others = [
        size
        for name, size in sizes.items()
        if not name.startswith(("camera-small", "camera-base", "video-small", "video-base"))
    ]
    assert max(others) < 500_000
    assert sum(others) < 2_000_000
    packed = sum(len(zlib.compress(path.read_bytes())) for path in BUILTIN.values())
    assert packed < 5_500_000, "the wheel is to stay under 6 MB"


@pytest.mark.parametrize(
    ("job", "task"),
    [("camera", "denoise"), ("video", "denoise"), ("digits", "classify"), ("digit-denoiser", "denoise")],
)
def test_every_job_has_a_built_in_model(job, task):
    assert find_model(job) == BUILTIN[ALIASES[job]]
    assert task in open_model(job, threads=1)[1].task


def test_paths_are_given_back(tmp_path):
    for name in ("mine.tflite", "mine.onnx", "MINE.TFLITE", "no suffix", "mine.bin"):
        path = tmp_path / name
        path.write_bytes(b"x")
        assert find_model(path) == find_model(str(path)) == path


def test_a_file_goes_before_a_built_in_model_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "camera-nano.int8.tflite"
    Path(name).write_bytes(b"x")
    assert find_model(name) == Path(name)


def test_a_folder_does_not_hide_a_built_in_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("camera-nano").mkdir()
    assert find_model("camera-nano") == BUILTIN["camera-nano"]


@pytest.mark.parametrize("name", ["camra", "kamera", "Camera", "digit", "digitts"])
def test_misspelt_names_are_understood(name):
    with pytest.raises(ModelLoadError, match=rf"unknown model '{name}': did you mean '(camera|digit)[a-z-]*'\?"):
        find_model(name)


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_folders(name):
    with pytest.raises(ModelLoadError, match="is a folder, expected a model file"):
        find_model(name)


def test_the_folder_of_a_training_names_the_exported_file(tmp_path):
    folder = tmp_path / "my run"
    (folder / "export").mkdir(parents=True)
    (folder / "model.keras").touch()
    with pytest.raises(ModelLoadError, match=r"export this training first \(quietframe export .*my run\)"):
        find_model(folder)
    for name in ("export.json", "mine.fp32.onnx"):
        (folder / "export" / name).touch()
    with pytest.raises(ModelLoadError, match=r"expected a model file, such as .*mine\.fp32\.onnx"):
        find_model(folder)
    (folder / "export/mine.int8.tflite").touch()
    with pytest.raises(ModelLoadError, match=r"expected a model file, such as .*mine\.int8\.tflite"):
        find_model(folder)


def test_a_keras_file_names_the_export(tmp_path):
    (tmp_path / "model.keras").touch()
    with pytest.raises(ModelLoadError, match=r"expected .tflite, .onnx, .xml \(quietframe export "):
        qf.Denoiser(tmp_path / "model.keras")


@pytest.mark.parametrize("name", ["missing.tflite", "folder/missing.onnx", "zzzz", "nul\0.tflite", "相机.tflite"])
def test_what_is_not_there_names_what_is(name):
    with pytest.raises(ModelLoadError, match=r"no such model file, nor a built-in model \(there are: ") as caught:
        find_model(name)
    assert all(known in str(caught.value) for known in BUILTIN)


def test_names_too_long_for_the_file_system():
    with pytest.raises(ModelLoadError, match="File name too long"):
        find_model("x" * 5000)
