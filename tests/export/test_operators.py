"""Architectures of the recipes, small and untrained, in every precision: converted and right, or refused."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from quietframe.card import DataTerms
from quietframe.noise import to_uint8
from quietframe_export import Subject, export_model
from quietframe_export.cards import card_for_run
from quietframe_export.formats import TARGETS, parse_targets
from quietframe_export.keras_engine import KerasEngine
from quietframe_train.data.base import Sample
from quietframe_train.data.images import as_frame
from quietframe_train.models import BUILDERS
from quietframe_train.recipes import RECIPES
from quietframe_train.run_folder import Run

SMALL_UNET = {"side": 32, "widths": (8, 16, 24), "encoder_convs": (1, 2, 1), "decoder_convs": (1, 1)}
# The others' trainings are exported to every target in test_exporter.py and test_composite.py, the designs that they
# come from in test_published_designs.py; digit-cnn is built as image-classifier is.
CASES = [
    ("bottleneck-autoencoder-deep", {}),
    ("digit-unet", {}),
    ("color-autoencoder", {"side": 16}),
    ("color-unet", SMALL_UNET),
    ("image-classifier", {"side": 32, "channels": 3, "widths": (8, 16), "classes": 3}),
]
WIDE = {"bottleneck-autoencoder-deep", "color-autoencoder"}
"""Those whose weights take half a minute to round."""
PIXEL_SHUFFLE = {"digit-unet", "color-unet"}


def stand_in(name: str, options: dict[str, object]) -> Subject:
    keras.utils.set_random_seed(3)
    recipe = RECIPES[name]
    model = BUILDERS[recipe.model.builder](**options)
    run = Run(
        folder=Path(),
        recipe=recipe,
        seed=0,
        limit=None,
        data_path=None,
        data=DataTerms("noise", "none"),
        data_sha256="",
        versions={},
        created="",
    )
    scores = next((out for out in model.outputs if len(out.shape) == 2), None)
    labels = () if scores is None else tuple(map(str, range(scores.shape[-1])))
    card = card_for_run(run, model, "", labels=labels)
    images = np.random.default_rng(6).random((24, *model.inputs[0].shape[1:]), np.float32)
    frames = [as_frame(image) for image in to_uint8(255 * images)]
    return Subject(
        engine=KerasEngine(model, card),
        card=card,
        calibration=[{"image": np.float32(frame.reshape(1, *images.shape[1:])) / 255} for frame in frames[:16]],
        held_out=[Sample(frame=frame, clean=frame) for frame in frames[16:]],
        calibrated_with="noise",
        held_out_from="noise",
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(*case, id=case[0], marks=[pytest.mark.long] * (case[0] in WIDE)) for case in CASES],
)
def test_every_precision(name: str, options: dict[str, object], tmp_path: Path) -> None:
    subject = stand_in(name, options)
    report = export_model(subject, parse_targets("all"), tmp_path, max_accuracy_drop_percent=100, mixed="none")
    outcomes = {file.target: (file.outcome, file.reason) for file in report.files}
    refused = {"tflite-int16x8"} if name in PIXEL_SHUFFLE else set()
    assert {target for target, (outcome, _) in outcomes.items() if outcome == "refused"} == refused, outcomes
    assert {target for target, (outcome, _) in outcomes.items() if outcome == "passed"} == TARGETS.keys() - refused
    for target in refused:
        assert "does not support DEPTH_TO_SPACE" in outcomes[target][1]
    by_target = {file.target: file for file in report.files}
    assert by_target["tflite-int8"].float_operations == 0
    for file in report.files:
        for found in file.comparisons:
            assert found.max_error_255 <= (1 if file.target.endswith("fp32") else 26), file.target
    assert all(not operation.startswith("Flex") for file in report.files for operation in file.operations or ())


def test_upsampling_is_one_operation() -> None:
    subject = stand_in("color-autoencoder", {"side": 16})
    for target, resize, tile in (("tflite-fp32", "RESIZE_NEAREST_NEIGHBOR", "TILE"), ("onnx-fp32", "Resize", "Tile")):
        kind = TARGETS[target].format
        types = [operation.type for operation in kind.operations(kind.convert(subject, "fp32"))]
        assert types.count(resize) == 2 and tile not in types
