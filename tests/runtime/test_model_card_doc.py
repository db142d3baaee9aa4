"""docs/model-card.md says what the card is: its examples are read, and no field or value is left out."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from quietframe import Denoiser, ModelCard
from quietframe import card as card_module
from quietframe.card import CARD_KEY, FORMAT, DataTerms, Spatial, TensorSpec, parse_card

DOCUMENT = Path(__file__).parents[2] / "docs" / "model-card.md"


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def examples(text: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_the_denoiser_example_runs_a_model(examples, make_model):
    path = make_model(colour="RGB", layout="NCHW", multiple=8, offset_255=20, carries_card=False)
    record = examples[0]
    assert "metrics" not in record  # it is minimal
    record = json.loads(json.dumps(record).replace('"input"', '"image"').replace('"output"', '"denoised"'))
    denoise = Denoiser(path, card=parse_card(json.dumps(record), origin="docs"))
    frame_bgr = np.full((30, 50, 3), (10, 20, 30), np.uint8)
    assert np.array_equal(denoise(frame_bgr), frame_bgr + 20)


def test_no_field_of_the_minimal_example_can_be_left_out(examples):
    for name in examples[0]:
        rest = {key: value for key, value in examples[0].items() if key != name}
        with pytest.raises(card_module.ModelLoadError, match=name):
            parse_card(json.dumps(rest), origin="docs")


def test_the_classifier_example_is_a_card(examples):
    card = parse_card(json.dumps(examples[0] | examples[1]), origin="docs")
    assert card.task == "classify"
    assert card.labels == ("cat", "dog", "bird")


@pytest.mark.parametrize("cls", [ModelCard, TensorSpec, Spatial, DataTerms])
def test_every_field_is_described(cls, text):
    named = {f.name for f in fields(cls)} - {"extra"}
    if cls is DataTerms:
        assert all(f'"{name}"' in text for name in named)
    else:
        cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
        assert named <= {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    "alias", ["Task", "Precision", "Role", "Layout", "Colour", "Conditioning", "SpatialKind", "Fit"]
)
def test_every_value_is_named(alias, text):
    for value in get_args(getattr(card_module, alias)):
        assert f"`{value}`" in text


def test_the_place_and_the_version(text):
    assert f"`{CARD_KEY}`" in text
    assert f"| `format` | `{FORMAT}` |" in text
