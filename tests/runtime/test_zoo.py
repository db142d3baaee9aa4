from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quietframe as qf
from quietframe.errors import ModelLoadError
from quietframe.zoo import ALIASES, builtin_models, find_model

BUILTIN = builtin_models()


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_models_say_what_they_are(name: str) -> None:
    """Every built-in model runs on a frame, under its name, and states its weights' data and terms."""
    card_name, precision, _ = BUILTIN[name].name.rsplit(".", 2)
    task = qf.Classifier if "classif" in name else qf.Denoiser
    model = task(name, threads=1)
    assert model.card.name == card_name
    assert model.card.precision == precision
    assert model.card.data.name
    assert model.card.data.terms
    assert model.card.license
    frame = np.full((31, 45, 3), 120, np.uint8)
    result = model(frame)
    if isinstance(result, np.ndarray):
        assert result.shape == frame.shape
    else:
        assert 0 <= result.score <= 1


def test_the_models_that_the_commands_default_to_are_there() -> None:
    assert {"camera-nano", "latent-autoencoder", "digit-classifier"} <= BUILTIN.keys()
    assert set(ALIASES.values()) <= BUILTIN.keys()
    assert find_model("camera") == BUILTIN["camera-nano"]
    assert find_model("digits") == BUILTIN["digit-classifier"]


def test_paths_are_given_back(tmp_path: Path) -> None:
    for name in ("mine.tflite", "mine.onnx", "MINE.TFLITE", "no suffix", "mine.bin"):
        path = tmp_path / name
        path.write_bytes(b"x")
        assert find_model(path) == find_model(str(path)) == path


def test_a_file_goes_before_a_built_in_model_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "camera-nano.int8.tflite"
    Path(name).write_bytes(b"x")
    assert find_model(name) == Path(name)


def test_a_folder_does_not_hide_a_built_in_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not BUILTIN:
        pytest.skip("no built-in model is there")
    monkeypatch.chdir(tmp_path)
    name = next(iter(BUILTIN))
    Path(name).mkdir()
    assert find_model(name) == BUILTIN[name]


@pytest.mark.parametrize("name", ["camra", "kamera", "Camera", "digit", "digitts"])
def test_misspelt_names_are_understood(name: str) -> None:
    with pytest.raises(ModelLoadError, match=rf"unknown model '{name}': did you mean '(camera|digit)[a-z-]*'\?"):
        find_model(name)


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_folders(name: str) -> None:
    with pytest.raises(ModelLoadError, match="is a folder, expected a model file"):
        find_model(name)


@pytest.mark.parametrize("name", ["missing.tflite", "folder/missing.onnx", "zzzz", "nul\0.tflite", "相机.tflite"])
def test_what_is_not_there_names_what_is(name: str) -> None:
    with pytest.raises(ModelLoadError, match=r"no such model file, nor a built-in model \(there are: ") as caught:
        find_model(name)
    assert all(known in str(caught.value) for known in BUILTIN)


def test_names_too_long_for_the_file_system() -> None:
    with pytest.raises(ModelLoadError, match="File name too long"):
        find_model("x" * 5000)
