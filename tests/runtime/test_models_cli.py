from __future__ import annotations

import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from quietframe import Denoiser, builtin_models
from quietframe.card import Metric
from quietframe.cli import terminal
from quietframe.metrics import headline
from quietframe.tasks.base import open_model
from quietframe.zoo import ALIASES
from support.process import run_python

BUILT_IN = builtin_models()


def test_models_json(cli):
    code, out, _ = cli("models", "--json")
    records = {record["name"]: record for record in json.loads(out)}
    assert code == 0
    assert list(records) == list(BUILT_IN)
    for name, record in records.items():
        _, card = open_model(name)
        assert record["task"] == card.task
        assert record["file_bytes"] == BUILT_IN[name].stat().st_size
        assert record["metrics"] == [asdict(metric) for metric in card.metrics]
        assert record["measured"] == headline(card.metrics)
        assert record["short_names"] == [alias for alias, target in ALIASES.items() if target == name]
        assert record["parameters"] == card.parameters > 0
        assert record["data"] == {"name": card.data.name, "terms": card.data.terms}
        assert record["precision"] == card.precision


def test_models_table(cli):
    code, out, _ = cli("models")
    assert code == 0
    table, _, data = out.partition("Short names: ")
    blocks = [block.split(":\n") for block in data.split("\n\n")[1:]]
    for name in BUILT_IN:
        _, card = open_model(name)
        (line,) = [line for line in table.splitlines() if line.split()[:1] == [name]]
        assert card.task in line
        assert headline(card.metrics) in line
        (trained_on,) = [text for names, text in blocks if name in names.split(", ")]
        assert trained_on.strip() == f"{card.data.name}: {card.data.terms}"
    for alias, name in ALIASES.items():
        assert f"{alias} is {name}" in data
    for name in (name for name in BUILT_IN if name.endswith(".onnx")):
        assert Denoiser(name).keeps_16bit
        assert f"{name} is camera-nano in floats, for ONNX Runtime: it keeps images of 16 bits." in data.splitlines()


@pytest.mark.parametrize("width", [80, 160])
def test_names_stay_whole_at_80_columns_and_through_a_pipe(cli, monkeypatch, width):
    assert terminal.PIPE_WIDTH == 160
    monkeypatch.setattr(terminal, "PIPE_WIDTH", width)
    _, out, _ = cli("models")
    lines = out.partition("Short names: ")[0].splitlines()
    assert all(len(line) <= width for line in lines)
    assert [line.split()[0] for line in lines if line.startswith(tuple(f" {name}" for name in BUILT_IN))] == [*BUILT_IN]


def test_info_of_a_built_in_model_tells_the_terms(cli):
    code, out, _ = cli("info", "camera-nano")
    _, card = open_model("camera-nano")
    assert code == 0
    flowing = " ".join(out.split())
    assert card.data.name in flowing
    assert card.data.terms in flowing
    assert card.license in flowing


LONG = f"one of: {'a' * 60}; {'b' * 60}; c"
WHOLE_CARD = {
    "metrics": (Metric("some-set", "psnr_db", 28.75, "sigma 25"),),
    "limits": "only for tests",
    "created_with": {"tool": "1.2"},
    "source_sha256": "ab" * 32,
    "extra": {"later_field": [1, 2]},
}
INFO: list[tuple[dict[str, Any], list[str]]] = [
    (
        {"sigma": True, "dtype": "uint8", "multiple": 4, "card_changes": WHOLE_CARD},
        """tiny-denoise;measured on some-set;PSNR dB;28.75;only for tests;tool 1.2;later_field;multiples of 4;
        an input of the model;uint8;image BGR NHWC 0 to 1;sigma N111""".replace("\n        ", "").split(";"),
    ),
    ({"sigma": True, "level_map": True, "multiple": 4}, ["1 × any × any × 1", "sigma NHWC 0 to 0.2941 1/4 size"]),
    (
        {"name": "odd[name]", "size_hw": (32, 48), "fit": "tile"},
        ["48x32 colour; others are cut into tiles", "odd[name].tf"],
    ),
    ({"size_hw": (32, 48)}, ["48x32 colour; others are resized and back, so that larger ones lose their finer detail"]),
    ({"task": "classify", "colour": "GRAY"}, ["28x28 gray; others are resized\n"]),
    ({"card_changes": {"noise": LONG}}, [f"trained on noise   one of: {'a' * 60};\n{'':19}{'b' * 60};\n{'':19}c\n"]),
    ({"carries_card": False}, ["--card FILE", "denoised", "float32"]),
]


