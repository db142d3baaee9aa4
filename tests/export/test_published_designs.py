"""The published autoencoders as their write-ups have them, in plain Keras: saved, exported to every target, run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import Input, Model, Sequential, layers

import quietframe as qf
from quietframe.errors import UsageError
from quietframe_export import export_model, frames, subject_from_keras
from quietframe_export.formats import TARGETS, parse_targets


def dense() -> Model:
    """Takes flat digits."""
    return Sequential([Input((784,)), layers.Dense(64, activation="relu"), layers.Dense(784, activation="sigmoid")])


def convolutional() -> Model:
    limit = keras.constraints.max_norm(2.0)
    options = {"kernel_size": (3, 3), "kernel_constraint": limit, "kernel_initializer": "he_uniform"}
    model = Sequential()
    model.add(Input((28, 28, 1)))
    model.add(layers.Conv2D(64, activation="relu", **options))
    model.add(layers.Conv2D(32, activation="relu", **options))
    model.add(layers.Conv2DTranspose(32, activation="relu", **options))
    model.add(layers.Conv2DTranspose(64, activation="relu", **options))
    model.add(layers.Conv2D(1, kernel_size=(3, 3), kernel_constraint=limit, activation="sigmoid", padding="same"))
    return model


def latent() -> Model:
    """The encoder and the decoder are models of their own."""
    image = x = Input((28, 28, 1), name="encoder_input")
    for filters in (32, 64):
        x = layers.Conv2D(filters, kernel_size=3, strides=2, activation="relu", padding="same")(x)
    shape = x.shape
    encoder = Model(image, layers.Dense(16, name="latent_vector")(layers.Flatten()(x)), name="encoder")
    vector = Input((16,), name="decoder_input")
    x = layers.Reshape(shape[1:])(layers.Dense(shape[1] * shape[2] * shape[3])(vector))
    for filters in (64, 32):
        x = layers.Conv2DTranspose(filters, kernel_size=3, strides=2, activation="relu", padding="same")(x)
    x = layers.Conv2DTranspose(1, kernel_size=3, padding="same")(x)
    decoder = Model(vector, layers.Activation("sigmoid", name="decoder_output")(x), name="decoder")
    return Model(image, decoder(encoder(image)), name="autoencoder")


def bottleneck() -> Model:
    encoder = Sequential(
        [
            Input((28, 28, 1)),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(128),
        ]
    )
    decoder = Sequential(
        [
            Input((128,)),
            layers.Dense(7 * 7 * 64),
            layers.Reshape((7, 7, 64)),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
        ]
    )
    image = Input((28, 28, 1))
    return Model(image, decoder(encoder(image)))


def colour() -> Model:
    image = Input((256, 256, 3))
    x = layers.Conv2D(256, (3, 3), activation="relu", padding="same")(image)
    x = layers.MaxPooling2D((2, 2), padding="same")(x)
    x = layers.Conv2D(128, (3, 3), activation="relu", padding="same")(x)
    x = layers.MaxPooling2D((2, 2), padding="same")(x)
    x = layers.Conv2D(64, (3, 3), activation="relu", padding="same")(x)
    x = layers.Conv2D(128, (3, 3), activation="relu", padding="same")(x)
    x = layers.UpSampling2D((2, 2))(x)
    x = layers.Conv2D(256, (3, 3), activation="relu", padding="same")(x)
    x = layers.UpSampling2D((2, 2))(x)
    return Model(image, layers.Conv2D(3, (3, 3), activation="sigmoid", padding="same")(x))


def deep(side: int = 7) -> Model:
    """From 7×7, as its source has it, the decoder ends at 56×56."""
    image = x = Input((28, 28, 1))
    for filters in (32, 64, 128):
        x = layers.LeakyReLU()(layers.Conv2D(filters, 3, strides=2, padding="same")(x))
    x = layers.Dense(128)(layers.Flatten()(x))
    x = layers.Reshape((side, side, 128))(layers.Dense(side * side * 128)(x))
    for filters in (64, 32):
        x = layers.LeakyReLU()(layers.Conv2DTranspose(filters, 3, strides=2, padding="same")(x))
    return Model(image, layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid")(x))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Model], Path]:
    """Make a function that writes a few smooth images of a model's size, and return their file."""
    monkeypatch.setattr(frames, "HELD_OUT_FRAMES", 1)
    monkeypatch.setattr(frames, "CALIBRATION_PATCHES", 3)

    def write(model: Model) -> Path:
        side, channels = (28, 1) if model.input_shape[-1] in (1, 784) else model.input_shape[2:]
        small = np.random.default_rng(1).random((4, 7, 7, channels), np.float32)
        large = np.clip(keras.ops.convert_to_numpy(keras.ops.image.resize(small, (side, side))), 0, 1)
        np.save(tmp_path / "images.npy", large if channels == 3 else large[..., 0])
        return tmp_path / "images.npy"

    return write


@pytest.mark.parametrize(
    ("build", "noise"),
    [
        (dense, "uniform:0.9"),
        (convolutional, "gaussian:140"),
        pytest.param(latent, "gaussian:128,mean=128", marks=pytest.mark.long),
        (bottleneck, "gaussian:128"),
        pytest.param(colour, "gaussian:102", marks=pytest.mark.long),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_design_is_exported_to_every_target_and_runs(
    build: Callable[[], Model], noise: str, images: Callable[[Model], Path], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(3)
    model = build()
    calibrate = images(model)
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "old.h5")
    subject = subject_from_keras(tmp_path / "model.keras", calibrate=calibrate, noise=noise)
    report = export_model(subject, parse_targets("all"), tmp_path / "out")
    assert {file.target: (file.outcome, file.reason) for file in report.files} == dict.fromkeys(TARGETS, ("passed", ""))
    frame = subject.held_out[0].frame
    expected = qf.Denoiser(subject.engine)(frame)
    for file in report.files:
        assert file.file is not None
        result = qf.Denoiser(tmp_path / "out" / file.file)(frame)
        assert result.shape == frame.shape
        assert np.sqrt(np.mean(np.square(result.astype(float) - expected))) < 5  # of 255; three images calibrated
    old = subject_from_keras(tmp_path / "old.h5", calibrate=calibrate, noise=noise)
    np.testing.assert_array_equal(qf.Denoiser(old.engine)(frame), expected)


def test_a_decoder_that_ends_at_another_size_is_named(images: Callable[[Model], Path], tmp_path: Path) -> None:
    model = deep()
    model.save(tmp_path / "deep.keras")
    with pytest.raises(UsageError, match=r"has shape \[any, 56, 56, 1\]: neither an image like the input's"):
        subject_from_keras(tmp_path / "deep.keras", calibrate=images(model))
