from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietframe.card import FORMAT, DataTerms, Metric, ModelCard, Spatial, TensorSpec, parse_card, read_card_file
from quietframe.errors import ModelLoadError, UsageError

IMAGE = TensorSpec("image", "image", "NHWC", 3, (0.0, 1.0), "BGR")
SIGMA = TensorSpec("sigma", "sigma", "N111", 1, (0.0, 0.3))
LEVEL_MAP = dataclasses.replace(SIGMA, layout="NHWC", stride=4)
DENOISED = dataclasses.replace(IMAGE, name="denoised")
SCORES = TensorSpec("scores", "scores", "NC", 2, (0.0, 1.0))


def card(**changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "camera-test",
        "task": "denoise",
        "recipe": "camera-nano",
        "precision": "int8",
        "inputs": (IMAGE, SIGMA),
        "outputs": (DENOISED,),
        "spatial": Spatial("any", multiple=4, halo=18),
        "conditioning": "sigma",
        "noise": "Gaussian, σ 0–55",
        "data": DataTerms("bsd432", "research"),
        "parameters": 31_000,
        "macs_per_pixel": 3000.5,
        "license": "CC-BY-4.0",
        "metrics": (Metric("cbsd68", "psnr_db", 28.9, "sigma 25"),),
        "created_with": {"keras": "3.15.1"},
        "trained": {"commit": "0123abc", "seed": "0"},
    }
    return ModelCard(**(fields | changes))


def record(**changes: Any) -> dict[str, Any]:
    """The test card as its JSON object."""
    loaded: dict[str, Any] = json.loads(card().to_json())
    return loaded | changes


def parse(value: Any) -> ModelCard:
    return parse_card(json.dumps(value), origin="model.tflite")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"inputs": (IMAGE,), "conditioning": "none"},
        {"task": "denoise+classify", "outputs": (SCORES, DENOISED), "labels": ("a", "b")},
        {"spatial": Spatial("fixed", size_hw=(64, 96), fit="tile", halo=8)},
        {"inputs": (IMAGE, LEVEL_MAP)},
        {"inputs": (IMAGE, LEVEL_MAP), "spatial": Spatial("fixed", size_hw=(64, 96), fit="resize")},
        {"extra": {"field_of_the_future": [1, {"a": None}]}},
        {"name": 'Kamera — 相机 \U0001f4f7 "quoted" \\ \n'},
    ],
    ids=["camera", "unconditioned", "both tasks", "tiles", "map", "fixed map", "extra", "unicode"],
)
def test_round_trip(changes):
    original = card(**changes)
    assert parse_card(original.to_json(), origin="x") == original


@settings(deadline=None)  # times are not what it tests
@given(st.text(), st.integers(0, 10**12), st.floats(0, 1e12), st.text())
def test_round_trip_of_any_values(name, parameters, macs, noise):
    original = card(name=name, parameters=parameters, macs_per_pixel=macs, noise=noise)
    assert parse_card(original.to_json(), origin="x") == original


REQUIRED = [f.name for f in dataclasses.fields(ModelCard) if f.default is f.default_factory is dataclasses.MISSING]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_named(name):
    incomplete = record()
    del incomplete[name]
    with pytest.raises(ModelLoadError, match=f"model.tflite: model card: field '{name}' is missing"):
        parse(incomplete)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(ModelCard) if f.name not in ("format", "extra")])
