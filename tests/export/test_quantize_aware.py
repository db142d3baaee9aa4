"""A foreign model that 8 bits hurt, trained with and without their rounding, and exported."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from quietframe.assets import photo_bgr
from quietframe_export import export_model, frames
from quietframe_export.formats import parse_targets
from quietframe_export.subject import subject_from_keras
from quietframe_train import quantize_aware

GAIN = 60.0


def uneven_filter() -> keras.Model:
    """Smooths; inside, one channel is sixty times as large as the others, and all share one 8-bit range."""
    keras.utils.set_random_seed(3)
    even = keras.initializers.Constant(1 / 9)
    image = keras.Input((None, None, 3), name="image")
    x = layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=even)(image)
    up, down = layers.Conv2D(3, 1, activation="relu"), layers.Conv2D(3, 1)
    model = keras.Model(image, down(up(x)))
    for layer, gains in ((up, [GAIN, 1, 1]), (down, [1 / GAIN, 1, 1])):
        layer.set_weights([np.diag(gains).astype(np.float32)[None, None], np.zeros(3, np.float32)])
    return model


def patches() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noisy and clean patches, RGB in [0, 1]."""
    photo, rng = photo_bgr()[..., ::-1].astype(np.float32) / 255, np.random.default_rng(1)
    places = [tuple(rng.integers(size - 24) for size in photo.shape[:2]) for _ in range(256)]
    clean = np.stack([photo[top : top + 24, left : left + 24] for top, left in places])
    return np.clip(clean + rng.normal(0, 25 / 255, clean.shape), 0, 1).astype(np.float32), clean


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, photo = tmp_path_factory.mktemp("photos"), photo_bgr()
    for index in range(8):
        cv2.imwrite(str(folder / f"{index}.png"), photo[20 * index : 20 * index + 64, 30 * index : 30 * index + 64])
    return folder


def test_8_bits_cost_less_after_training_with_them(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CALIBRATION_PATCHES", 4)
    monkeypatch.setattr(frames, "HELD_OUT_FRAMES", 4)
    noisy, clean = patches()
    drops = {}
    for name, prepared in (("plain", lambda model: model), ("aware", quantize_aware)):
        model = prepared(uneven_filter())
        model.compile(keras.optimizers.Adam(3e-3), "mse")
        model.fit(noisy, clean, batch_size=16, epochs=12, verbose=0)
        model.save(tmp_path / f"{name}.keras")
        subject = subject_from_keras(tmp_path / f"{name}.keras", calibrate=photos)
        options = {"mixed": "none", "max_psnr_drop_db": 100}
        (file,) = export_model(subject, parse_targets("tflite-int8"), tmp_path / name, **options).files
        assert file.float_operations == 0
        drops[name] = file.comparisons[0].drop
    assert drops["plain"] > 0.5
    assert drops["aware"] < 0.7 * drops["plain"]
