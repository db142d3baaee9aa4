"""Keras models that no one here wrote: exported without a card and equal to Keras, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import quietframe as qf
from quietframe.card import Spatial
from quietframe.engines import ENGINES
from quietframe.errors import ModelLoadError, SourceError, UsageError
from quietframe_export import export_model, frames, subject_from_keras
from quietframe_export.apart import run_apart
from quietframe_export.draft import draft_card
from quietframe_export.formats import parse_targets
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.loading import load_keras, register_custom_objects
from quietframe_train.layers import PixelUnshuffle
from zoo.check import export_and_check
from zoo.models import DIGIT, ZOO, conv, levels, residual, sequence

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "HELD_OUT_FRAMES", 2)
    monkeypatch.setattr(frames, "CALIBRATION_PATCHES", 4)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight smooth RGB images of 32×32, as an array."""
    small = np.random.default_rng(1).random((8, 5, 5, 3), np.float32)
    large = keras.ops.convert_to_numpy(keras.ops.image.resize(small, (32, 32)))
    path = tmp_path_factory.mktemp("arrays") / "images.npy"
    np.save(path, np.clip(large, 0, 1))
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten gray images of 28×28 in a folder."""
    import cv2

    folder = tmp_path_factory.mktemp("digits")
    for digit in range(10):
        image = cv2.putText(np.zeros((28, 28), np.uint8), str(digit), (5, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
        cv2.imwrite(str(folder / f"{digit}.png"), image)
    return folder


@pytest.mark.parametrize(
    "name",
    ["unet-transposed", "gelu", "swish", "channels-first", "mixed-float16", "gru-rows", "vit", "deep-supervision"],
)
def test_models_of_the_zoo(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight of its kinds: `make zoo` exports all. Files are tried in another process first: LiteRT aborts on some."""
    monkeypatch.setenv("QUIETFRAME_ISOLATE", "1")
    results = export_and_check(name, ZOO[name], tmp_path)
    assert {target: result for target, result in results.items() if result.outcome not in ("works", "refused")} == {}
    assert results["tflite-fp32"].outcome == results["onnx-fp32"].outcome == "works"


@pytest.fixture
def strange_objects(tmp_path: Path) -> Iterator[Path]:
    """A file with a layer that is defined in a module, and that module."""
    module = tmp_path / "strange.py"
    module.write_text(
        "import keras\nclass Halved(keras.layers.Layer):\n    def call(self, inputs):\n        return inputs / 2\n"
    )
    register_custom_objects([f"{module}:Halved"])
    halved = keras.saving.get_custom_objects().pop("Halved")
    residual(halved()).save(tmp_path / "custom.keras")
    yield module
    keras.saving.get_custom_objects().pop("Halved", None)


def test_a_custom_layer(strange_objects: Path, images: Path, tmp_path: Path, cli: Cli) -> None:
    arguments = ("export", tmp_path / "custom.keras", "--calibrate", images, "--to", "tflite-fp32", "-o", tmp_path)
    refused = cli(*arguments)
    assert refused.code == 2
    assert "holds 'Halved', which is not of Keras: pass --custom-objects MODULE:Halved" in refused.err
    missing = cli(*arguments, "--custom-objects", f"{strange_objects}:Other")
    assert missing.code == 2 and "has no 'Other'" in missing.err
    assert cli(*arguments, "--custom-objects", f"{strange_objects}:Halved").code == 0


def test_a_crash_in_another_process_is_an_error_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "crash.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"the process crashed \(SIGABRT\)"):
        run_apart("crash")
    (tmp_path / "wrong.py").write_text("raise ValueError('of this')\n")
    with pytest.raises(RuntimeError, match=r"^ValueError: of this$"):
        run_apart("wrong")


