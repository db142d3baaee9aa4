"""Where 8 bits hurt, and int8 files some layers of which stay in float."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from keras import layers

import quietframe as qf
from quietframe.card import ModelCard, read_card_file
from quietframe.errors import UsageError
from quietframe_export import export_model, frames, mixed
from quietframe_export.formats import TARGETS, Quantizer, parse_targets
from quietframe_export.layers_figure import worst_by_layer
from quietframe_export.subject import Subject, subject_from_keras

COSTLY = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "GELU", "ADD")
INT8 = ("tflite-int8", "onnx-int8")


@pytest.fixture(scope="module")
def collapsing(collapsing_keras: tuple[Path, Path], photo_folder: Path) -> Subject:
    """Its layers: blur, up, ReLU, down; 8 bits do not hold what lies between `up` and `down`."""
    path, card = collapsing_keras
    subject = subject_from_keras(path, read_card_file(card), calibrate=photo_folder)
    return replace(subject, calibration=subject.calibration[:16], held_out=subject.held_out[:8])


def quantizer(subject: Subject, target: str) -> Quantizer:
    found = TARGETS[target].format.quantizer(subject, "int8")
    assert found is not None
    return found


def test_the_layers_that_cost_most_stay_in_float_until_the_gate_is_met(collapsing: Subject, tmp_path: Path) -> None:
    report = export_model(collapsing, parse_targets(",".join(INT8)), tmp_path)
    assert report.passed
    for file in report.files:
        assert {layer.name for layer in file.float_layers} == {"up", "down"}
        assert file.layers == 3
        assert file.comparisons[0].drop < 0.3
        assert max(file.calibrations.values()) < 10, "no other calibration helps"
        assert file.file is not None
        card = qf.Denoiser(tmp_path / file.file).card
        assert card.float_layers == file.float_layers
        sizes = [layer.added_bytes for layer in file.float_layers]
        assert all(isinstance(layer.added_ms, float) for layer in file.float_layers) and any(sizes)
    types = {operation.type for operation in operations(tmp_path / "filter.int8.tflite") if operation.is_float}
    assert types <= {"CONV_2D", *mixed.BORDERS} and "CONV_2D" in types, "blur is still in int8"
    image = qf.Denoiser(tmp_path / "filter.int8.tflite").engine.inputs["image"].declared
    assert (image.dtype, image.zero_point) == (np.int8, -128), "frames pass unchanged, as before"


def operations(path: Path) -> Any:
    return TARGETS["tflite-int8"].format.operations(path.read_bytes())


def test_where_it_hurts_is_in_the_report_and_drawn(collapsing: Subject, tmp_path: Path) -> None:
    report = export_model(collapsing, parse_targets("tflite-int8"), tmp_path, mixed="none")
    (file,) = report.files
    assert file.outcome == "failed" and "--mixed auto" in file.try_next
    worst = worst_by_layer(file)
    assert worst[0].layer == "down"
    assert worst[0].sqnr_db < 10 < 30 < worst[1].sqnr_db
    written = json.loads((tmp_path / "export.json").read_text())["files"][0]["tensors"]
    assert [each["layer"] for each in written][:1] == ["down"]
    drawn = cv2.imread(str(tmp_path / "export-tflite-int8.png"))
    assert drawn is not None and np.ptp(drawn) > 100


@pytest.mark.parametrize("target", INT8)
def test_each_layer_is_charged_with_what_it_ruins_alone(collapsing: Subject, target: str) -> None:
    made = quantizer(collapsing, target)
    costs = mixed.costs(made, made.calibrations[0], collapsing.calibration[:2])
    assert set(costs) == {"blur", "up", "down"}
    assert max(costs["up"], costs["down"]) < 10 < 35 < costs["blur"]


@pytest.mark.parametrize(("names", "passes"), [(["up", "down"], True), (["blur"], False)])
def test_layers_can_be_named(collapsing: Subject, tmp_path: Path, names: list[str], passes: bool) -> None:
    (file,) = export_model(collapsing, parse_targets("tflite-int8"), tmp_path, mixed=names).files
    assert file.outcome == ("passed" if passes else "failed")
    assert [layer.name for layer in file.float_layers] == (names if passes else [])


def test_a_layer_that_is_not_there_is_named_with_those_that_are(collapsing: Subject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no layer 'conv7'; it has blur, up, down"):
        export_model(collapsing, parse_targets("tflite-int8"), tmp_path, mixed=["conv7"])


def test_a_file_that_passes_is_explained_and_stays_as_it_is(collapsing: Subject, tmp_path: Path) -> None:
    """Only on demand: without it no file is looked into."""
    wide = {"max_psnr_drop_db": 100, "overwrite": True}
    (plain,) = export_model(collapsing, parse_targets("tflite-int8"), tmp_path, **wide).files
    assert not plain.tensors and not list(tmp_path.glob("*.png"))
    before = (tmp_path / "filter.int8.tflite").read_bytes()
    (explained,) = export_model(collapsing, parse_targets("tflite-int8"), tmp_path, explain=True, **wide).files
    assert [error.layer for error in worst_by_layer(explained)] == ["down", "up", "blur"]
    assert all(error.alone_db is not None for error in explained.tensors)
    assert not explained.float_layers
    assert len((tmp_path / "filter.int8.tflite").read_bytes()) == len(before)


@pytest.fixture(scope="module")
def layered(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Subject:
    """Folded, fused, shared, nested and split layers, and one that no list keeps TensorFlow from quantizing."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(image)
    x = layers.ReLU(name="bend")(layers.BatchNormalization(beta_initializer="random_normal", name="norm")(x))
    shared = layers.Conv2D(8, 3, padding="same", activation="relu", name="shared")
    x = layers.SeparableConv2D(8, 3, padding="same", activation="gelu", name="apart")(shared(shared(x)))
    x = keras.Sequential([layers.Conv2D(8, 3, padding="same", name="inner"), layers.LeakyReLU(name="leaky")])(x)
    x = layers.LayerNormalization(name="normed")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up")(layers.MaxPooling2D(name="pool")(x))
    small = keras.initializers.RandomNormal(stddev=0.03)
    x = layers.Conv2D(3, 3, padding="same", kernel_initializer=small, name="last")(x)
    path = tmp_path_factory.mktemp("layered") / "layered.keras"
    keras.Model(image, layers.Add(name="sum")([image, x])).save(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(frames, "CALIBRATION_PATCHES", 4)
        patched.setattr(frames, "HELD_OUT_FRAMES", 2)
        return subject_from_keras(path, calibrate=photo_folder)


@pytest.mark.parametrize("target", INT8)
def test_layers_have_the_names_that_keras_gave_them(layered: Subject, target: str) -> None:
    made = quantizer(layered, target)
    names = ["first", "shared", "apart", "inner", "leaky", "normed", "pool", "up", "last", "sum"]
    assert list(made.layers) == names
    errors = made.errors(made.build(made.calibrations[0]), layered.calibration[:1])
    assert {made.layer_of(tensor) for tensor in errors} == set(names)


@pytest.mark.parametrize("target", INT8)
def test_with_all_layers_in_float_the_model_is_itself(layered: Subject, target: str) -> None:
    made, examples = quantizer(layered, target), layered.calibration[:2]
    ratios = [made.output_sqnr_db(made.build(made.calibrations[0], some), examples) for some in ((), made.layers)]
    assert ratios[0] < ratios[1] and ratios[1] > 30, "8-bit ends are left"
    expected = made.reference(examples)["denoised"][0]
    (found,) = layered.engine.run(examples[0]).values()
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["first", "apart", "normed", "up", "last", "sum"])
def test_a_layer_in_float_is_in_float(layered: Subject, name: str) -> None:
    made = quantizer(layered, "tflite-int8")
    names = made.with_bound([name])
    found = TARGETS["tflite-int8"].format.operations(made.build(made.calibrations[0], names))
    assert all(each.is_float for each in found if made.layer_of(each.result) in names and each.type in COSTLY)
    assert any(each.is_float for each in found if made.layer_of(each.result) == name)
    others = {made.layer_of(each.result) for each in found if each.is_float and each.type not in mixed.BORDERS}
    assert others <= {*names, "normed"}, "TFLite has no int8 NEG"


def test_cards_of_files_without_float_layers_are_as_they_were(collapsing: Subject) -> None:
    card: ModelCard = collapsing.card
    assert "float_layers" not in card.to_json()
