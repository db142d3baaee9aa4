"""Draft the card of a model that has none, from its tensors and, of a Keras model, its layers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quietframe.card import DataTerms, Layout, ModelCard, Spatial, Task, TensorSpec
from quietframe.engines import ENGINES, TensorInfo
from quietframe.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    import keras

Range = tuple[float, float]
Shape = tuple[int | None, ...]

_UNKNOWN = "unknown"
_MAX_SIGMA = 75 / 255


class Draft(NamedTuple):
    """A card, and the fields of it that are guesses: a line each, `field: what was taken, and why`."""

    card: ModelCard
    guesses: Sequence[str]


def draft_card(
    path: str | Path, *, task: Task | None = None, labels: Sequence[str] = (), unsafe: bool = False
) -> Draft:
    """Draft the card of a model file.

    Args:
        path: a .keras, .h5, .tflite or .onnx file, or a SavedModel folder.
        task: what it does; None: what its outputs say.
        labels: of its scores, in their order; none: numbers.
        unsafe: also load Lambda layers, which are Python code that runs here.

    Raises ModelLoadError: the file cannot be loaded; MissingExtraError: Keras is not installed; UsageError: its
    tensors do not say what they are.
    """
    path = Path(path)
    if path.suffix.lower() not in ENGINES:
        try:
            from quietframe_export.loading import load_keras
        except ImportError as exc:
            raise MissingExtraError("Keras", "export") from exc
        return draft_for_keras(load_keras(path, unsafe=unsafe), path, task=task, labels=labels)
    from quietframe.tasks.base import open_engine
    from quietframe_export import probe

    engine = open_engine(path, threads=1)
    name = path.name.partition(".")[0]
    card, guesses = draft(name, str(path), engine.inputs, engine.outputs, task=task, labels=labels)
    if card.spatial.kind == "any" and "denoise" in card.task:  # of a Keras model both follow from its layers
        found = probe.multiple_and_halo(engine, card)
        if found is None:
            raise UsageError(f"{path}: runs on no frame of up to 320×320: write the card by hand (docs/model-card.md)")
        multiple, halo = found
        card = replace(card, spatial=replace(card.spatial, multiple=multiple, halo=halo))
        guesses = (
            *guesses,
            f"spatial: multiple {multiple}, halo {halo}, as small frames show",
        )
    return Draft(card, guesses)


def draft_for_keras(model: keras.Model, path: Path, *, task: Task | None = None, labels: Sequence[str] = ()) -> Draft:
    """Draft the card of a Keras model as `load_keras` returns it. Arguments and errors as of `draft_card`."""
    import keras

    from quietframe_export import probe, receptive
    from quietframe_export.keras_engine import KerasEngine
    from quietframe_export.keras_graph import maker
    from quietframe_train.macs import macs_per_pixel

    of_inputs, of_outputs = (
        {tensor.name: TensorInfo(tensor.name, tuple(tensor.shape), np.dtype(np.float32)) for tensor in tensors}
        for tensors in (model.inputs, model.outputs)
    )
    name, ranges = path.name.partition(".")[0], receptive.value_ranges(model)
    card, guesses = draft(name, str(path), of_inputs, of_outputs, task=task, labels=labels, ranges=ranges)
    if len(card.inputs) == 1:
        card = replace(card, inputs=(replace(card.inputs[0], name="image"),))
    names = {"image": "denoised", "scores": "scores"}  # Keras numbers them anew in each process
    sources = [next(each for each in model.outputs if each.name == spec.name) for spec in card.outputs]
    card = replace(card, outputs=tuple(replace(spec, name=names[spec.role]) for spec in card.outputs))
    multiple, halo = receptive.multiple_and_halo(model)
    if card.spatial.kind == "any":
        if "denoise" in card.task and any(isinstance(layer, keras.layers.TFSMLayer) for layer in model.layers):
            multiple, halo = probe.multiple_and_halo(KerasEngine(model, card), card) or (multiple, halo)
        card = replace(card, spatial=replace(card.spatial, multiple=multiple, halo=halo))
    elif card.task == "denoise" and card.spatial.size_hw and 0 < 2 * halo < min(card.spatial.size_hw):
        card = replace(card, spatial=replace(card.spatial, fit="tile", halo=halo))
    for tensor, spec in zip(sources, card.outputs, strict=True):
        if spec.role == "scores" and getattr(maker(tensor), "activation", None) is keras.activations.linear:
            card = replace(card, softmax=True)
            guesses = [*guesses, "softmax: true, as the scores are those of a layer without activation"]
    try:
        macs = macs_per_pixel(model)
    except Exception:  # noqa: BLE001  it only informs, and some layers cannot be counted
        macs = 0.0
    return Draft(replace(card, parameters=model.count_params(), macs_per_pixel=macs), guesses)


def draft(
    name: str,
    origin: str,
    inputs: Mapping[str, TensorInfo],
    outputs: Mapping[str, TensorInfo],
    *,
    task: Task | None,
    labels: Sequence[str],
    ranges: Mapping[str, Range] | None = None,
) -> Draft:
    """Draft a card from names, shapes and types. ranges: of the images, by `inputs` and `outputs`, where known."""
    guesses: list[str] = []
    ranges = ranges or {}
    specs_in = [_input(info, origin, ranges.get("inputs", ranges.get("outputs"))) for info in inputs.values()]
    images = [spec for spec in specs_in if spec.role == "image"]
    if len(images) != 1:
        raise UsageError(
            f"{origin}: {len(images) or 'none'} of its inputs can be the image ({_shapes(inputs)}): write the card by "
            "hand (docs/model-card.md)"
        )
    image = images[0]
    size = _size(image, inputs[image.name].shape)
    like = replace(image, value_range=ranges.get("outputs", image.value_range))
    specs_out = _outputs(outputs.values(), like, inputs[image.name], task, origin, guesses)
    roles = [spec.role for spec in specs_out]
    found: Task = "denoise" if "scores" not in roles else "classify" if "image" not in roles else "denoise+classify"
    if task is not None and set(task.split("+")) - set(found.split("+")):
        raise UsageError(f"{origin}: no output fits --task {task} ({_shapes(outputs)})")
    scores = next((spec for spec in specs_out if spec.role == "scores"), None)
    if scores is not None and labels and len(labels) != scores.channels:
        raise UsageError(f"{origin}: {scores.channels} scores, {len(labels)} labels: state one for each")
    if scores is not None and not labels:
        labels = [str(index) for index in range(scores.channels)]
        guesses.append(f"labels: 0 to {scores.channels - 1}; state names with --labels FILE")
    if image.colour != "GRAY":
        guesses.append("colour: RGB, the usual order")
    for side in ("inputs", "outputs"):
        if side not in ranges and (side == "inputs" or "image" in roles):
            low, high = (image if side == "inputs" else like).value_range
            why = "that of the outputs" if "outputs" in ranges else "the usual one; [0, 255] and [-1, 1] are others"
            guesses.append(f"{side}.value_range: [{low:g}, {high:g}], {why}")
    if any(spec.role == "sigma" for spec in specs_in):
        guesses.append("inputs.value_range of sigma: 0 to 75/255, as standard deviation / 255")
    card = ModelCard(
        name=name,
        task=found,
        recipe=_UNKNOWN,
        precision="fp32",
        inputs=tuple(specs_in),
        outputs=tuple(specs_out),
        spatial=size if "scores" not in roles or size.kind == "any" else replace(size, fit="resize"),
        conditioning="sigma" if len(specs_in) > 1 else "none",
        noise=_UNKNOWN,
        data=DataTerms(_UNKNOWN, _UNKNOWN),
        parameters=0,
        macs_per_pixel=0.0,
        license=_UNKNOWN,
        labels=tuple(labels) if scores is not None else (),
    )
    return Draft(card, tuple(guesses))


def _input(info: TensorInfo, origin: str, known: Range | None) -> TensorSpec:
    shape, layout = info.shape, _image_layout(info.shape)
    if all(size in (None, 1) for size in shape[:1]) and math.prod(size or 0 for size in shape[1:]) == 1:
        return TensorSpec(info.name, "sigma", "N111", 1, (0.0, _MAX_SIGMA))
    if layout is None and len(shape) == 4 and 4 in (shape[1], shape[3]):
        raise UsageError(
            f"{origin}: input {info.name!r} takes 4 channels (RGBA): export a model of 3, such as one that begins with "
            "a layer which adds an opaque fourth"
        )
    if layout is None:
        raise UsageError(
            f"{origin}: input {info.name!r} has shape {_text(shape)}, which is no image of 1 or 3 channels and no "
            "noise level"
        )
    channels = shape[layout.index("C")] or 1
    if channels == 1 and ("sigma" in info.name.lower() or "noise" in info.name.lower()):
        return TensorSpec(info.name, "sigma", layout, 1, (0.0, _MAX_SIGMA))
    span = known or ((0.0, 255.0) if info.is_integer and not info.scale else (0.0, 1.0))
    return TensorSpec(info.name, "image", layout, channels, span, "RGB" if channels == 3 else "GRAY")


def _outputs(
    infos: Iterable[TensorInfo],
    image: TensorSpec,
    source: TensorInfo,
    task: Task | None,
    origin: str,
    guesses: list[str],
) -> list[TensorSpec]:
    """Find the outputs that are an image and scores, the first of each; what else there is, the card leaves out.

    Raises UsageError if there is neither.
    """
    specs: list[TensorSpec] = []
    left_out, errors = [], []
    for info in infos:
        try:
            spec = _output(info, image, source, task, origin)
        except UsageError as exc:
            errors.append(exc)
        else:
            if spec.role not in [each.role for each in specs]:
                specs.append(spec)
                continue
        left_out.append(f"{info.name} {_text(info.shape)}")
    if not specs:
        raise errors[0]
    if left_out:
        guesses.append(f"outputs: left out {', '.join(left_out)}, as the first {specs[0].role} is the one")
    return specs


def _output(info: TensorInfo, image: TensorSpec, source: TensorInfo, task: Task | None, origin: str) -> TensorSpec:
    layout = _image_layout(info.shape)
    fits = layout == image.layout and all(
        None in pair or pair[0] == pair[1] for pair in zip(info.shape[1:], source.shape[1:], strict=True)
    )
    if layout and fits and task != "classify":
        return replace(image, name=info.name)
    classes = math.prod(size or 1 for size in info.shape)
    if classes > 1 and classes in info.shape and None not in info.shape[1:] and task != "denoise":  # of any rank
        return TensorSpec(info.name, "scores", "NC", classes, (0.0, 1.0))
    raise UsageError(
        f"{origin}: output {info.name!r} has shape {_text(info.shape)}: neither an image like the input's "
        f"{_text(source.shape)} nor scores"
    )


def _image_layout(shape: Shape) -> Layout | None:
    if len(shape) == 4 and shape[3] in (1, 3):
        return "NHWC"
    return "NCHW" if len(shape) == 4 and shape[1] in (1, 3) else None


def _size(image: TensorSpec, shape: Shape) -> Spatial:
    height, width = (shape[image.layout.index(axis)] for axis in "HW")
    if height is None or width is None:
        return Spatial("any")
    return Spatial("fixed", size_hw=(height, width), fit="resize")


def _shapes(tensors: Mapping[str, TensorInfo]) -> str:
    return ", ".join(f"{name} {_text(info.shape)}" for name, info in tensors.items())


def _text(shape: Shape) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