def test_a_lambda_layer(images: Path, tmp_path: Path, cli: Cli) -> None:
    residual(layers.Lambda(lambda x: x / 2)).save(tmp_path / "m.keras")
    arguments = ("export", tmp_path / "m.keras", "--calibrate", images, "--to", "onnx-fp32", "-o", tmp_path, "--json")
    refused = cli(*arguments)
    assert refused.code == 2
    assert "Python code that runs with your rights" in refused.err and "--unsafe" in refused.err
    done = cli(*arguments, "--unsafe")
    assert done.code == 0
    assert json.loads(done.out)["files"][0]["outcome"] == "passed"


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: conv(4)(keras.Input((32, 32, 4))), r"takes 4 channels \(RGBA\)"),
        (lambda: conv(2)(keras.Input((32, 32, 2))), r"no image of 1 or 3 channels"),
        (lambda: layers.Dense(4)(keras.Input((5,))), r"has shape \[any, 5\]"),
        (lambda: layers.MaxPooling2D()(keras.Input((32, 32, 3))), "neither an image like the input's"),
        (lambda: layers.Add()([keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]), "2 of its inputs can be the image"),
    ],
)
def test_what_cannot_be_drafted_is_refused_by_name(model: Any, says: str, tmp_path: Path) -> None:
    output = model()
    sources = output._keras_history.operation._inbound_nodes[0].input_tensors
    keras.Model(sources, output).save(tmp_path / "m.keras")
    with pytest.raises(UsageError, match=says) as refused:
        draft_card(tmp_path / "m.keras")
    assert "\n" not in str(refused.value)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.only = conv(3)

    def call(self, inputs: Any) -> Any:
        return self.only(inputs)


def test_a_subclassed_model_is_refused(tmp_path: Path) -> None:
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), np.float32))
    model.save(tmp_path / "m.keras")
    with pytest.raises(
        ModelLoadError, match=r"a subclassed model, whose layers are not known: save it as keras\.Model"
    ):
        load_keras(tmp_path / "m.keras")


def test_damaged_files_are_refused_in_a_line(tmp_path: Path) -> None:
    for name in ("m.keras", "m.h5"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 of nothing")
        with pytest.raises(ModelLoadError, match="not a Keras model that loads here") as refused:
            load_keras(tmp_path / name)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["unet-nearest", "unet-bilinear", "unet-transposed", "depthwise-dilated"])
def test_the_halo_holds_all_that_a_pixel_depends_on(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(4)
    ZOO[name].build().save(tmp_path / "m.keras")
    card = draft_card(tmp_path / "m.keras").card
    model = load_keras(tmp_path / "m.keras")
    assert card.spatial.multiple == (4 if name.startswith("unet") else 1)
    image = np.random.default_rng(0).random((1, 96, 96, 3), np.float32)
    other = image.copy()
    other[:, 48] = 1 - other[:, 48]
    changed = np.abs(model(image) - model(other)).max(axis=(0, 2, 3)) > 0
    reach = np.abs(np.flatnonzero(changed) - 48).max()
    assert reach <= card.spatial.halo <= 3 * reach + 2


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "guessed"),
    [
        ("film", [("noisy", "image", "NHWC"), ("level", "sigma", "N111")], [("denoised", "image")], "sigma"),
        ("two-tasks", [("image", "image", "NHWC")], [("scores", "scores"), ("denoised", "image")], "labels"),
        ("deep-supervision", [("image", "image", "NHWC")], [("denoised", "image")], "outputs: left out"),
        ("scores-4-axes", [("image", "image", "NHWC")], [("scores", "scores")], "labels"),
        ("flat-classifier", [("image", "image", "NHWC")], [("scores", "scores")], "labels"),
        ("logits", [("image", "image", "NHWC")], [("scores", "scores")], "softmax: true"),
    ],
)
def test_what_a_draft_finds(name: str, inputs: Any, outputs: Any, guessed: str, tmp_path: Path) -> None:
    """Outputs are known by their shapes, whatever their order."""
    ZOO[name].build().save(tmp_path / "m.keras")
    card, guesses = draft_card(tmp_path / "m.keras")
    assert [(spec.name, spec.role, spec.layout) for spec in card.inputs] == inputs
    assert [(spec.name, spec.role) for spec in card.outputs] == outputs
    assert any(guessed in line for line in guesses)
    assert card.softmax == (name == "logits")


