"""Export a model of the zoo, and compare each file with Keras by LiteRT and ONNX Runtime themselves."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from quietframe.assets import digits as bundled_digits
from quietframe.assets import photo_bgr
from quietframe.engines import ENGINES
from quietframe.errors import QuietFrameError
from quietframe.noise import to_uint8
from quietframe_export import export_model, frames, subject_from_keras
from quietframe_export.formats import parse_targets
from zoo.models import Entry, is_channels_first, spread_outputs

TARGETS = ("tflite-fp32", "tflite-int8", "onnx-fp32")
MIN_PSNR_DB = {"image": 20.0, "scores": 15.0}
"""Of an int8 file's outputs against Keras', with the span of Keras' own as the peak."""
NOISE_255 = 25
"""What denoisers are given, as in their calibration."""
OTHER_SIZE_HW = (48, 80)
"""Where a model takes any size: another one than that of the images which calibrate."""

OTHERS = 8
"""Images among which the one is chosen whose answer is farthest from the first one's."""
MAX_ACCURACY_DROP_PERCENT = 10.0
"""One image of ten: a random classifier decides many by a hair."""
BEYOND_THE_GATE = r"^(drops|holds \d+ float operations) .*; not kept$"
"""What 8 bits cost too much, or what TFLite leaves in float, is not kept, and the export says so."""

Arrays = Mapping[str, NDArray[Any]]

# An export takes 128 patches and 64 frames: of small images these show as much, in a quarter of the time.
frames.CALIBRATION_PATCHES, frames.HELD_OUT_FRAMES = 32, 16


class Result(NamedTuple):
    """How a target ended: `works`, `refused`, or what is a fault of ours: `wrong`, `crash` or `traceback`."""

    outcome: str
    text: str


def images(*, digits: bool) -> NDArray[np.uint8]:
    """Make images: (40, 28, 28) digits, or (64, 64, 64, 3) RGB cuts of the bundled photograph."""
    if digits:
        return bundled_digits()[0]
    photo, rng = photo_bgr()[..., ::-1], np.random.default_rng(3)
    corners = rng.integers(0, np.array(photo.shape[:2]) - 64, (64, 2))
    return np.stack([photo[top : top + 64, left : left + 64] for top, left in corners])


def export_and_check(name: str, entry: Entry, folder: Path) -> dict[str, Result]:
    """Build a model of the zoo, export it and check every target; nothing that goes wrong is an error here."""
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(4)
    model = entry.build()
    data = images(digits=entry.digits)
    if "all" not in entry.refused:
        rescales = any(isinstance(each, keras.layers.Rescaling) for each in model._flatten_layers())
        examples = _inputs(model, data, (0, 255 if rescales else 1), data.shape[1:3])
        spread_outputs(model, examples if len(examples) > 1 else examples[0])
    path = folder / f"{name}{entry.suffix}"
    model.save(path)
    np.save(folder / "images.npy", data)
    try:
        subject = subject_from_keras(path, calibrate=folder / "images.npy", unsafe=entry.unsafe)
        report = export_model(
            subject,
            parse_targets(",".join(TARGETS)),
            folder,
            max_accuracy_drop_percent=MAX_ACCURACY_DROP_PERCENT,
            hold_to_checks=False,
            overwrite=True,
        )
    except QuietFrameError as exc:
        return {target: _refusal(entry, "all", str(exc).replace(f"{path}: ", "")) for target in TARGETS}
    is_any = subject.card.spatial.kind == "any"
    noise = np.random.default_rng(4)
    if "denoise" in subject.card.task and not is_any:
        data = to_uint8(data + noise.normal(0, NOISE_255, data.shape))
    low, high = subject.card.inputs[0].value_range
    inputs = _inputs(model, data, (low, high), OTHER_SIZE_HW)
    if "denoise" in subject.card.task and is_any:  # noise that was resized would be less than the calibration's
        noisy = inputs[0] + noise.normal(0, NOISE_255 / 255 * (high - low), inputs[0].shape)
        inputs[0] = np.clip(noisy, low, high).astype(np.float32)
    expected, *others = (_answers(model, [each[index : index + 1] for each in inputs]) for index in range(OTHERS + 1))
    other = max(others, key=lambda answers: sum(map(_distance, answers, expected)))
    given = [dict(zip(subject.engine.inputs, inputs, strict=True))]
    first = {key: value[:1] for key, value in given[0].items()}
    kinds = {spec.name: spec.role for spec in subject.card.outputs}
    results: dict[str, Result] = {}
    for file in report.files:
        if file.file is None:
            results[file.target] = _refusal(entry, file.target, file.reason)
        else:
            results[file.target] = check_file(folder / file.file, first, [expected, other], kinds, entry.max_error)
    return results


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.square(one - other).mean())


