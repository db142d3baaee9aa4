"""The export as a whole: what passes is kept and proved, what collapses is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import quietframe as qf
from quietframe.errors import OutputError, UsageError
from quietframe_export import export_model
from quietframe_export.subject import Subject, subject_from_run
from quietframe_export.targets import TARGETS, parse_targets


def test_every_target_of_a_camera_model(camera: Subject, tmp_path: Path) -> None:
    report = export_model(camera, parse_targets("all"), tmp_path)
    outcomes = {file.target: file.outcome for file in report.files}
    assert outcomes == {name: "refused" if name == "tflite-int16x8" else "passed" for name in TARGETS}
    assert report.passed
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {f"camera-nano{t.suffix}" for t in TARGETS.values() if t.name != "tflite-int16x8"} | {"export.json"}
    by_target = {file.target: file for file in report.files}
    assert by_target["tflite-int8"].float_operations == 0
    for file in report.files:
        if file.comparison:
            assert file.comparison.frames >= 64
            assert set(file.comparison.groups) == {"sigma 5", "sigma 15", "sigma 25", "sigma 50"}
    for name in ("tflite-fp32", "onnx-fp32"):
        comparison = by_target[name].comparison
        assert comparison is not None and comparison.max_error_255 <= 1
    written = json.loads((tmp_path / "export.json").read_text())
    assert [file["target"] for file in written["files"]] == list(TARGETS)


def test_cards_of_the_files(camera: Subject, tmp_path: Path) -> None:
    export_model(camera, parse_targets("tflite-int8,onnx-fp32"), tmp_path)
    for suffix, precision in ((".int8.tflite", "int8"), (".fp32.onnx", "fp32")):
        card = qf.Denoiser(tmp_path / f"camera-nano{suffix}").card
        assert (card.precision, card.name, card.spatial.multiple) == (precision, "camera-nano", 4)
        assert card.parameters == camera.card.parameters
        assert card.data.terms == "public domain"
        assert len(card.source_sha256) == 64
        (figures,) = card.metrics.values()
        assert {"psnr_db", "drop_psnr_db", "psnr_db_sigma25"} <= figures.keys()


@pytest.fixture(scope="module")
def collapsing(camera: Subject) -> Subject:
    """A model that int8 ruins: one channel of the first features is a hundred times the others.

    The channel is scaled up behind its normalization and down again in front of the next convolution, so that
    Keras is unchanged, while one 8-bit range must hold both. ReLU6 would clip it: the layer is made a plain ReLU.
    """
    import keras

    original = camera.engine.model
    model = keras.models.clone_model(
        original,
        clone_function=lambda layer: (
            keras.layers.ReLU(name=layer.name)
            if layer.name == "down0_0_relu"
            else type(layer).from_config(layer.get_config())
        ),
    )
    model.set_weights(original.get_weights())
    gain = np.ones(16, np.float32)
    gain[3] = 400.0
    norm = model.get_layer("down0_0_bn")
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma * gain, beta * gain, mean, variance])
    level = model.get_layer("level")
    kernel, bias = level.get_weights()
    level.set_weights([kernel * gain, bias * gain])
    strided = model.get_layer("down1_0")
    (kernel,) = strided.get_weights()
    strided.set_weights([kernel / gain[None, None, :, None]])
    out = model.get_layer("up0_shuffle")
    assert out is not None
    return replace(camera, engine=type(camera.engine)(model, camera.card))


def test_collapse_fails_the_gate_and_is_not_kept(collapsing: Subject, tmp_path: Path) -> None:
    report = export_model(collapsing, parse_targets("tflite-int8,tflite-fp32"), tmp_path)
    int8, fp32 = report.files
    assert (int8.outcome, fp32.outcome) == ("failed", "passed")
    assert not report.passed
    assert not (tmp_path / "camera-nano.int8.tflite").exists()
    assert (tmp_path / "camera-nano.fp32.tflite").exists()
    assert "drops" in int8.reason
    assert report.outliers, "the tensor that ruins it must be named"


def test_gate_can_be_widened(collapsing: Subject, tmp_path: Path) -> None:
    report = export_model(collapsing, parse_targets("tflite-int8"), tmp_path, max_psnr_drop_db=100)
    assert report.passed
    assert (tmp_path / "camera-nano.int8.tflite").exists()


def test_classifier(classifier_run: Path, tmp_path: Path) -> None:
    report = export_model(
        subject_from_run(classifier_run), parse_targets("all"), tmp_path, max_accuracy_drop_percent=2.0
    )
    assert {file.outcome for file in report.files} == {"passed"}
    for file in report.files:
        assert file.comparison is not None
        assert file.comparison.unit == "accuracy_percent"
        assert file.comparison.keras > 80
    int8 = next(file for file in report.files if file.target == "tflite-int8")
    assert int8.float_operations == 0


def test_autoencoder(autoencoder_run: Path, tmp_path: Path) -> None:
    subject = subject_from_run(autoencoder_run)
    report = export_model(subject, parse_targets("all"), tmp_path)
    assert {file.outcome for file in report.files} == {"passed"}
    noisy = subject.held_out[0].frame
    assert qf.Denoiser(tmp_path / "latent-autoencoder.int8.tflite")(noisy).shape == (28, 28)


def test_existing_files_are_kept_unless_told(camera: Subject, tmp_path: Path) -> None:
    taken = tmp_path / "camera-nano.fp32.tflite"
    taken.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists; pass --overwrite"):
        export_model(camera, parse_targets("tflite-fp32"), tmp_path)
    assert taken.read_bytes() == b"mine"
    export_model(camera, parse_targets("tflite-fp32"), tmp_path, overwrite=True)
    assert taken.read_bytes() != b"mine"


def test_calibration_is_required_for_int8(camera: Subject, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs calibration frames"):
        export_model(replace(camera, calibration=()), parse_targets("tflite-int8"), tmp_path)


@pytest.mark.parametrize("text", ["", ",", "tflite", "tflite-int4", "onnx-fp32,bogus"])
def test_unknown_targets(text: str) -> None:
    with pytest.raises(UsageError, match="Expected --to"):
        parse_targets(text)


def test_calibration_and_held_out_are_apart(camera_run: Path, make_run: Callable[[str, int], Path]) -> None:
    subject = subject_from_run(camera_run)
    assert len(subject.calibration) >= 100
    assert len(subject.held_out) >= 64
    again = subject_from_run(camera_run)
    np.testing.assert_array_equal(subject.calibration[5]["image"], again.calibration[5]["image"])