def test_a_card_that_names_one_of_two_outputs(tmp_path: Path) -> None:
    """It is found by its name, or else the first that fits."""
    model = ZOO["two-tasks"].build()
    model.save(tmp_path / "m.keras")
    card = draft_card(tmp_path / "m.keras", task="denoise").card
    assert [spec.role for spec in card.outputs] == ["image"]
    image = np.random.default_rng(0).random((1, 28, 28, 1), np.float32)
    expected = model(image, training=False)[1]
    for name in ("denoised", model.output_names[1]):
        named = replace(card, outputs=(replace(card.outputs[0], name=name),))
        results = KerasEngine(load_keras(tmp_path / "m.keras"), named).run({"image": image})
        np.testing.assert_allclose(results[name], expected, atol=1e-6)
    with pytest.raises(ModelLoadError, match=r"none of the model's outputs \(.*\) can be the card's 'denoised'"):
        KerasEngine(model, replace(card, spatial=Spatial("fixed", (9, 9), "resize")))


def test_a_shuffle_makes_a_multiple(tmp_path: Path) -> None:
    ZOO["ffdnet"].build().save(tmp_path / "ops.keras")
    assert draft_card(tmp_path / "ops.keras").card.spatial.multiple == 2
    image = keras.Input((None, None, 3))
    x = layers.UpSampling2D()(PixelUnshuffle(2)(image))
    keras.Model(image, conv(3)(x)).save(tmp_path / "m.keras")
    assert draft_card(tmp_path / "m.keras").card.spatial.multiple == 2


def test_a_card_is_drafted_and_then_used(images: Path, tmp_path: Path, cli: Cli) -> None:
    levels().save(tmp_path / "mine.keras")
    done = cli("card", tmp_path / "mine.keras")
    assert done.code == 0
    assert done.out.strip() == str(tmp_path / "mine.card.json")
    assert "guessed colour: RGB" in done.err and "value_range" not in done.err
    assert f"quietframe export {tmp_path / 'mine.keras'} --calibrate IMAGES" in done.err
    card = json.loads((tmp_path / "mine.card.json").read_text())
    assert card["inputs"][0]["value_range"] == card["outputs"][0]["value_range"] == [0, 255]
    (tmp_path / "mine.card.json").write_text(json.dumps(card | {"license": "MIT"}))
    assert cli("card", tmp_path / "mine.keras").code == 2
    export = cli("export", tmp_path / "mine.keras", "--calibrate", images, "--to", "onnx-fp32", "-o", tmp_path / "out")
    assert export.code == 0 and "guessed" not in export.err
    shown = cli("info", tmp_path / "out" / "mine.fp32.onnx", "--json")
    assert json.loads(shown.out)["card"]["license"] == "MIT"


def test_labels_of_a_file(tmp_path: Path, cli: Cli) -> None:
    sequence(DIGIT, layers.Flatten()).save(tmp_path / "m.keras")
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij"))
    done = cli("card", tmp_path / "m.keras", "--labels", tmp_path / "labels.txt", "--json")
    assert json.loads(done.out)["card"]["labels"] == list("abcdefghij")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    refused = cli("card", tmp_path / "m.keras", "--labels", tmp_path / "labels.txt", "--overwrite")
    assert refused.code == 2 and "10 scores, 2 labels" in refused.err


