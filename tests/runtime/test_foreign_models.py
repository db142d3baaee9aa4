"""Files that no one here wrote: what their cards can say, and what is refused in a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import quietframe as qf
from quietframe.card import DataTerms, ModelCard, Spatial, TensorSpec
from quietframe.errors import ModelLoadError, UsageError

onnx = pytest.importorskip("onnx")
helper, types = onnx.helper, onnx.TensorProto

IMAGE = TensorSpec("in", "image", "NHWC", 3, (0, 1), "RGB")
CLEAN = TensorSpec("out", "image", "NHWC", 3, (0, 1), "RGB")
SCORES = TensorSpec("scores", "scores", "NC", 4, (0, 1))
SIZE = (1, 8, 8, 3)
FRAME = np.random.default_rng(5).integers(0, 256, SIZE[1:], np.uint8)


def card(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], labels: tuple[str, ...] = ()) -> ModelCard:
    return ModelCard(
        name="theirs",
        task="classify" if labels else "denoise",
        recipe="theirs",
        precision="fp32",
        inputs=inputs,
        outputs=outputs,
        spatial=Spatial("fixed", SIZE[1:3], "resize"),
        conditioning="sigma" if len(inputs) > 1 else "none",
        noise="none",
        data=DataTerms("none", "none"),
        parameters=0,
        macs_per_pixel=0.0,
        license="none",
        labels=labels,
    )


def write(
    path: Path,
    nodes: list[Any],
    outputs: dict[str, tuple[int, ...]],
    constants: dict[str, Any] | None = None,
    **inputs: tuple[int, ...],
) -> Path:
    """Write an ONNX file; `in` is an image, further inputs and the outputs have the shapes that are given."""
    values = [helper.make_tensor_value_info(*each) for each in [("in", types.FLOAT, SIZE)]]
    values += [helper.make_tensor_value_info(name, types.FLOAT, shape) for name, shape in inputs.items()]
    results = [helper.make_tensor_value_info(name, types.FLOAT, shape) for name, shape in outputs.items()]
    arrays = {name: np.asarray(value, np.float32) for name, value in (constants or {}).items()}
    held = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", values, results, held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def same(*names: str) -> list[Any]:
    return [helper.make_node("Identity", ["in"], [name]) for name in names]


def test_images_are_normalized_by_channel(tmp_path):
    """What the model is given is what torchvision's `Normalize` gives, in the order of the card's colours."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    normalized = TensorSpec("in", "image", "NHWC", 3, (0, 1), "RGB", mean=mean, deviation=deviation)
    path = write(tmp_path / "m.onnx", same("out"), {"out": SIZE})
    denoise = qf.Denoiser(path, card=card((normalized,), (CLEAN,)))
    given = next(denoise.prepare(FRAME))["in"]
    np.testing.assert_allclose(given[0], (FRAME[..., ::-1] / 255 - mean) / deviation, atol=1e-5)
    expected = np.clip(np.rint(255 * given[0]), 0, 255)[..., ::-1]
    assert np.abs(denoise(FRAME) - expected).max() <= 1
    out = TensorSpec("out", "image", "NHWC", 3, (0, 1), "RGB", mean=mean, deviation=deviation)
    assert np.array_equal(qf.Denoiser(path, card=card((normalized,), (out,)))(FRAME), FRAME)
    assert normalized.limits == pytest.approx((-0.485 / 0.229, (1 - 0.406) / 0.225))


