"""Files of other forms than the default: size, batch, types of the ends, layout, opset."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import quietframe as qf
from quietframe.assets import photo_bgr
from quietframe.card import Spatial
from quietframe.errors import UsageError
from quietframe.noise import add_gaussian
from quietframe.tasks.base import open_model
from quietframe_export import export_model
from quietframe_export.formats import Form, parse_targets
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.subject import Subject
from quietframe_train.data.base import Sample

Cli = Callable[..., Any]
TARGETS = "tflite-int8,onnx-fp32,onnx-fp16,onnx-int8,openvino-fp32,openvino-int8"


@pytest.fixture(scope="module")
def small(camera: Subject) -> Subject:
    """A small denoiser of any size with a map of the noise level, a camera model's parts."""
    import keras

    from quietframe_train.layers import PixelShuffle, PixelUnshuffle

    keras.utils.set_random_seed(1)
    image, sigma = keras.Input((None, None, 3), name="image"), keras.Input((None, None, 1), name="sigma")
    blocks = keras.layers.Concatenate()([PixelUnshuffle(2)(image), sigma])
    features = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(blocks)
    residual = keras.layers.Conv2D(12, 3, padding="same", kernel_initializer=keras.initializers.RandomNormal(0, 0.03))
    model = keras.Model([image, sigma], keras.layers.Add()([image, PixelShuffle(2)(residual(features))]))
    (spec, level), rng = camera.card.inputs, np.random.default_rng(0)
    card = replace(
        camera.card,
        name="small",
        inputs=(spec, replace(level, layout="NHWC", stride=2)),
        spatial=Spatial("any", multiple=2, halo=4),
    )
    photo = photo_bgr()
    clean = [photo[10 * at :, 20 * at :][:96, :96] for at in range(14)]
    noisy = [add_gaussian(frame, 15, rng) for frame in clean]
    return Subject(
        engine=KerasEngine(model, card),
        card=card,
        calibration=[
            {"image": np.float32(frame[None]) / 255, "sigma": np.full((1, 48, 48, 1), 15 / 255, np.float32)}
            for frame in noisy
        ],
        held_out=[Sample(frame=frame, clean=whole) for frame, whole in zip(noisy[:5], clean, strict=False)],
        calibrated_with="noise",
        held_out_from="noise",
    )


def exported(subject: Subject, targets: str, out: Path, form: Form) -> dict[str, Path]:
    """The files of some targets, each compared with Keras."""
    report = export_model(subject, parse_targets(targets), out, form=form, hold_to_checks=False, max_psnr_drop_db=0.6)
    assert {file.target: file.reason for file in report.files if file.outcome != "passed"} == {}
    return {file.target: out / str(file.file) for file in report.files}