def test_an_ill_typed_field_is_named(name):
    # An object where a list or a scalar is expected, a number where an object is.
    wrong = {"wrong": []} if name in ("inputs", "outputs", "labels", "metrics", "float_layers") else [3.5]
    with pytest.raises(ModelLoadError, match=f"model.tflite: model card: {name}: expected "):
        parse(record(**{name: wrong}))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("inputs", 0, "name"), 7, "inputs[0].name: expected a text, received 7"),
        (("inputs", 1, "role"), "depth", "inputs[1].role: expected 'image' or 'sigma' or 'scores' or "),
        (("inputs", 0, "layout"), "HWC", "inputs[0].layout: expected 'NHWC' or"),
        (("inputs", 0, "channels"), True, "inputs[0].channels: expected a whole number, received True"),
        (("inputs", 0, "channels"), 3.0, "inputs[0].channels: expected a whole number, received 3.0"),
        (("inputs", 0, "value_range"), [0], "inputs[0].value_range: expected 2 items, received [0]"),
        (("inputs", 0, "value_range"), [0, None], "inputs[0].value_range[1]: expected a finite number, received None"),
        (
            ("inputs", 0, "value_range"),
            [float("nan"), 1],
            "inputs[0].value_range[0]: expected a finite number, received",
        ),
        (
            ("inputs", 0, "value_range"),
            [0, float("inf")],
            "inputs[0].value_range[1]: expected a finite number, received",
        ),
        (("inputs", 0, "value_range"), [0, 10**400], "expected a finite number"),
        (("inputs", 0), "image", "inputs[0]: expected an object, received 'image'"),
        (("spatial", "kind"), None, "spatial.kind: expected 'any' or 'fixed', received None"),
        (("metrics", 0, "value"), "high", "metrics[0].value: expected a finite number, received 'high'"),
        (("created_with", "keras"), 3, "created_with.keras: expected a text, received 3"),
    ],
)
def test_an_ill_typed_inner_field_is_named(path, value, says):
    broken = record()
    inner: Any = broken
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    with pytest.raises(ModelLoadError) as caught:
        parse(broken)
    assert says in str(caught.value)


def test_a_missing_inner_field_is_named():
    broken = record()
    del broken["outputs"][0]["colour"]
    del broken["outputs"][0]["layout"]
    with pytest.raises(ModelLoadError, match=r"outputs\[0\]: field 'layout' is missing"):
        parse(broken)


def test_an_earlier_format_says_what_to_change():
    with pytest.raises(ModelLoadError, match='write "format": 2, and metrics, if there are any, as a list'):
        parse(record(format=1))


@pytest.mark.parametrize("found", [FORMAT + 1, 0, -1, None, "1", True, [FORMAT]])
def test_another_format_is_refused(found):
    with pytest.raises(ModelLoadError, match=r"model card format .* is not known here .*pip install -U quietframe"):
        parse(record(format=found))


@pytest.mark.parametrize(
    "text",
    ["", "{", "not json", "\0", "[" * 100_000, '{"format": 1e999}', "{}", "9" * 5000, "[]", "3", "null"],
)
def test_what_is_not_a_card_is_one_line(text):
    with pytest.raises(ModelLoadError, match=r"^model\.tflite: (the )?model card .*$"):
        parse_card(text, origin="model.tflite")


def test_unknown_fields_are_kept():
    parsed = parse(record(sensor="IMX477", extra={"deep": [1]}))
    assert parsed.extra == {"sensor": "IMX477", "extra": {"deep": [1]}}
    assert json.loads(parsed.to_json())["sensor"] == "IMX477"


