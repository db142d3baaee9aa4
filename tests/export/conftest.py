"""Small trained-enough models and their data, made here: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.assets import photo_bgr
from quietframe.card import DataTerms
from quietframe_export.subject import Subject, subject_from_run
from quietframe_train.data.pictures import PictureData
from quietframe_train.recipe import ModelConfig
from quietframe_train.recipes import RECIPES

MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve different cuts of the bundled photograph."""
    folder = tmp_path_factory.mktemp("photos")
    photo = photo_bgr()
    rng = np.random.default_rng(3)
    for index in range(12):
        top, left = rng.integers(photo.shape[0] - 160), rng.integers(photo.shape[1] - 160)
        cv2.imwrite(str(folder / f"{index}.png"), photo[top : top + 160, left : left + 160])
    return folder


@pytest.fixture(scope="session")
def digit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits in the layout of mnist.npz: real handwriting, 1,400 to train on and 397 to test."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = np.zeros((len(found.images), 28, 28), np.uint8)
    for picture, small in zip(pictures, found.images, strict=True):
        large = cv2.resize(small.astype(np.float32) * (255 / 16), (20, 20), interpolation=cv2.INTER_CUBIC)
        picture[4:24, 4:24] = np.clip(large, 0, 255)
    path = tmp_path_factory.mktemp("digits") / "mnist.npz"
    labels = found.target.astype(np.uint8)
    (x_train, x_test), (y_train, y_test) = (np.split(values, [1400]) for values in (pictures, labels))
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path, digit_file: Path) -> MakeRun:
    """Train a recipe for a few epochs into a run folder, once for the session."""
    import quietframe_train

    runs = tmp_path_factory.mktemp("runs")

    def make(name: str, epochs: int | None, *, limit: int | None = None, batch: int | None = None) -> Path:
        folder = runs / name
        if not folder.exists():
            recipe = RECIPES[name]
            data = photo_folder if recipe.data.kind == "photos" else digit_file
            recipe = recipe.with_phases(batch=batch) if batch else recipe
            quietframe_train.train(recipe, data=data, out=folder, epochs=epochs, limit=limit, seed=5)
        return folder

    return make


@pytest.fixture(scope="session")
def classifier_run(make_run: MakeRun) -> Path:
    return make_run("digit-classifier", 12)


@pytest.fixture(scope="session")
def autoencoder_run(make_run: MakeRun) -> Path:
    return make_run("latent-autoencoder", 3)


@pytest.fixture(scope="session")
def composite_run(make_run: MakeRun, classifier_run: Path) -> Path:
    """The classifier's run lies beside it."""
    make_run("dense-autoencoder", 20, batch=32)
    return make_run("denoise-and-classify", None)


@pytest.fixture(scope="session")
def unclipped_run(make_run: MakeRun) -> Path:
    return make_run("conv-autoencoder", 1, limit=300)


@pytest.fixture(scope="session")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pictures each of discs and of squares, in colours of all kinds."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(9)
    for name in ("disc", "square"):
        (folder / name).mkdir()
        for index in range(20):
            picture = np.full((48, 64, 3), rng.integers(0, 90, 3), np.uint8)
            x, y = (int(value) for value in rng.integers(18, 30, 2))
            colour = rng.integers(150, 256, 3).tolist()
            if name == "disc":
                cv2.circle(picture, (x, y), 12, colour, -1)
            else:
                cv2.rectangle(picture, (x - 11, y - 11), (x + 11, y + 11), colour, -1)
            cv2.imwrite(str(folder / name / f"{index}.png"), picture)
    return folder


@pytest.fixture(scope="session")
def make_picture_run(tmp_path_factory: pytest.TempPathFactory, class_folder: Path) -> Callable[..., Path]:
    """Train a recipe of whole pictures on small ones, with a small model."""
    import quietframe_train

    def make(name: str, builder: str, **options: object) -> Path:
        recipe = RECIPES[name]
        assert isinstance(recipe.data, PictureData)
        small = replace(
            recipe,
            model=ModelConfig(builder, {"side": 32, **options}),
            data=replace(recipe.data, side=32, cross_validate=False),
        )
        folder = tmp_path_factory.mktemp("pictures") / name
        quietframe_train.train(small, data=class_folder, out=folder, epochs=2, seed=5)
        return folder

    return make


@pytest.fixture(scope="session")
def folder_classifier_run(make_picture_run: Callable[..., Path]) -> Path:
    return make_picture_run("image-classifier", "small_cnn", channels=3, widths=(8, 16))


@pytest.fixture(scope="session")
def colour_run(make_picture_run: Callable[..., Path]) -> Path:
    return make_picture_run("color-unet", "color_unet", widths=(8, 16), encoder_convs=(1, 1), decoder_convs=(1,))


@pytest.fixture(scope="session")
def camera_run(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A camera model of random but lively weights: what is proved is the conversion, not the quality."""
    import keras

    from quietframe_train.models import BUILDERS
    from quietframe_train.run_folder import Run, write_recipe

    keras.utils.set_random_seed(11)
    recipe = RECIPES["camera-nano"]
    model = BUILDERS[recipe.model.builder](**recipe.model.options)
    rng = np.random.default_rng(7)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            gamma, beta = rng.uniform(0.5, 1.5, shape), layer.get_weights()[1] + rng.normal(0, 0.2, shape)
            layer.set_weights([gamma, beta, rng.normal(0, 0.1, shape), rng.uniform(0.3, 1.2, shape)])
    last = model.get_layer("residual")  # begins at zero
    kernel, bias = last.get_weights()
    last.set_weights([rng.normal(0, 0.03, kernel.shape), bias])
    folder = tmp_path_factory.mktemp("camera") / "run"
    folder.mkdir()
    model.save(folder / "model.keras")
    write_recipe(
        Run(
            folder=folder,
            recipe=recipe,
            seed=1,
            limit=None,
            data_path=photo_folder,
            data=DataTerms("cuts of one photograph", "public domain"),
            data_sha256="",
            versions={},
            created="2026-01-01T00:00:00+00:00",
        )
    )
    return folder


@pytest.fixture(scope="session")
def camera(camera_run: Path) -> Subject:
    """With fewer frames than an export takes: they show as much of a conversion, several times as fast."""
    subject = subject_from_run(camera_run)
    return replace(subject, calibration=subject.calibration[:16], held_out=subject.held_out[::4])


@pytest.fixture(scope="session")
def collapsing_keras(camera: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A smoothing filter that int8 ruins: inside, one channel is four hundred times as large as the others.

    One 8-bit range must then hold both, and the others' detail falls between its steps. Keras does not mind.
    Gives the .keras file and its card.
    """
    import keras

    gain = np.diag([400.0, 1.0, 1.0]).astype(np.float32)[None, None]
    image = keras.Input((None, None, 3), name="image")
    even = keras.initializers.Constant(1 / 9)
    blur = keras.layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=even, name="blur")
    up, down = (keras.layers.Conv2D(3, 1, use_bias=False, name=name) for name in ("up", "down"))
    model = keras.Model(image, down(keras.layers.ReLU()(up(blur(image)))))
    up.set_weights([gain])
    down.set_weights([np.linalg.inv(gain)])
    path = tmp_path_factory.mktemp("collapsing") / "filter.keras"
    model.save(path)
    card = replace(camera.card, name="filter", inputs=camera.card.inputs[:1], conditioning="none")
    (path.parent / "card.json").write_text(card.to_json())
    return path, path.parent / "card.json"
