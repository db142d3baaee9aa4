"""The limits on flat, slowly changing, clean and still frames: each fault is found by the check named after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.card import DataTerms, ModelCard, Spatial, TensorSpec
from quietframe.engines import Engine, TensorInfo
from quietframe.noise import add_gaussian
from quietframe.tasks.base import open_model
from quietframe_export.camera_checks import Check, check_camera, is_camera
from quietframe_train.data.base import Sample

Filter = Callable[[np.ndarray, float], np.ndarray]

CARD = ModelCard(
    name="filter",
    task="denoise",
    recipe="",
    precision="fp32",
    inputs=(
        TensorSpec("image", "image", "NHWC", 3, (0.0, 1.0), "BGR"),
        TensorSpec("sigma", "sigma", "N111", 1, (0.0, 75 / 255)),
    ),
    outputs=(TensorSpec("denoised", "image", "NHWC", 3, (0.0, 1.0), "BGR"),),
    spatial=Spatial("any", multiple=8, halo=8),
    conditioning="sigma",
    noise="",
    data=DataTerms("none", "none"),
    parameters=1,
    macs_per_pixel=1e5,
    license="Apache-2.0",
)


class FilterEngine:
    """An engine whose model is a function of a float frame on the 8-bit scale and the level."""

    inputs: Mapping[str, TensorInfo] = {
        "image": TensorInfo("image", (1, None, None, 3), np.dtype(np.float32)),
        "sigma": TensorInfo("sigma", (1, 1, 1, 1), np.dtype(np.float32)),
    }
    outputs: Mapping[str, TensorInfo] = {"denoised": TensorInfo("denoised", (1, None, None, 3), np.dtype(np.float32))}
    card_json = None

    def __init__(self, function: Filter) -> None:
        self.function = function

    def run(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        result = self.function(255 * inputs["image"][0], 255 * float(inputs["sigma"].ravel()[0]))
        return {"denoised": (result / 255).astype(np.float32)[None]}


def smooth(frame: np.ndarray, sigma_255: float) -> np.ndarray:
    """What a good model does to these frames: little at little noise, and a wide mean at much."""
    wide = cv2.GaussianBlur(frame, (0, 0), 12)
    narrow = cv2.GaussianBlur(frame, (0, 0), 0.55)
    weight = np.clip((sigma_255 - 6) / 15, 0, 1)
    little = np.clip(sigma_255 / 5, 0, 1)
    return (1 - weight) * ((1 - little) * frame + little * narrow) + weight * wide


def tinted(frame: np.ndarray, sigma_255: float) -> np.ndarray:
    return smooth(frame, sigma_255) + np.array([-0.4, 0.0, 0.4], np.float32)


def checked(frame: np.ndarray, sigma_255: float) -> np.ndarray:
    height, width = frame.shape[:2]
    checks = (np.indices((height, width)).sum(axis=0) % 2 * 2 - 1)[:, :, None]
    return smooth(frame, sigma_255) + 0.8 * checks


def terraced(frame: np.ndarray, sigma_255: float) -> np.ndarray:
    return np.round(smooth(frame, sigma_255) / 8) * 8


FAULTS: dict[str, tuple[Filter, str]] = {
    "brighter": (lambda frame, sigma_255: smooth(frame, sigma_255) + 0.9, "shift of the mean"),
    "tinted": (tinted, "colour shift"),
    "identity": (lambda frame, sigma_255: frame, "residual deviation"),
    "checked": (checked, "fixed pattern"),
    "terraced": (terraced, "banding"),
    "always blurred": (lambda frame, sigma_255: cv2.GaussianBlur(frame, (0, 0), 12), "clean frames"),
    "asleep at low levels": (lambda frame, sigma_255: frame if sigma_255 < 8 else smooth(frame, 25), "sigma 5"),
}


def samples() -> list[Sample]:
    photo = np.ascontiguousarray(photo_bgr()[200:456, 100:356])
    soft = cv2.GaussianBlur(photo, (0, 0), 2)
    return [Sample(frame=add_gaussian(soft, 5, np.random.default_rng(0)), clean=soft, group="sigma 5")]


def run(function: Filter) -> dict[str, Check]:
    return {check.name: check for check in check_camera(FilterEngine(function), CARD, samples())}


def test_a_good_filter_passes() -> None:
    found = run(smooth)
    assert len(found) == 9
    assert {name: check.value for name, check in found.items() if not check.passed} == {}


@pytest.mark.parametrize(("function", "name"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_found(function: Filter, name: str) -> None:
    failed = [found for found, check in run(function).items() if not check.passed]
    assert any(name in found for found in failed), failed


class Forgetful:
    """A video model that takes every frame for the first one."""

    card_json = None

    def __init__(self, engine: Engine) -> None:
        self.engine, self.inputs, self.outputs = engine, engine.inputs, engine.outputs

    def run(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return self.engine.run({**inputs, "confidence": np.zeros_like(inputs["confidence"])})


def test_a_video_model_has_to_remember() -> None:
    engine, card = open_model("video-nano")
    kept, forgotten = ([*check_camera(each, card, samples())][-1] for each in (engine, Forgetful(engine)))
    assert "16th frame" in kept.name
    print(f"video-nano {kept.value:+.2f} dB, forgetful {forgotten.value:+.2f} dB")
    assert kept.passed and not forgotten.passed


def test_a_nan_does_not_pass() -> None:
    assert not Check("x", float("nan"), 1.0).passed
    assert not Check("x", float("nan"), 1.0, at_least=True).passed


def test_which_models_are_held_to_it() -> None:
    assert is_camera(CARD)
    assert not is_camera(replace(CARD, spatial=Spatial("fixed", (32, 32), "resize")))
    assert not is_camera(replace(CARD, inputs=CARD.inputs[:1], conditioning="none"))
