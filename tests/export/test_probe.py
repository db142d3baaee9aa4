"""The geometry of files of any size, found by running them, against what their Keras models' layers say."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest
from keras import layers

from quietframe.errors import UsageError
from quietframe_export.draft import draft_card
from quietframe_export.formats import TARGETS
from quietframe_export.subject import subject_from_keras


def down_and_up(pool: int, *, size: int | None = None) -> keras.Model:
    image = keras.Input((size, size, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.UpSampling2D(pool)(layers.Conv2D(8, 3, padding="same")(layers.MaxPooling2D(pool)(x)))
    return keras.Model(image, layers.Add(name="denoised")([image, layers.Conv2D(3, 1)(x)]))


@pytest.fixture
def file(tmp_path: Path, photo_folder: Path):
    def convert(model: keras.Model, target: str) -> Path:
        model.save(tmp_path / "model.keras")
        subject = subject_from_keras(tmp_path / "model.keras", calibrate=photo_folder)
        kind = TARGETS[target]
        path = tmp_path / f"bare.{kind.format.name}"
        path.write_bytes(kind.format.convert(subject, kind.precision))
        return path

    return convert


@pytest.mark.parametrize(("pool", "target"), [(1, "onnx-fp32"), (2, "tflite-fp32"), (3, "onnx-fp32")])
def test_it_is_what_the_layers_say(file, capfd, pool, target):
    """A cell of the pooling depends on the cell beside it, and that on one pixel more."""
    card, guesses = draft_card(file(down_and_up(pool), target))
    assert card.spatial.multiple == pool
    assert card.spatial.halo == pool + 1
    assert f"spatial: multiple {pool}, halo {pool + 1}, as small frames show" in guesses
    assert capfd.readouterr().err == ""


def test_a_model_that_sees_the_whole_frame_has_no_halo(file):
    image = keras.Input((None, None, 3), name="image")
    mean = layers.GlobalAveragePooling2D(keepdims=True)(image)
    card, guesses = draft_card(file(keras.Model(image, layers.Average()([image, mean])), "onnx-fp32"))
    assert (card.spatial.multiple, card.spatial.halo) == (1, 0)
    assert "spatial: multiple 1, halo 0, as small frames show" in guesses


def test_a_model_that_runs_on_no_frame_is_refused_in_a_line(file):
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(3, 3, padding="valid")(image)  # the result is smaller than the frame
    with pytest.raises(UsageError, match="runs on no frame of up to 320×320"):
        draft_card(file(keras.Model(image, x), "onnx-fp32"))


def test_of_a_saved_model_the_layers_say_nothing(tmp_path):
    down_and_up(2).export(tmp_path / "saved", verbose=False)
    spatial = draft_card(tmp_path / "saved").card.spatial
    assert (spatial.multiple, spatial.halo) == (2, 3)
