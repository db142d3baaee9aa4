"""TFLite files: what is in them, and that they say what Keras says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import quietframe as qf
from quietframe.card import parse_card
from quietframe.engines import LiteRtEngine
from quietframe_export.formats import RefusedTargetError
from quietframe_export.formats.tflite import TFLite, convert
from quietframe_export.subject import Subject

FORMAT = TFLite()


@pytest.fixture(scope="module")
def fp32(camera: Subject) -> bytes:
    return convert(camera.engine, camera.card, "fp32")


@pytest.fixture(scope="module")
def int8(camera: Subject) -> bytes:
    return convert(camera.engine, camera.card, "int8", camera.calibration)


def test_batch_normalization_is_folded(fp32: bytes) -> None:
    types = [operation.type for operation in FORMAT.operations(fp32)]
    assert types.count("CONV_2D") == 13  # one for each of the model's convolutions
    assert types.count("MUL") == 3  # the gains, and the two parts of the unit of what is removed
    moves = {"MEAN", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"}
    assert set(types) == {"CONV_2D", "ADD", "MUL", "MINIMUM", "RELU"} | moves


def test_fp32_equals_keras(camera: Subject, fp32: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(fp32)
    engine = LiteRtEngine(path, threads=2)
    for inputs in camera.calibration[:4]:
        (expected,), (found,) = camera.engine.run(inputs).values(), engine.run(inputs).values()
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_int8_holds_no_float_operation(int8: bytes) -> None:
    operations = FORMAT.operations(int8)
    assert not [operation.type for operation in operations if operation.is_float]
    assert "CONV_2D" in [operation.type for operation in operations]


def test_fp32_operations_count_as_float(fp32: bytes) -> None:
    assert all(operation.is_float for operation in FORMAT.operations(fp32))


def test_int8_frames_pass_unchanged(camera: Subject, int8: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(int8)
    engine = LiteRtEngine(path, threads=1)
    tensors = engine.inputs["image"], engine.inputs["sigma"], engine.outputs["denoised"]
    image, sigma, denoised = (tensor.declared for tensor in tensors)
    for info in (image, denoised):
        assert (info.dtype, info.zero_point) == (np.int8, -128)
        assert info.scale == pytest.approx(1 / 255, rel=1e-4)
    assert sigma.dtype == np.int8
    assert sigma.scale * 255 == pytest.approx(75 / 255, rel=1e-3)


def test_dynamic_and_fp16_are_smaller(camera: Subject, fp32: bytes) -> None:
    for precision in ("fp16", "dynamic"):
        data = convert(camera.engine, camera.card, precision)
        assert len(data) < 0.7 * len(fp32)


def test_int16x8_is_refused_for_camera_models(camera: Subject) -> None:
    with pytest.raises(
        RefusedTargetError, match=r"int16x8: not possible for this model: .*(SPACE_TO_DEPTH|DEPTH_TO_SPACE)"
    ):
        convert(camera.engine, camera.card, "int16x8", camera.calibration)


def test_card_is_inside_and_replaced(camera: Subject, int8: bytes, tmp_path: Path) -> None:
    from dataclasses import replace

    path = tmp_path / "m.tflite"
    once = FORMAT.embed_card(int8, camera.card)
    path.write_bytes(FORMAT.embed_card(once, replace(camera.card, name="other")))
    card_json = LiteRtEngine(path, threads=1).card_json
    assert card_json is not None
    assert parse_card(card_json, origin="m") == replace(camera.card, name="other")
    assert path.stat().st_size < len(once) + 200  # not a second card beside the first


@pytest.mark.parametrize("size_hw", [(4, 4), (37, 61), (480, 640), (481, 642)])
def test_any_size(camera: Subject, int8: bytes, tmp_path: Path, size_hw: tuple[int, int]) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(FORMAT.embed_card(int8, camera.card))
    denoise = qf.Denoiser(path)
    assert denoise.engine.inputs["image"].shape == (1, None, None, 3)
    assert denoise.engine.inputs["sigma"].shape == (1, None, None, 1)
    frame = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), np.uint8)
    assert denoise(frame).shape == frame.shape


def test_runs_without_quietframe(camera: Subject, int8: bytes, tmp_path: Path) -> None:
    """The lines that the documentation shows."""
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "m.int8.tflite"
    path.write_bytes(FORMAT.embed_card(int8, camera.card))
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    expected = qf.Denoiser(path, sigma_255=25)(frame)

    run = Interpreter(str(path), num_threads=2).get_signature_runner()
    scale, zero_point = run.get_input_details()["sigma"]["quantization"]
    height, width = frame.shape[:2]
    sigma = np.full((1, height // 4, width // 4, 1), round(25 / 255 / scale) + zero_point, np.int8)
    image = (frame ^ 128).view(np.int8)
    denoised = run(image=image[None], sigma=sigma)["denoised"][0].view(np.uint8) ^ 128
    np.testing.assert_array_equal(denoised, expected)


def test_free_sizes_as_the_plain_converter_leaves_them(tmp_path: Path) -> None:
    """TensorFlow's converter stores free axes as 1, at which a strided model cannot even be prepared."""
    import keras
    import tensorflow as tf

    from quietframe_train.layers import PixelShuffle, PixelUnshuffle

    image = keras.Input((None, None, 3), name="image")
    features = keras.layers.Conv2D(12, 3, padding="same")(PixelUnshuffle(2)(image))
    model = keras.Model(image, PixelShuffle(2)(features))
    path = tmp_path / "plain.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    engine = LiteRtEngine(path, threads=1)
    for size in (32, 48, 480):
        (result,) = engine.run({"image": np.zeros((1, size, 64, 3), np.float32)}).values()
        assert result.shape == (1, size, 64, 3)
