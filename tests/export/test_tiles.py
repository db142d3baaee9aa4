"""Tiles against the whole frame, with real networks in floats and in the exported files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from quietframe import Denoiser
from quietframe.assets import photo_bgr
from quietframe.card import ModelCard, Spatial
from quietframe.noise import add_gaussian
from quietframe.tasks.fit import least_tile_pixels
from quietframe_export.formats import parse_targets
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.subject import Subject
from quietframe_train.models.camera import camera_unet, camera_unet_geometry

SMALL = {"widths": (32, 48, 64, 80), "encoder_convs": (1, 2, 2, 2), "decoder_convs": (1, 2, 2)}


def raw_result(denoise: Denoiser, frame: np.ndarray) -> np.ndarray:
    """What the model gives for a frame, before it is rounded to 8 bits: (H, W, 3)."""
    spec = denoise.card.tensor("image", "outputs")
    results = (denoise.engine.run(inputs)[spec.name][0] for inputs in denoise.prepare(frame))
    channels_last = (result if spec.layout == "NHWC" else result.transpose(1, 2, 0) for result in results)
    return denoise.placement(*frame.shape[:2]).join(channels_last)


def cut_and_whole(model: Path | KerasEngine, card: ModelCard) -> tuple[Denoiser, Denoiser]:
    cut = Denoiser(model, card=card, tile_pixels=least_tile_pixels(card.spatial))
    return cut, Denoiser(model, card=card)


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """(391, 510, 3): no multiple of anything."""
    return add_gaussian(photo_bgr()[:391, :510], 20, np.random.default_rng(0))


@pytest.fixture(scope="module")
def files(camera: Subject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A camera model of lively weights, converted; the files carry no card."""
    folder = tmp_path_factory.mktemp("files")
    paths = {}
    for target in parse_targets("tflite-fp32,tflite-int8,onnx-fp32,onnx-int8"):
        paths[target.name] = folder / f"{target.name}.{target.format.name}"
        paths[target.name].write_bytes(target.format.convert(camera, target.precision))
    return paths


@pytest.mark.parametrize("target", ["tflite-fp32", "onnx-fp32", "tflite-int8", "onnx-int8"])
def test_tiles_are_those_of_the_whole_frame(
    camera: Subject, files: dict[str, Path], target: str, frame: np.ndarray
) -> None:
    cut, whole = cut_and_whole(files[target], camera.card)
    assert cut.placement(*frame.shape[:2]).count > 8
    if target.endswith("int8"):
        expected, found, step = whole(frame) / 255, cut(frame) / 255, 1 / 255
    else:
        expected, found, step = raw_result(whole, frame), raw_result(cut, frame), 5e-5  # float32 in another order
    assert np.abs(expected - frame / 255).max() > 0.01, "the model does something"
    assert np.abs(found - expected).max() <= step + 1e-9


def test_a_model_of_four_levels_in_tiles(camera: Subject, frame: np.ndarray) -> None:
    keras.utils.set_random_seed(5)
    model = camera_unet(**SMALL)
    rng = np.random.default_rng(5)
    for layer in model.layers:
        layer.set_weights([w + rng.normal(0, 0.1, w.shape) * (w.std() or 0.2) for w in layer.get_weights()])
    multiple, halo = camera_unet_geometry(**SMALL)
    card = replace(camera.card, spatial=Spatial("any", multiple=multiple, halo=halo))
    cut, whole = cut_and_whole(KerasEngine(model, card), card)
    assert cut.placement(*frame.shape[:2]).count > 1
    expected = raw_result(whole, frame)
    assert np.abs(expected - frame / 255).max() > 0.01, "the model does something"
    assert np.abs(raw_result(cut, frame) - expected).max() <= 1e-5