@pytest.fixture(scope="module")
def default(small: Subject, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return exported(small, TARGETS, tmp_path_factory.mktemp("default"), Form())


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    """(93, 150, 3): larger than the sizes below, and no multiple of anything."""
    return add_gaussian(photo_bgr()[:93, :150], 15, np.random.default_rng(2))


def assert_same(path: Path, as_default: Path, frame: np.ndarray, levels: int = 1) -> None:
    """A file gives what the one of the default form gives, to a level: its rounding may be another."""
    found, expected = (qf.Denoiser(each, sigma_255=15)(frame) for each in (path, as_default))
    assert np.abs(expected.astype(int) - frame).max() > 3, "the model does something"
    assert np.abs(found.astype(int) - expected).max() <= levels


@pytest.mark.parametrize("ends", ["uint8", "float32"])
def test_a_full_integer_file_has_the_ends_that_are_asked_for(
    small: Subject, default: dict[str, Path], frame: np.ndarray, tmp_path: Path, ends: Any
) -> None:
    path = exported(small, "tflite-int8", tmp_path, Form(ends=ends))["tflite-int8"]
    assert path.name == f"small.{ends}-ends.int8.tflite"
    engine, _ = open_model(path)
    tensors = [*engine.inputs.values(), *engine.outputs.values()]
    assert {str(tensor.declared.dtype) for tensor in tensors} == {ends}
    assert_same(path, default["tflite-int8"], frame)


def test_a_file_of_one_size_takes_others_in_tiles(
    small: Subject, default: dict[str, Path], frame: np.ndarray, tmp_path: Path
) -> None:
    for target, path in exported(small, TARGETS, tmp_path, Form(size_wh=(64, 48))).items():
        assert path.name.startswith("small.64x48.")
        engine, card = open_model(path)
        assert (engine.inputs["image"].shape, engine.inputs["sigma"].shape) == ((1, 48, 64, 3), (1, 24, 32, 1))
        assert card.spatial == Spatial("fixed", (48, 64), "tile", multiple=2, halo=4)
        for each in (frame, frame[:48, :64]):
            assert_same(path, default[target], each)
        assert qf.Denoiser(path)(frame[:7, :9]).shape == (7, 9, 3)


def test_a_file_that_takes_several_images(
    small: Subject, default: dict[str, Path], frame: np.ndarray, tmp_path: Path
) -> None:
    for target, path in exported(
        small, "tflite-int8,onnx-int8,openvino-int8", tmp_path, Form((64, 48), batch=3)
    ).items():
        assert path.name.startswith("small.64x48.batch3.")
        assert open_model(path)[0].inputs["image"].shape == (3, 48, 64, 3)
        assert_same(path, default[target], frame, levels=4)  # ranges of three at a time are a little different


def test_channels_first_need_no_transposition(
    small: Subject, default: dict[str, Path], frame: np.ndarray, tmp_path: Path
) -> None:
    targets = "onnx-fp32,onnx-fp16,onnx-int8,openvino-fp32"
    for target, path in exported(small, targets, tmp_path, Form(nchw=True, batch=2)).items():
        engine, card = open_model(path)
        assert [spec.layout for spec in (*card.inputs, *card.outputs)] == ["NCHW"] * 3
        assert engine.inputs["image"].shape == (2, 3, None, None)
        assert b"Transpose" not in path.read_bytes()
        if target != "onnx-int8":  # one with fewer tensors in it has other ranges
            assert_same(path, default[target], frame)


@pytest.mark.parametrize("opset", [13, 18])
def test_onnx_files_are_of_the_opset(small: Subject, frame: np.ndarray, tmp_path: Path, opset: int) -> None:
    for path in exported(small, "onnx-fp32,onnx-fp16,onnx-int8", tmp_path, Form(opset=opset)).values():
        model = onnx.load(path)
        assert [entry.version for entry in model.opset_import if entry.domain == ""] == [opset]
        onnx.checker.check_model(model)


def test_float16_files_hold_float16(default: dict[str, Path], frame: np.ndarray) -> None:
    graph = onnx.load(default["onnx-fp16"]).graph
    weights = [tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4]
    assert set(weights) == {onnx.TensorProto.FLOAT16}
    assert_same(default["onnx-fp16"], default["onnx-fp32"], frame)


def test_one_size_of_a_model_that_computes_sizes(photo_folder: Path, tmp_path: Path, cli: Cli) -> None:
    """TFLite then holds them as constants, and the frames to calibrate with have to be of the size."""
    import keras

    image = keras.Input((None, None, 3), name="image")
    half = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    keras.Model(image, keras.layers.Conv2DTranspose(3, 4, strides=2, padding="same")(half)).save(tmp_path / "up.keras")
    arguments = ("--calibrate", photo_folder, "--size", "80x64", "-o", tmp_path, "--max-psnr-drop", 1)
    done = cli("export", tmp_path / "up.keras", "--to", "tflite-int8,onnx-int8", *arguments)
    assert done.code == 0, done.err
    for suffix in ("tflite", "onnx"):
        denoise = qf.Denoiser(tmp_path / f"up.80x64.int8.{suffix}")
        assert denoise.engine.inputs["image"].shape == (1, 64, 80, 3)
        assert denoise(photo_bgr()[:100, :100]).shape == (100, 100, 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--size", "640"), "Expected --size such as 640x480"),
        (("--size", "641x480"), "takes sizes that are multiples of 8. Received: 641x480"),
        (("--opset", "12"), r"Expected opset in \[13, 18\]. Received: 12"),
        (("--batch", "0"), r"Expected batch in \[1, 1024\]. Received: 0"),
        (("--ends", "uint8", "--to", "onnx-int8"), "ends is for tflite-int8: none of them is among the targets"),
        (("--nchw", "--to", "tflite-int8"), "nchw is for onnx-fp32, onnx-fp16, onnx-int8, openvino-fp32"),
    ],
)
def test_forms_that_there_are_not(
    camera_run: Path, tmp_path: Path, cli: Cli, arguments: tuple[str, ...], says: str
) -> None:
    done = cli("export", camera_run, "-o", tmp_path / "out", *arguments)
    assert done.code == 2
    assert done.err.strip().splitlines()[-1].startswith("quietframe: error:")
    assert re.search(says, done.err)
    assert not (tmp_path / "out").exists()


def test_a_model_of_one_size_or_with_memory_has_no_other_form(camera: Subject, tmp_path: Path) -> None:
    fixed = replace(camera.card, spatial=Spatial("fixed", (480, 640), "tile", multiple=4))
    with pytest.raises(UsageError, match="takes images of 640x480 alone: leave the size out"):
        Form((320, 240)).card(fixed)
    assert Form((640, 480)).card(fixed) == fixed
    spec = camera.card.inputs[0]
    state = replace(spec, name="state", role="state", colour=None)
    remembers = replace(
        camera.card,
        inputs=(*camera.card.inputs, state),
        outputs=(*camera.card.outputs, replace(state, name="next", feeds="state")),
    )
    with pytest.raises(UsageError, match="remembers the frames before"):
        Form(batch=2).card(remembers)


def test_without_a_known_halo_other_sizes_are_resized(camera: Subject) -> None:
    unknown = replace(camera.card, spatial=Spatial("any", multiple=4))
    assert Form((64, 48)).card(unknown).spatial == Spatial("fixed", (48, 64), "resize")