def check_file(
    path: Path, inputs: Arrays, expected: Sequence[list[NDArray[Any]]], kinds: Mapping[str, str], max_error: float
) -> Result:
    """Compare a file's outputs with Keras', and those of QuietFrame's engine with the file's.

    expected: what Keras gives for these inputs, and for others that it tells from them: a file that gave the same for
    all would be wrong, and the comparison has to see it. kinds: the roles of the outputs. max_error: of a float file's
    outputs, as a share of the span of Keras' own.
    """
    run = _run_litert if path.suffix == ".tflite" else _run_onnx
    found, precision = run(path, inputs), path.suffixes[-2]
    ours = _run_quietframe(path, inputs)
    distances = []
    for name, kind in kinds.items():
        right, other = (next(each for each in of if each.size == found[name].size) for of in expected)
        span = float(np.ptp(right)) or 1.0
        errors = [np.abs(each.ravel().astype(np.float64) - right.ravel()) for each in (found[name], other)]
        largest, of_other = (float(each.max()) / span for each in errors)
        psnr, of_other_psnr = (
            -20 * math.log10(max(1e-9, float(np.square(each).mean() ** 0.5) / span)) for each in errors
        )
        is_right, sees = psnr >= MIN_PSNR_DB[kind], of_other_psnr < MIN_PSNR_DB[kind]
        distances.append(f"{psnr:.0f} dB")
        if precision == ".fp32":
            is_right, sees = largest <= max_error, of_other > max_error
            distances[-1] = f"{largest:.0e}"
        if not sees:
            return Result("wrong", f"{name}: the model says the same of all images: nothing is shown")
        if not is_right:
            return Result("wrong", f"{name}: {distances[-1]} from Keras")
        if not np.allclose(ours[name].ravel(), found[name].ravel(), atol=1e-6 * span):
            return Result("wrong", f"{name}: QuietFrame's engine gives something else than the file's own")
    return Result("works", ", ".join(distances))


def _inputs(
    model: keras.Model, data: NDArray[np.uint8], value_range: tuple[float, float], size_hw: tuple[int, ...]
) -> list[NDArray[np.float32]]:
    """Make the images, and the noise level, in the shapes of a model's inputs; size_hw: where they are open."""
    low, high = value_range
    pixels = low + (data if data.ndim == 4 else data[..., None]).astype(np.float32) * ((high - low) / 255)
    found = []
    for tensor in model.inputs:
        shape = tuple(tensor.shape[1:])
        if tensor is not model.inputs[0]:  # a noise level
            found.append(np.full((len(data), *(size_hw[:2] if len(shape) == 3 else ()), 1), 25 / 255, np.float32))
            continue
        first = shape[0] == 3
        hw = shape[1:] if first else shape[:2] if len(shape) > 1 else data.shape[1:3]
        hw = tuple(size or other for size, other in zip(hw, size_hw, strict=True))
        image = keras.ops.convert_to_numpy(keras.ops.image.resize(pixels, hw))
        image = image.transpose(0, 3, 1, 2) if first else image
        found.append(image.reshape(-1, *(size or other for size, other in zip(shape, image.shape[1:], strict=False))))
    return found


def _answers(model: keras.Model, inputs: list[NDArray[np.float32]]) -> list[NDArray[Any]]:
    """Run Keras on one image: where its batch is fixed, on as many copies."""
    batch = model.inputs[0].shape[0] or 1
    copies = [np.repeat(each, batch, axis=0) for each in inputs]
    given = copies if len(copies) > 1 else copies[0]
    call = lambda values: model(values, training=False)  # noqa: E731
    found = tf.function(call, jit_compile=True)(given) if is_channels_first(model) else call(given)
    return [keras.ops.convert_to_numpy(each)[:1] for each in keras.tree.flatten(found)]


def _refusal(entry: Entry, target: str, reason: str) -> Result:
    if re.search(r"\n|Traceback", reason):
        return Result("traceback", reason)
    expected = entry.refused.get(target, BEYOND_THE_GATE if target == "tflite-int8" else None)
    if expected and re.search(expected, reason):
        return Result("refused", reason)
    return Result("wrong", f"refused, for a reason that is not known to be the true one: {reason}")


def _fitted(array: NDArray[Any], shape: Sequence[Any]) -> NDArray[Any]:
    """Give an input the axes of a file's."""
    sizes = [size if isinstance(size, (int, np.integer)) and size > 0 else None for size in shape]
    if None not in sizes:
        return array.reshape(sizes)
    return array if array.ndim == len(sizes) else array[..., None]


def _run_litert(path: Path, inputs: Arrays) -> Arrays:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    of_inputs, of_outputs = runner.get_input_details(), runner.get_output_details()
    given = {}
    for (name, detail), value in zip(_in_order(of_inputs, inputs), inputs.values(), strict=True):
        signature = detail["shape_signature"]
        given[name] = _fitted(value, signature if len(signature) else detail["shape"])
        if detail["quantization"][0]:
            scale, zero_point = detail["quantization"]
            limits = np.iinfo(detail["dtype"])
            codes = np.rint(given[name] / scale) + zero_point
            given[name] = np.clip(codes, limits.min, limits.max).astype(detail["dtype"])
    found = {}
    for name, values in runner(**given).items():
        scale, zero_point = of_outputs[name]["quantization"]
        found[name] = (values.astype(np.float32) - zero_point) * scale if scale else values
    return found


def _in_order(details: Mapping[str, Any], inputs: Arrays) -> list[tuple[str, Any]]:
    """Give a file's inputs in the order of Keras': one needs no name."""
    return [(name, details[name]) for name in inputs] if len(inputs) > 1 else list(details.items())


def _run_onnx(path: Path, inputs: Arrays) -> Arrays:
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    shapes = {each.name: each.shape for each in session.get_inputs()}
    given = {
        name: _fitted(value, shape)
        for (name, shape), value in zip(_in_order(shapes, inputs), inputs.values(), strict=True)
    }
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def _run_quietframe(path: Path, inputs: Arrays) -> Arrays:
    from quietframe.tasks.tensors import dequantize, quantize

    engine = ENGINES[path.suffix](path, threads=1)
    given = {
        name: quantize(_fitted(value, info.shape), info)
        for (name, info), value in zip(_in_order(engine.inputs, inputs), inputs.values(), strict=True)
    }
    return {name: dequantize(values, engine.outputs[name]) for name, values in engine.run(given).items()}


def write_result(results: Mapping[str, Result], path: Path) -> None:
    """Write a model's results as JSON."""
    path.write_text(json.dumps({target: result._asdict() for target, result in results.items()}, indent=1) + "\n")