@pytest.mark.parametrize(
    ("mean", "deviation"), [((0.5,), (0.5,)), ((0.5,) * 3, ()), ((), (1.0,) * 3), ((0.5,) * 3, (0.0, 1.0, 1.0))]
)
def test_a_mean_without_its_deviation_is_refused(mean, deviation):
    with pytest.raises(UsageError, match=r"inputs\[0\]: mean and deviation are of images, one number for each of"):
        card((TensorSpec("in", "image", "NHWC", 3, (0, 1), "RGB", mean=mean, deviation=deviation),), (CLEAN,))


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1, 1)])
def test_a_noise_level_of_any_rank(shape, tmp_path):
    """The model adds the level to the image."""
    path = write(tmp_path / "m.onnx", [helper.make_node("Add", ["in", "level"], ["out"])], {"out": SIZE}, level=shape)
    denoise = qf.Denoiser(path, card=card((IMAGE, TensorSpec("level", "sigma", "N111", 1, (0, 1))), (CLEAN,)))
    assert np.array_equal(denoise(FRAME, sigma_255=20), np.minimum(FRAME.astype(int) + 20, 255))


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1, 4), (1, 1, 1, 4), (1, 4, 1, 1)])
@pytest.mark.parametrize("softmax", [False, True])
def test_scores_of_any_rank_and_logits(shape, softmax, tmp_path):
    constant = np.array([1, 3, 0, 2], np.float32).reshape(shape)
    nodes = [helper.make_node("ReduceMin", ["in"], ["zero"], keepdims=0), helper.make_node("Mul", ["zero", "z"], ["y"])]
    path = write(
        tmp_path / "m.onnx",
        [*nodes, helper.make_node("Add", ["y", "constant"], ["scores"])],
        {"scores": shape},
        {"z": 0, "constant": constant},
    )
    stated = replace(card((IMAGE,), (SCORES,), labels=tuple("abcd")), softmax=softmax)
    result = qf.Classifier(path, card=stated)(FRAME)
    expected = np.exp([1, 3, 0, 2]) / np.exp([1, 3, 0, 2]).sum() if softmax else [1, 3, 0, 2]
    assert result.label == "b" and result.score == pytest.approx(expected[1])
    assert list(result.scores.values()) == pytest.approx(expected)


def test_scores_of_another_size_are_refused(tmp_path):
    path = write(tmp_path / "m.onnx", same("scores"), {"scores": SIZE})
    with pytest.raises(ModelLoadError, match=r"output 'scores' has shape \[1, 8, 8, 3\]"):
        qf.Classifier(path, card=card((IMAGE,), (SCORES,), labels=tuple("abcd")))


def test_outputs_that_the_card_does_not_name_are_left_out(tmp_path):
    path = write(tmp_path / "m.onnx", same("more", "out", "mask"), dict.fromkeys(("more", "out", "mask"), SIZE))
    assert np.array_equal(qf.Denoiser(path, card=card((IMAGE,), (CLEAN,)))(FRAME), FRAME)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_results_that_are_not_finite_are_errors_that_name_the_model(value, tmp_path):
    nodes = [helper.make_node("Mul", ["in", "bad"], ["out"]), helper.make_node("ReduceMean", ["in"], ["m"], keepdims=0)]
    nodes.append(helper.make_node("Mul", ["m", "several"], ["scores"]))
    constants = {"bad": value, "several": [1, 1, value, 1]}
    path = write(tmp_path / "m.onnx", nodes, {"out": SIZE, "scores": (4,)}, constants)
    with pytest.raises(ModelLoadError, match=r"^theirs: the result holds NaN or infinity: no image can be made of it$"):
        qf.Denoiser(path, card=card((IMAGE,), (CLEAN,)))(FRAME)
    with pytest.raises(ModelLoadError, match=r"^theirs: the scores hold NaN or infinity$"):
        qf.Classifier(path, card=card((IMAGE,), (SCORES,), labels=tuple("abcd")))(FRAME)


def test_integers_without_a_scale_are_levels(make_model, tiny_models, tmp_path):
    """A range of [0, 1] would leave two of 256 levels."""
    path = make_model(suffix=".onnx", dtype="uint8")
    right = tiny_models.TinyModel(suffix=".onnx", dtype="uint8").card()
    image = right.inputs[0]
    wrong = type(right)(**{**vars(right), "inputs": (type(image)(**{**vars(image), "value_range": (0.0, 1.0)}),)})
    frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(qf.Denoiser(path, card=right)(frame), frame)
    with pytest.raises(ModelLoadError, match=r"input 'image' holds uint8 without a scale.* \[0, 1\]: state the range"):
        qf.Denoiser(path, card=wrong)


@pytest.mark.parametrize(
    ("operation", "says"),
    [
        ("ethos-u", "needs the custom operation 'ethos-u', which LiteRT lacks on a CPU: give the compiler's input"),
        ("FlexErf", "needs TensorFlow's operation FlexErf: convert it anew with built-in operations only"),
        ("Mine", "needs the custom operation 'Mine', which LiteRT lacks on a CPU: convert it without"),
    ],
)
@pytest.mark.parametrize("size_hw", [None, (8, 8)])
def test_operations_that_litert_lacks_are_named(operation, says, size_hw, make_model):
    path = make_model(size_hw=size_hw)
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = operation
    for each in model.subgraphs[0].operators:
        each.builtinOptions, each.builtinOptionsType = None, 0
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(ModelLoadError, match=f"^{path}: {says}") as refused:
        qf.Denoiser(path)(np.zeros((8, 8, 3), np.uint8))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < len(str(path)) + 130