@pytest.mark.parametrize(("model", "says"), INFO, ids=[says[0] for _, says in INFO])
def test_info_tells_what_a_card_says(cli, make_model, model, says):
    code, out, _ = cli("info", str(make_model(**model)))
    assert code == 0
    assert [text for text in says if text not in out] == []


def test_info_json_is_the_card_and_the_tensors(cli, classifier_file):
    code, out, _ = cli("info", str(classifier_file), "--json")
    record = json.loads(out)
    assert code == 0
    assert record["file"] == str(classifier_file)
    assert record["file_bytes"] == classifier_file.stat().st_size
    assert record["card"]["labels"] == ["first", "second", "third", "fourth"]
    assert [tensor["name"] for tensor in record["inputs"]] == ["image"]
    assert record["inputs"][0]["shape"] == [1, 28, 28, 1]
    assert record["outputs"][0]["dtype"] == "float32"


def test_info_takes_the_card_from_the_file_beside_it_or_from_an_option(cli, make_model, tmp_path):
    card = open_model(make_model("other"))[1].to_json()
    model, bare = make_model("mine", carries_card=False), make_model("bare", carries_card=False)
    model.with_suffix(".card.json").write_text(card, encoding="utf-8")
    for arguments, expected in [
        ((model,), card),
        ((bare, "--card", tmp_path / "mine.card.json"), card),
        ((bare,), "null"),
    ]:
        code, out, _ = cli("info", *map(str, arguments), "--json")
        assert (code, json.loads(out)["card"]) == (0, json.loads(expected))


def test_info_with_a_card_that_does_not_fit(cli, make_model, classifier_file, tmp_path):
    card_file = tmp_path / "card.json"
    card_file.write_text(open_model(classifier_file)[1].to_json(), encoding="utf-8")
    model = make_model(carries_card=False)
    code, out, err = cli("info", str(model), "--card", str(card_file))
    assert (code, out) == (2, "")
    assert err.startswith(f"quietframe: error: {model}: input 'image' has shape ")
    assert err.count("\n") == 1


def test_info_of_a_name_that_is_not_utf8(blur_file):
    odd = blur_file.rename(blur_file.with_name(os.fsdecode(b"caf\xe9.tflite")))
    done = [
        run_python("-m", "quietframe", "info", odd, *options, PYTHONIOENCODING="utf-8:strict")
        for options in ([], ["--json"])
    ]
    assert r"caf\udce9.tflite" in done[0].stdout
    assert json.loads(done[1].stdout)["file"] == str(odd)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("camra-nano", "did you mean 'camera-nano'?"),
        ("nowhere.tflite", "no such model file"),
    ],
)
def test_info_of_an_unknown_model(model, message, cli):
    code, out, err = cli("info", model)
    assert (code, out) == (2, "")
    assert message in err


def test_info_of_a_text_file(cli, tmp_path):
    path = tmp_path / "notes.tflite"
    path.write_text("not a model at all", encoding="utf-8")
    code, out, err = cli("info", str(path))
    assert (code, out) == (2, "")
    assert err.startswith(f"quietframe: error: {path}")
    assert err.count("\n") == 1


def keras_file(path: Path, layers: list[Any], **changes: Any) -> Path:
    first = layer("InputLayer", name="x", batch_shape=[None, 8, 8, 3])
    model = {"class_name": "Functional", "module": "keras", "config": {"name": "theirs", "layers": [first, *layers]}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(model | changes))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.9.9", "date_saved": "2026-01-02@03:04:05"}))
    return path


def layer(name: str, /, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"class_name": name, "module": module, "config": config}


def test_info_of_a_keras_file_needs_no_keras(cli, tmp_path):
    inner = layer("Functional", "keras", layers=[layer("Conv2D"), layer("ReLU")])
    path = keras_file(tmp_path / "m.keras", [layer("Conv2D"), inner, layer("Halved", "their.module")])
    code, out, _ = cli("info", str(path))
    assert code == 0
    for text in ("Keras 3.9.9, 2026-01-02 03:04:05", "x any × 8 × 8 × 3", "4: 2 Conv2D; 1 ReLU; 1 Halved"):
        assert text in out
    assert f"quietframe export {path} --calibrate IMAGES" in out
    assert "custom objects     Halved" in out
    record = json.loads(cli("info", str(path), "--json").out)
    assert (record["layers"], record["card"]) == ({"Conv2D": 2, "ReLU": 1, "Halved": 1}, None)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
def test_info_of_a_damaged_keras_file_is_one_line(content, cli, tmp_path):
    path = tmp_path / "m.keras"
    if content is None:
        keras_file(path, [], config=[1, 2])
    else:
        path.write_bytes(content)
    code, out, err = cli("info", str(path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "not a .keras file" in err