@pytest.fixture(scope="module")
def any_card(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("card") / "m.keras"
    residual().save(path)
    return draft_card(path).card


def test_frames_of_all_kinds(any_card: Any, digits: Path, images: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = frames.parse_noise("gaussian:128,mean=128")
    found = frames.read_frames(digits, any_card, noise, rng)
    assert {sample.frame.shape for sample in found.calibration} == {(28, 28, 3)}
    assert np.mean([sample.frame for sample in found.calibration]) > 120  # a mean of 128 was added
    array = np.load(images)
    np.savez(tmp_path / "pairs.npz", clean=array, noisy=np.uint8(255 * array) // 2)
    pairs = frames.read_frames(tmp_path / "pairs.npz", any_card, noise, rng)
    assert pairs.paired
    for sample in (*pairs.calibration, *pairs.held_out):
        assert sample.clean is not None
        assert sample.frame.mean() == pytest.approx(sample.clean.mean() / 2, abs=1)


@pytest.mark.parametrize(
    ("shape", "values", "says"),
    [((8, 7, 7), 1.0, "at least 8x8"), ((8, 16, 16, 2), 1.0, "expected images"), ((8, 16, 16), -1.0, "outside")],
)
def test_arrays_that_are_no_images(
    any_card: Any, shape: tuple[int, ...], values: float, says: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.full(shape, values, np.float32))
    with pytest.raises(SourceError, match=says):
        frames.read_frames(tmp_path / "a.npy", any_card, frames.parse_noise("25"), np.random.default_rng(0))


@pytest.mark.parametrize("text", ["nan", "-1", "300", "uniform:2", "gaussian:1.2.3", "poisson:3", "uniform:0.5,mean=1"])
def test_another_noise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Expected --noise gaussian:LEVEL"):
        frames.parse_noise(text)


@pytest.mark.parametrize(
    ("text", "sigma", "left"), [("25", 25, 1.0), ("uniform:0.9", 0.9 * 255 / 12**0.5, 1.0), ("jpeg-80-420", 10, 0.5)]
)
def test_noises(text: str, sigma: float, left: float) -> None:
    """A camera's format leaves a part of the noise."""
    noise = frames.parse_noise(text)
    assert noise.sigma_255 == pytest.approx(sigma)
    flat = np.full((64, 64, 3), 20 if text.startswith("uniform") else 120, np.uint8)
    noisy = noise.apply(flat, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(left * sigma, rel=0.02 if left == 1 else 0.5)


def test_a_model_that_ends_in_tanh_is_taken_to_begin_in_its_range(tmp_path: Path) -> None:
    image = keras.Input((16, 16, 3))
    keras.Model(image, conv(3, activation="tanh")(image)).save(tmp_path / "tanh.keras")
    card, guesses = draft_card(tmp_path / "tanh.keras")
    assert card.inputs[0].value_range == card.outputs[0].value_range == (-1, 1)
    assert "inputs.value_range: [-1, 1], that of the outputs" in guesses


def test_logits_and_labels_that_repeat(digits: Path, tmp_path: Path) -> None:
    """The drafted card says softmax, as the last layer has no activation; files agree with Keras class by class."""
    keras.utils.set_random_seed(2)
    image = keras.Input((28, 28, 1))
    scores = layers.Dense(4, name="logits")(layers.Flatten()(conv(8, strides=4, activation="relu")(image)))
    keras.Model(image, scores).save(tmp_path / "m.keras")
    card, guesses = draft_card(tmp_path / "m.keras", labels=["crane", "dog", "crane", "cat"])
    assert card.softmax and any(guess.startswith("softmax: true") for guess in guesses)
    subject = subject_from_keras(tmp_path / "m.keras", card, calibrate=digits)
    targets = parse_targets("tflite-fp32,tflite-int8,onnx-fp32")
    report = export_model(subject, targets, tmp_path / "out", max_accuracy_drop_percent=100)
    assert {file.outcome for file in report.files} == {"passed"}
    for file in report.files:
        assert file.file is not None
        answer = qf.Classifier(tmp_path / "out" / file.file)(np.full((28, 28), 90, np.uint8))
        assert sum(answer.values) == pytest.approx(1) and len(answer.values) == 4
        assert file.comparisons[0].max_error_255 < 25


def test_a_saved_model(images: Path, tmp_path: Path, cli: Cli) -> None:
    """What `Model.export` and TensorFlow write: a folder with a signature."""
    keras.utils.set_random_seed(4)
    model, folder = residual(conv(8, activation="relu")), tmp_path / "mine"
    model.export(folder, verbose=False)
    drafted = cli("card", folder, "--json")
    assert drafted.code == 0, drafted.err
    assert json.loads(drafted.out)["card"]["task"] == "denoise"
    targets = ("--to", "tflite-int8,onnx-fp32", "-o", tmp_path / "out")
    done = cli("export", folder, "--calibrate", images, *targets)
    assert done.code == 0, done.out + done.err
    image = np.random.default_rng(2).random((1, 48, 76, 3), np.float32)
    (result,) = ENGINES[".onnx"](tmp_path / "out" / "mine.fp32.onnx", threads=1).run({"image": image}).values()
    np.testing.assert_allclose(result, model(image, training=False), atol=1e-4)
    (folder / "saved_model.pb").write_bytes(b"of nothing")
    damaged = cli("card", folder, "--overwrite")
    assert damaged.code == 2 and "not a SavedModel that loads here" in damaged.err and len(damaged.error_lines) == 1
