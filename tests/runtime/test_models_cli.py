from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from quietframe import builtin_models
from quietframe.card import Metric
from quietframe.cli import terminal
from quietframe.metrics import headline
from quietframe.tasks.base import open_model
from quietframe.zoo import ALIASES

BUILT_IN = builtin_models()


Run = Callable[..., tuple[int, str, str]]


def test_models_json(cli: Run) -> None:
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


def test_models_table(cli: Run) -> None:
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


def test_names_stay_whole_at_80_columns(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "PIPE_WIDTH", 80)
    _, out, _ = cli("models")
    lines = out.partition("Short names: ")[0].splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert [line.split()[0] for line in lines if line.startswith((" camera-", " digit-", " latent-", " denoise-"))] == [
        *BUILT_IN
    ]


def test_info_of_a_built_in_model_tells_the_terms(cli: Run) -> None:
    code, out, _ = cli("info", "camera-nano")
    _, card = open_model("camera-nano")
    assert code == 0
    flowing = " ".join(out.split())
    assert card.data.name in flowing
    assert card.data.terms in flowing
    assert card.license in flowing


def test_info_tells_the_whole_card(cli: Run, make_model: Callable[..., Path]) -> None:
    changes = {
        "metrics": (Metric("some-set", "psnr_db", 28.75, "sigma 25"),),
        "limits": "only for tests",
        "created_with": {"tool": "1.2"},
        "source_sha256": "ab" * 32,
        "extra": {"later_field": [1, 2]},
    }
    path = make_model(sigma=True, dtype="uint8", multiple=4, card_changes=changes)
    code, out, _ = cli("info", str(path))
    assert code == 0
    for text in (
        "tiny-denoise",
        "measured on some-set",
        "PSNR dB",
        "28.75",
        "only for tests",
        "tool 1.2",
        "ab" * 32,
        "later_field",
        "multiples of 4",
        "an input of the model",
        "uint8",
        "image BGR NHWC 0 to 1",
        "sigma N111",
    ):
        assert text in out


def test_info_tells_how_small_a_map_is(cli: Run, make_model: Callable[..., Path]) -> None:
    _, out, _ = cli("info", str(make_model(sigma=True, level_map=True, multiple=4)))
    assert "1 × any × any × 1" in out
    assert "sigma NHWC 0 to 0.2941 1/4 size" in out


def test_info_json_is_the_card_and_the_tensors(cli: Run, classifier_file: Path) -> None:
    code, out, _ = cli("info", str(classifier_file), "--json")
    record = json.loads(out)
    assert code == 0
    assert record["file"] == str(classifier_file)
    assert record["file_bytes"] == classifier_file.stat().st_size
    assert record["card"]["labels"] == ["first", "second", "third", "fourth"]
    assert [tensor["name"] for tensor in record["inputs"]] == ["image"]
    assert record["inputs"][0]["shape"] == [1, 28, 28, 1]
    assert record["outputs"][0]["dtype"] == "float32"


def test_info_of_a_fixed_size_and_brackets_in_a_name(cli: Run, make_model: Callable[..., Path]) -> None:
    path = make_model("odd[name]", size_hw=(32, 48), fit="tile")
    code, out, _ = cli("info", str(path))
    assert code == 0
    assert "48x32 colour; others are cut into tiles" in out
    assert "odd[name].tflite" in out


def test_info_says_that_a_fixed_size_costs_detail(
    cli: Run, make_model: Callable[..., Path], classifier_file: Path
) -> None:
    _, out, _ = cli("info", str(make_model(size_hw=(32, 48))))
    assert "48x32 colour; others are resized and back, so that larger ones lose their finer detail" in out
    _, out, _ = cli("info", str(classifier_file))
    assert "28x28 gray; others are resized\n" in out


def test_info_writes_a_long_noise_part_by_part(cli: Run, make_model: Callable[..., Path]) -> None:
    noise = f"one of: {'a' * 60}; {'b' * 60}; c"
    _, out, _ = cli("info", str(make_model(card_changes={"noise": noise})))
    start = out.splitlines().index(f"trained on noise   one of: {'a' * 60};")
    assert out.splitlines()[start + 1 : start + 3] == [f"{'':19}{'b' * 60};", f"{'':19}c"]


def test_info_of_a_file_without_a_card(cli: Run, make_model: Callable[..., Path]) -> None:
    path = make_model(carries_card=False)
    code, out, _ = cli("info", str(path))
    assert code == 0
    assert "--card FILE" in out
    assert "denoised" in out
    assert "float32" in out
    code, out, _ = cli("info", str(path), "--json")
    assert code == 0
    assert json.loads(out)["card"] is None


def test_info_of_a_file_whose_card_lies_beside_it(cli: Run, make_model: Callable[..., Path]) -> None:
    card = open_model(make_model("other"))[1]
    model = make_model("mine", carries_card=False)
    model.with_suffix(".card.json").write_text(card.to_json(), encoding="utf-8")
    code, out, _ = cli("info", str(model), "--json")
    assert (code, json.loads(out)["card"]) == (0, json.loads(card.to_json()))


def test_info_with_a_card_of_its_own(
    cli: Run, make_model: Callable[..., Path], blur_file: Path, tmp_path: Path
) -> None:
    card_file = tmp_path / "card.json"
    card_file.write_text(open_model(blur_file)[1].to_json(), encoding="utf-8")
    bare = make_model("bare", blur=True, carries_card=False)
    code, out, _ = cli("info", str(bare), "--card", str(card_file))
    assert code == 0
    assert "tiny-denoise" in out


def test_info_with_a_card_that_does_not_fit(
    cli: Run, make_model: Callable[..., Path], classifier_file: Path, tmp_path: Path
) -> None:
    card_file = tmp_path / "card.json"
    card_file.write_text(open_model(classifier_file)[1].to_json(), encoding="utf-8")
    code, out, err = cli("info", str(make_model(carries_card=False)), "--card", str(card_file))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("camra-nano", "did you mean 'camera-nano'?"),
        ("nowhere.tflite", "no such model file"),
    ],
)
def test_info_of_an_unknown_model(model: str, message: str, cli: Run) -> None:
    code, out, err = cli("info", model)
    assert (code, out) == (2, "")
    assert message in err


def test_info_of_a_text_file(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("not a model at all", encoding="utf-8")
    code, out, err = cli("info", str(path))
    assert (code, out) == (2, "")
    assert err.startswith(f"quietframe: error: {path}")
    assert err.count("\n") == 1
