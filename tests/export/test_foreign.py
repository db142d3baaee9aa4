"""Keras models that no one here wrote: exported without a card and equal to Keras, or refused in one line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import quietframe as qf
from quietframe.engines import LiteRtEngine, OnnxEngine
from quietframe.errors import ModelLoadError, SourceError, UsageError
from quietframe_export import export_model, frames, subject_from_keras
from quietframe_export.apart import run_apart
from quietframe_export.draft import draft_card
from quietframe_export.formats import parse_targets
from quietframe_export.loading import load_keras, register_custom_objects
from quietframe_train.layers import PixelUnshuffle

Cli = Callable[..., Any]
TARGETS = "tflite-fp32,tflite-int8,onnx-fp32"


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


def conv(filters: int, **options: Any) -> Any:
    return layers.Conv2D(filters, 3, padding="same", **options)


def residual(*middle: Any) -> keras.Model:
    """A denoiser of any size that adds a little to its input."""
    image = keras.Input((None, None, 3))
    x = conv(8, activation="relu")(image)
    for layer in middle:
        x = layer(x)
    change = conv(3, kernel_initializer=keras.initializers.RandomNormal(stddev=0.03))(x)
    return keras.Model(image, layers.Add()([image, change]))


def unet(up: Any) -> keras.Model:
    image = keras.Input((None, None, 3))
    skip = conv(8, activation="relu")(image)
    x = conv(8, activation="relu")(layers.AveragePooling2D(2)(layers.MaxPooling2D()(skip)))
    x = layers.Concatenate()([layers.UpSampling2D()(up(x)), skip])
    return keras.Model(image, conv(3, activation="sigmoid")(x))


def mixed() -> keras.Model:
    return residual(conv(8, dtype="mixed_float16"), layers.BatchNormalization(dtype="mixed_float16"))


def levels() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = conv(8, activation="silu")(layers.Rescaling(1 / 127.5, -1)(image))
    return keras.Model(image, layers.Rescaling(127.5, 127.5)(conv(3, activation="tanh")(x)))


def channels_first() -> keras.Model:
    image = keras.Input((3, 32, 32))
    x = conv(8, data_format="channels_first", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(axis=1, beta_initializer="random_normal")(x))
    x = layers.UpSampling2D(data_format="channels_first")(layers.MaxPooling2D(data_format="channels_first")(x))
    return keras.Model(image, conv(3, data_format="channels_first", activation="sigmoid")(x))


def squeeze_and_excite() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = conv(8, activation="hard_swish")(image)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = conv(8, activation="sigmoid")(gate)
    return keras.Model(image, conv(3)(x * gate) * 0.1 + image)


def normalized() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.1])(image)
    x = layers.GaussianNoise(0.1)(layers.RandomContrast(0.2)(layers.RandomFlip()(x)))
    return keras.Model(image, conv(3)(x) * 0.05 + image)


def shuffled() -> keras.Model:
    image = keras.Input((None, None, 3))
    x = conv(12)(keras.ops.space_to_depth(image, 2))
    return keras.Model(image, keras.ops.depth_to_space(x, 2) * 0.1 + image)


ANY_SIZE = {
    "group norm and exact GELU": lambda: residual(
        layers.GroupNormalization(4), layers.Activation(keras.activations.gelu)
    ),
    "layer norm and tanh GELU": lambda: residual(
        layers.LayerNormalization(), lambda x: keras.ops.gelu(x, approximate=True)
    ),
    "transposed": lambda: unet(layers.Conv2DTranspose(8, 3, strides=2, padding="same")),
    "bilinear": lambda: unet(layers.UpSampling2D(interpolation="bilinear")),
    "nearest": lambda: unet(layers.UpSampling2D()),
    "grouped": lambda: residual(conv(8, groups=4, activation="relu")),
    "depthwise and dilated": lambda: residual(
        layers.DepthwiseConv2D(3, padding="same"), conv(8, dilation_rate=2), layers.PReLU(shared_axes=[1, 2])
    ),
    "separable": lambda: residual(layers.SeparableConv2D(8, 3, padding="same"), layers.LeakyReLU()),
    "mixed_float16": mixed,
    "8-bit levels and SiLU": levels,
    "squeeze and excite": squeeze_and_excite,
    "normalized and augmented": normalized,
    "shuffled by keras.ops": shuffled,
    "nested": lambda: residual(keras.Sequential([conv(8), layers.ReLU()]), layers.SpatialDropout2D(0.1)),
}


def outcomes(report: Any) -> dict[str, str]:
    return {file.target: file.outcome if file.outcome == "passed" else file.reason for file in report.files}


@pytest.mark.parametrize("name", ANY_SIZE)
def test_denoisers_of_any_size(name: str, images: Path, tmp_path: Path) -> None:
    """Each file is right at a size that it was neither converted nor calibrated with."""
    keras.utils.set_random_seed(4)
    ANY_SIZE[name]().save(tmp_path / "m.keras")
    subject = subject_from_keras(tmp_path / "m.keras", calibrate=images)
    report = export_model(subject, parse_targets(TARGETS), tmp_path, max_psnr_drop_db=3)
    found = outcomes(report)
    assert (found["tflite-fp32"], found["onnx-fp32"]) == ("passed", "passed"), found
    assert found["tflite-int8"] == "passed" or found["tflite-int8"].startswith("holds "), found
    scale = subject.card.inputs[0].value_range[1]
    image = scale * np.random.default_rng(2).random((1, 48, 76, 3), np.float32)
    (expected,) = subject.engine.run({"image": image}).values()
    for engine in (
        LiteRtEngine(tmp_path / "m.fp32.tflite", threads=1),
        OnnxEngine(tmp_path / "m.fp32.onnx", threads=1),
    ):
        (result,) = engine.run({"image": image}).values()
        np.testing.assert_allclose(result, expected, atol=2e-4 * scale)


def test_channels_first(images: Path, tmp_path: Path) -> None:
    channels_first().save(tmp_path / "m.keras")
    subject = subject_from_keras(tmp_path / "m.keras", calibrate=images)
    assert subject.card.inputs[0].layout == "NCHW"
    assert set(outcomes(export_model(subject, parse_targets(TARGETS), tmp_path, max_psnr_drop_db=3)).values()) == {
        "passed"
    }


def classifier(shape: tuple[int, ...], *middle: Any) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *middle, layers.Dense(10, activation="softmax")])


def quantized() -> keras.Model:
    model = classifier((28, 28, 1), layers.Flatten(), layers.Dense(16, activation="relu"))
    with warnings.catch_warnings(action="ignore"):  # Keras warns of each layer that it leaves as it is
        model.quantize("int8")
    return model


CLASSIFIERS = {
    "rows by GRU": lambda: classifier((12, 12, 1), layers.Reshape((12, 12)), layers.GRU(8)),
    "rows by two LSTM": lambda: classifier((12, 12), layers.Bidirectional(layers.LSTM(4))),
    "quantized by Keras": quantized,
    "flat": lambda: classifier((784,), layers.Dense(16, activation="relu")),
    "scores of four axes": lambda: keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Conv2D(10, 28, activation="softmax")]
    ),
    "fixed batch": lambda: keras.Sequential(
        [keras.Input(batch_shape=(4, 28, 28, 1)), layers.Flatten(), layers.Dense(10, activation="softmax")]
    ),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name: str, digits: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(4)
    original = CLASSIFIERS[name]()
    original.save(tmp_path / "m.keras")
    subject = subject_from_keras(tmp_path / "m.keras", calibrate=digits)
    assert (subject.card.task, subject.card.labels) == ("classify", tuple("0123456789"))
    report = export_model(subject, parse_targets(TARGETS), tmp_path, max_accuracy_drop_percent=100)
    found = outcomes(report)
    if name.startswith("rows by") and found["tflite-int8"].startswith("holds "):
        del found["tflite-int8"]  # by its weights the quantizer leaves a part in floats, which the report says
    assert set(found.values()) == {"passed"}, found
    image = np.random.default_rng(2).random((1, *(subject.card.spatial.size_hw or ()), 1), np.float32)
    batch = np.repeat(image, original.inputs[0].shape[0] or 1, axis=0)
    expected = original(batch.reshape(-1, *original.inputs[0].shape[1:]), training=False)
    (scores,) = LiteRtEngine(tmp_path / "m.fp32.tflite", threads=1).run({"image": image}).values()
    np.testing.assert_allclose(scores[0], np.ravel(expected)[:10], atol=0.02 if "quantized" in name else 1e-5)


def test_a_flat_denoiser(digits: Path, tmp_path: Path) -> None:
    """The dense autoencoder as its source builds it."""
    flat = keras.Sequential([keras.Input((784,)), layers.Dense(16, "relu"), layers.Dense(784, "sigmoid")])
    flat.save(tmp_path / "m.h5")
    subject = subject_from_keras(tmp_path / "m.h5", calibrate=digits, noise="uniform:0.9")
    assert subject.card.task == "denoise" and subject.card.spatial.size_hw == (28, 28)
    assert subject.card.outputs[0].value_range == (0, 1)
    report = export_model(subject, parse_targets(TARGETS), tmp_path)
    assert set(outcomes(report).values()) == {"passed"}
    assert "uniform noise in [0, 0.9)" in report.calibrated_with


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
    ],
)
def test_what_cannot_be_drafted_is_refused_by_name(model: Any, says: str, tmp_path: Path) -> None:
    output = model()
    (source,) = output._keras_history.operation._inbound_nodes[0].input_tensors
    keras.Model(source, output).save(tmp_path / "m.keras")
    with pytest.raises(UsageError, match=says) as refused:
        draft_card(tmp_path / "m.keras")
    assert "\n" not in str(refused.value)


def test_damaged_files_are_refused_in_a_line(tmp_path: Path) -> None:
    for name in ("m.keras", "m.h5"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 of nothing")
        with pytest.raises(ModelLoadError, match="not a Keras model that loads here") as refused:
            load_keras(tmp_path / name)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nearest", "bilinear", "transposed", "depthwise and dilated"])
def test_the_halo_holds_all_that_a_pixel_depends_on(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(4)
    ANY_SIZE[name]().save(tmp_path / "m.keras")
    card = draft_card(tmp_path / "m.keras").card
    model = load_keras(tmp_path / "m.keras")
    assert card.spatial.multiple == (4 if name in ("nearest", "bilinear", "transposed") else 1)
    image = np.random.default_rng(0).random((1, 96, 96, 3), np.float32)
    other = image.copy()
    other[:, 48] = 1 - other[:, 48]
    changed = np.abs(model(image) - model(other)).max(axis=(0, 2, 3)) > 0
    reach = np.abs(np.flatnonzero(changed) - 48).max()
    assert reach <= card.spatial.halo <= 3 * reach + 2


def conditioned() -> keras.Model:
    image, sigma = keras.Input((None, None, 3), name="noisy"), keras.Input((1,), name="level")
    level = keras.ops.reshape(sigma, (-1, 1, 1, 1)) * keras.ops.ones_like(image[..., :1])
    return keras.Model([image, sigma], conv(3)(layers.Concatenate()([image, level])) * 0.05 + image)


def test_a_level_of_two_axes(images: Path, tmp_path: Path) -> None:
    conditioned().save(tmp_path / "m.keras")
    subject = subject_from_keras(tmp_path / "m.keras", calibrate=images)
    assert [(spec.name, spec.role, spec.layout) for spec in subject.card.inputs] == [
        ("noisy", "image", "NHWC"),
        ("level", "sigma", "N111"),
    ]
    targets = parse_targets(TARGETS)
    report = export_model(subject, targets, tmp_path, max_psnr_drop_db=3, hold_to_checks=False)
    assert set(outcomes(report).values()) == {"passed"}, outcomes(report)


def test_scores_and_an_image(digits: Path, tmp_path: Path) -> None:
    """The outputs are known by their shapes, whatever their order."""
    image = keras.Input((28, 28, 1))
    x = conv(4, activation="relu")(image)
    scores = layers.Dense(10, activation="softmax")(layers.Flatten()(x))
    keras.Model(image, [scores, conv(1, activation="sigmoid")(x)]).save(tmp_path / "m.keras")
    subject = subject_from_keras(tmp_path / "m.keras", calibrate=digits)
    assert (subject.card.task, [spec.name for spec in subject.card.outputs]) == (
        "denoise+classify",
        ["scores", "denoised"],
    )
    report = export_model(subject, parse_targets("onnx-fp32"), tmp_path)
    assert outcomes(report) == {"onnx-fp32": "passed"}


def test_a_shuffle_makes_a_multiple(tmp_path: Path) -> None:
    shuffled().save(tmp_path / "ops.keras")
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
    classifier((28, 28, 1), layers.Flatten()).save(tmp_path / "m.keras")
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
    report = export_model(subject, parse_targets(TARGETS), tmp_path / "out", max_accuracy_drop_percent=100)
    assert set(outcomes(report).values()) == {"passed"}
    for file in report.files:
        assert file.file is not None
        answer = qf.Classifier(tmp_path / "out" / file.file)(np.full((28, 28), 90, np.uint8))
        assert sum(answer.values) == pytest.approx(1) and len(answer.values) == 4
        assert file.comparisons[0].max_error_255 < 25
