"""ONNX files: free sizes, names, quantization."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest

import quietframe as qf
from quietframe.card import CARD_KEY
from quietframe_export.formats.onnx import Onnx, convert_fp32, quantize, shorten_weights
from quietframe_export.subject import Subject

FORMAT = Onnx()


@pytest.fixture(scope="module")
def fp32(camera: Subject) -> bytes:
    return convert_fp32(camera.engine, camera.card)


def test_names_and_free_axes(fp32: bytes) -> None:
    graph = onnx.load_from_string(fp32).graph
    shapes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "image": [1, "height", "width", 3],
        "sigma": [1, "sigma_height", "sigma_width", 1],
        "denoised": [1, "height", "width", 3],
    }


def test_batch_normalization_is_folded(fp32: bytes) -> None:
    types = [operation.type for operation in FORMAT.operations(fp32)]
    assert types.count("Conv") == 13
    assert types.count("Mul") == 3  # the gains, and the two parts of the unit of what is removed
    assert not {"BatchNormalization", "Sub"} & set(types)


def test_fp32_equals_keras(camera: Subject, fp32: bytes, tmp_path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(fp32)
    for inputs in camera.calibration[:4]:
        (expected,) = camera.engine.run(inputs).values()
        (found,) = session.run(None, dict(inputs))
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_weights_of_fewer_bits_pack_smaller_and_are_as_near(fp32: bytes) -> None:
    def weights(data: bytes) -> dict[str, np.ndarray]:
        graph = onnx.load_from_string(data).graph
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}

    short = shorten_weights(fp32, 9)
    assert len(short) == len(fp32)
    assert len(zlib.compress(short)) < 0.65 * len(zlib.compress(fp32))
    before, after = weights(fp32), weights(short)
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert after[name].dtype == values.dtype
        np.testing.assert_allclose(after[name], values, rtol=2.0**-9)
    for name, values in weights(shorten_weights(fp32, 24)).items():
        np.testing.assert_array_equal(values, before[name])


def test_int8_is_quantized_and_runs_at_any_size(camera: Subject, fp32: bytes, tmp_path: Path) -> None:
    data = quantize(fp32, camera.calibration[:8])
    operations = FORMAT.operations(data)
    assert not [operation.type for operation in operations if operation.type == "Conv" and operation.is_float]
    path = tmp_path / "m.int8.onnx"
    path.write_bytes(FORMAT.embed_card(data, camera.card))
    frame = np.random.default_rng(0).integers(0, 256, (53, 70, 3), np.uint8)
    assert qf.Denoiser(path)(frame).shape == frame.shape


def test_card_is_inside_once(camera: Subject, fp32: bytes) -> None:
    twice = FORMAT.embed_card(FORMAT.embed_card(fp32, camera.card), camera.card)
    entries = [entry for entry in onnx.load_from_string(twice).metadata_props if entry.key == CARD_KEY]
    assert [entry.value for entry in entries] == [camera.card.to_json()]


def test_runs_without_quietframe(camera: Subject, fp32: bytes, tmp_path: Path) -> None:
    """The lines that the documentation shows."""
    import onnxruntime as ort

    path = tmp_path / "m.fp32.onnx"
    path.write_bytes(FORMAT.embed_card(fp32, camera.card))
    frame = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    expected = qf.Denoiser(path, sigma_255=25)(frame)

    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = frame[None].astype(np.float32) / 255
    sigma = np.full((1, image.shape[1] // 4, image.shape[2] // 4, 1), 25 / 255, np.float32)
    (denoised,) = session.run(["denoised"], {"image": image, "sigma": sigma})
    found = (denoised[0] * 255).round().clip(0, 255).astype(np.uint8)
    assert np.abs(found.astype(int) - expected).max() <= 1