CONTRADICTIONS = [
    ({"inputs": (SIGMA,)}, "inputs: no tensor has the role 'image'"),
    ({"outputs": (SCORES,), "labels": ("a", "b")}, "task 'denoise' needs a tensor with the role 'image'"),
    ({"task": "classify"}, "task 'classify' needs a tensor with the role 'scores'"),
    ({"task": "denoise+classify"}, "needs a tensor with the role 'scores'"),
    ({"task": "classify", "outputs": (SCORES,), "labels": ("a",)}, "labels: 1 labels for 2 scores"),
    ({"softmax": True}, "softmax: no output has the role 'scores'"),
    ({"conditioning": "none"}, "conditioning: 'none' does not fit the inputs"),
    ({"inputs": (IMAGE,)}, "conditioning: 'sigma' does not fit the inputs"),
    ({"inputs": (IMAGE, IMAGE, SIGMA)}, "inputs[1]: name 'image' or role 'image' is there twice"),
    ({"inputs": (IMAGE, SIGMA, dataclasses.replace(SIGMA, name="level"))}, "role 'sigma' is there twice"),
    ({"outputs": (DENOISED, SIGMA)}, "outputs[1].role: 'sigma' is not for outputs"),
    ({"inputs": (IMAGE, SIGMA, SCORES)}, "inputs[2].role: 'scores' is not for inputs"),
    (
        {"inputs": (dataclasses.replace(IMAGE, value_range=(1.0, 1.0)), SIGMA)},
        "inputs[0].value_range: (1.0, 1.0) is empty",
    ),
    ({"inputs": (dataclasses.replace(IMAGE, channels=1), SIGMA)}, "found colour BGR and 1 channels"),
    ({"inputs": (dataclasses.replace(IMAGE, colour=None), SIGMA)}, "found colour None and 3 channels"),
    ({"inputs": (dataclasses.replace(IMAGE, layout="NC"), SIGMA)}, "inputs[0].layout: NC is not for image"),
    ({"inputs": (IMAGE, dataclasses.replace(SIGMA, layout="NC"))}, "inputs[1].layout: NC is not for sigma"),
    ({"inputs": (IMAGE, dataclasses.replace(SIGMA, stride=4))}, "inputs[1].stride: 4 does not fit N111 and spatial"),
    ({"inputs": (dataclasses.replace(IMAGE, stride=4), SIGMA)}, "inputs[0].stride: 4 does not fit NHWC and spatial"),
    ({"inputs": (IMAGE, dataclasses.replace(LEVEL_MAP, stride=0))}, "inputs[1].stride: 0 does not fit NHWC"),
    ({"inputs": (IMAGE, LEVEL_MAP), "spatial": Spatial("any", multiple=6)}, "inputs[1].stride: 4 does not fit NHWC"),
    ({"inputs": (IMAGE, LEVEL_MAP), "spatial": Spatial("fixed", (8, 6), "resize")}, "inputs[1].stride: 4 does not fit"),
    ({"inputs": (IMAGE, LEVEL_MAP), "spatial": Spatial("fixed", (8, 8), "tile")}, "inputs[1].stride: 4 does not fit"),
    ({"inputs": (IMAGE, dataclasses.replace(SIGMA, channels=2))}, "inputs[1].channels: 2 is not for sigma"),
    ({"spatial": Spatial("fixed")}, "spatial: a fixed model needs size_hw and fit"),
    ({"spatial": Spatial("fixed", size_hw=(28, 28))}, "spatial: a fixed model needs size_hw and fit"),
    ({"spatial": Spatial("fixed", size_hw=(0, 28), fit="resize")}, "spatial: sizes must be at least 1"),
    ({"spatial": Spatial("any", multiple=0)}, "multiple between 1 and"),
    ({"spatial": Spatial("any", multiple=10**9)}, "multiple between 1 and"),
    ({"spatial": Spatial("any", halo=-1)}, "halo at least 0"),
    ({"spatial": Spatial("fixed", size_hw=(64, 32), fit="tile", halo=16)}, "a halo of 16 leaves nothing of tiles"),
]


@pytest.mark.parametrize(("changes", "says"), CONTRADICTIONS, ids=[says for _, says in CONTRADICTIONS])
def test_contradictions_are_refused_when_built_and_when_read(changes, says):
    with pytest.raises(UsageError) as built:
        card(**changes)
    assert says in str(built.value)
    as_json = {key: json.loads(json.dumps(value, default=dataclasses.asdict)) for key, value in changes.items()}
    with pytest.raises(ModelLoadError) as read:
        parse(record(**as_json))
    assert says in str(read.value)


def test_tensor_finds_by_role():
    assert card().tensor("sigma", "inputs") == SIGMA
    assert card().tensor("image", "outputs") == DENOISED
    assert card().tensor("scores", "outputs") is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_card_file(tmp_path, encoding):
    path = tmp_path / "карта.json"
    path.write_text(card().to_json(), encoding=encoding)
    assert read_card_file(path) == read_card_file(str(path)) == card()


def test_card_files_that_cannot_be_read(tmp_path):
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "missing.json", binary, "nul\0byte"):
        with pytest.raises(ModelLoadError, match="cannot read the model card") as caught:
            read_card_file(path)
        assert "\n" not in str(caught.value)
