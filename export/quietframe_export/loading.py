"""Load a Keras model of anybody's, in the form that the converters take: float32, channels last."""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from quietframe.errors import ModelLoadError, UsageError
from quietframe_export.keras_graph import all_layers, one_or_all, plainly, with_calls
from quietframe_train.quantization import without_quantization  # and registers our layers

MIN_SIDE = 8
"""Of what is taken for an image."""

SUFFIXES = (".keras", ".h5", ".hdf5")
_UNSAFE = re.compile(r"safe_mode|unsafe deserialization")
_LAMBDA_ACTIVATION = re.compile(r"Could not interpret activation function identifier: \{'value'")
_UNKNOWN = re.compile(r"(?:Could not locate (?:class|function)|Unknown (?:layer|object|function)):? '?([\w>]+)'?")


def register_custom_objects(names: Sequence[str]) -> None:
    """Import classes and functions that models are built from, so that Keras finds them by name.

    names: `module:name` each; the module is one that Python finds, the current folder included, or a .py file. Without
    a name the module is only imported: for those that register their objects with Keras themselves.
    Raises UsageError if there is no such module or name.
    """
    for text in names:
        where, _, name = text.rpartition(":") if ":" in text else (text, "", "")
        try:
            module = _import(where)
        except Exception as exc:  # the module is the user's: it raises what it likes
            if isinstance(exc, MemoryError):
                raise
            raise UsageError(f"--custom-objects {text}: cannot import {where!r} ({type(exc).__name__}: {exc})") from exc
        if name and not hasattr(module, name):
            raise UsageError(f"--custom-objects {text}: {where} has no {name!r}")
        if name:
            keras.saving.get_custom_objects()[name] = getattr(module, name)


def _import(where: str) -> Any:
    if not where.endswith(".py"):
        if "" not in sys.path:
            sys.path.insert(0, "")
        return importlib.import_module(where)
    name = Path(where).stem
    spec = importlib.util.spec_from_file_location(name, where)
    if spec is None or spec.loader is None or not Path(where).is_file():
        raise ImportError("no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_keras(path: Path, *, unsafe: bool = False) -> keras.Model:
    """Load a .keras or .h5 file, or a SavedModel folder, which becomes a model of one layer.

    What computes in another precision, or was quantized by Keras, is brought to float32. What has its channels first
    computes with them last, while its inputs and outputs keep their layout. Flat images and those without an axis of
    channels get their axes, and so does a noise level: see `standard_axes`.

    unsafe: also load Lambda layers, which are Python code that runs here.
    Raises ModelLoadError if it is missing, damaged or holds layers that are not known.
    """
    if is_saved_model(path):
        return standard_axes(_from_saved_model(path))
    if not path.is_file():
        raise ModelLoadError(f"{path}: no such file, expected a .keras or .h5 model or a SavedModel folder")
    if path.suffix.lower() not in SUFFIXES:
        raise ModelLoadError(f"{path}: unknown model format {path.suffix!r}: expected {' or '.join(SUFFIXES)}")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not unsafe)
    except Exception as exc:  # what Keras raises for a damaged file depends on where it is damaged
        if isinstance(exc, MemoryError):
            raise
        raise ModelLoadError(f"{path}: {_cause(str(exc))}") from exc
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ModelLoadError(
            f"{path}: a subclassed model, whose layers are not known: save it as keras.Model(inputs, outputs) of "
            "keras.Input tensors"
        )
    return standard_axes(channels_last(in_float32(without_quantization(model), path)))


def is_saved_model(path: Path) -> bool:
    """Return whether a path is a folder that TensorFlow's SavedModel format makes."""
    return (path / "saved_model.pb").is_file()


_SIGNATURE = "serving_default"


def _from_saved_model(path: Path) -> keras.Model:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures.get(_SIGNATURE)
    except Exception as exc:  # what TensorFlow raises for a damaged folder depends on where it is damaged
        if isinstance(exc, MemoryError):
            raise
        raise ModelLoadError(f"{path}: not a SavedModel that loads here ({str(exc).strip()[:200]!r})") from exc
    if signature is None:
        there = ", ".join(loaded.signatures) or "none"
        raise ModelLoadError(f"{path}: no signature {_SIGNATURE!r} (there are: {there}): save it with Model.export")
    specs = signature.structured_input_signature[1]
    inputs = {name: keras.Input(batch_shape=spec.shape, name=name) for name, spec in specs.items()}
    if any(spec.dtype != tf.float32 for spec in specs.values()):
        types = ", ".join(f"{name} {spec.dtype.name}" for name, spec in specs.items())
        raise ModelLoadError(f"{path}: takes {types}: export a signature that takes float32")
    given = next(iter(inputs.values())) if len(inputs) == 1 else None
    layer = layers.TFSMLayer(str(path), call_endpoint=_SIGNATURE)
    results = layer(**inputs) if given is None else layer(given)
    return keras.Model(one_or_all(list(inputs.values())), one_or_all(keras.tree.flatten(results)))


def _cause(text: str) -> str:
    """Say in a line why Keras does not load a file, and what to do."""
    if _UNSAFE.search(text):
        return (
            "holds a Lambda layer, which is Python code that runs with your rights when the model is loaded: pass "
            "--unsafe if you trust where the file comes from"
        )
    if found := _UNKNOWN.search(text):
        name = found[1].rpartition(">")[2]
        return f"holds {name!r}, which is not of Keras: pass --custom-objects MODULE:{name}, where it is defined"
    if _LAMBDA_ACTIVATION.search(text):
        return "an activation in it is a lambda, which Keras does not load: save the model with a named function"
    lines = [line for line in text.splitlines() if line.strip()] or ["no reason given"]
    causes = [line.partition(":")[2] for line in lines if line.startswith("Exception encountered:")]
    line = causes[-1] if causes else lines[0]
    return f"not a Keras model that loads here ({line.strip()[:200]})"


def in_float32(model: keras.Model, path: Path) -> keras.Model:
    """Bring a model that computes in float16 or 8 bits to float32; one in float32 is returned as it is.

    Raises ModelLoadError for a layer that Keras quantized and that cannot be brought back.
    """
    found = list(all_layers(model))
    if all(layer.compute_dtype == "float32" and not _mode(layer) for layer in found):
        return model
    for layer in found:
        mode = _mode(layer)
        if mode and (type(layer) not in (layers.Dense, layers.Embedding) or mode != "int8"):
            raise ModelLoadError(
                f"{path}: layer {layer.name!r} ({type(layer).__name__}) was quantized by Keras to {mode}: export "
                "the model as it was before quantize()"
            )
    return with_calls(
        model,
        plainly,
        config=lambda layer: layer.get_config() | {"dtype": "float32"},
        weights=_float_weights,
        input_dtype="float32",
    )


def _mode(layer: Any) -> str | None:
    """Return how Keras quantized a layer, such as `int8`; None if it did not."""
    return getattr(layer, "quantization_mode", None)


def _float_weights(layer: Any) -> list[Any]:
    if _mode(layer) != "int8":
        return [np.asarray(value, np.float32) if value.dtype.kind in "fV" else value for value in layer.get_weights()]
    if isinstance(layer, layers.Embedding):
        return [_floats(layer._embeddings) / _floats(layer.embeddings_scale)[:, None]]
    kernel = _floats(layer._kernel) / _floats(layer.kernel_scale)
    return [kernel, *([_floats(layer.bias)] if layer.use_bias else [])]


def _floats(variable: Any) -> NDArray[np.float32]:
    return keras.ops.convert_to_numpy(variable).astype(np.float32)


def channels_last(model: keras.Model) -> keras.Model:
    """Let layers of 2D data with channels first compute with channels last, as the converters and CPUs want it."""
    if not any(_is_channels_first(layer) for layer in all_layers(model)):
        return model

    def config(layer: Any) -> dict[str, Any]:
        changed = layer.get_config()
        if _is_channels_first(layer):
            changed["data_format"] = "channels_last"
        elif _is_first_axis_norm(layer):
            changed["axis"] = -1
        return changed

    first: set[str] = {layer.name for layer in all_layers(model) if _is_channels_first(layer)}
    norms = {layer.name for layer in all_layers(model) if _is_first_axis_norm(layer)}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        rank = len(getattr(args[0], "shape", ())) if args else 0
        if rank != 4 or layer.name not in first | norms:
            return layer(*args, **kwargs)
        result = layer(layers.Permute((2, 3, 1))(args[0]), *args[1:], **kwargs)
        return layers.Permute((3, 1, 2))(result) if len(result.shape) == 4 else result

    return with_calls(model, call, config=config)


def standard_axes(model: keras.Model) -> keras.Model:
    """Let a model take and give images as (batch, height, width, channels), noise levels and scores as cards say.

    Flat ones of a square's size, as (None, 784), become squares; gray ones get their axis of channels; a level becomes
    (1, 1, 1, 1), scores (batch, labels). A fixed batch becomes an open one. What is nothing of these stays.
    """
    image = next((shape for tensor in model.inputs if len(shape := _image_shape(tensor.shape)) == 4), None)
    inputs = [_standard(tensor.shape, image, is_input=True) for tensor in model.inputs]
    outputs = [_standard(tensor.shape, image, is_input=False) for tensor in model.outputs]
    tensors = [*model.inputs, *model.outputs]
    if all(tuple(tensor.shape) == shape for tensor, shape in zip(tensors, [*inputs, *outputs], strict=True)):
        return model
    given = [keras.Input(shape[1:], name=tensor.name) for tensor, shape in zip(model.inputs, inputs, strict=True)]
    entered = [_reshaped(each, tensor.shape) for each, tensor in zip(given, model.inputs, strict=True)]
    results = keras.tree.flatten(keras.Model(model.inputs, model.outputs)._run_through_graph(entered))
    left = [_reshaped(result, shape) for result, shape in zip(results, outputs, strict=True)]
    return with_calls(keras.Model(given, left, name=model.name), plainly)  # without the nodes of the old graph


Shape = tuple[int | None, ...]


def _standard(shape: Shape, image: Shape | None, *, is_input: bool) -> Shape:
    if image is None or (len(shape) == 4 and shape[1:] == image[1:]):
        return (None, *shape[1:])
    values = math.prod(size or 0 for size in shape[1:])
    if is_input:
        return (None, 1, 1, 1) if values == 1 else _image_shape(shape)
    if (values and values == math.prod(size or 0 for size in image[1:])) or len(shape) == len(image) - 1 == 3:
        return image if values or None in image[1:] else (None, *shape[1:])
    return (None, values) if values and values == max(size or 0 for size in shape[1:]) else (None, *shape[1:])


def _image_shape(shape: Shape) -> Shape:
    """Return an image's four axes, batch open; of what is none, its own."""
    if len(shape) == 2 and shape[1]:
        for channels in (1, 3):
            side = math.isqrt(shape[1] // channels)
            if side >= MIN_SIDE and channels * side**2 == shape[1]:
                return (None, side, side, channels)
    if len(shape) == 3 and all(size is None or size >= MIN_SIDE for size in shape[1:]):
        return (None, *shape[1:], 1)
    return (None, *shape[1:])


def _reshaped(tensor: Any, shape: Shape) -> Any:
    if tuple(tensor.shape[1:]) == tuple(shape[1:]):
        return tensor
    if None not in shape[1:]:
        return layers.Reshape(shape[1:])(tensor)
    return keras.ops.squeeze(tensor, -1) if len(shape) < len(tensor.shape) else keras.ops.expand_dims(tensor, -1)


def _is_channels_first(layer: Any) -> bool:
    return getattr(layer, "data_format", None) == "channels_first"


def _is_first_axis_norm(layer: Any) -> bool:
    """Whether a layer normalizes images by their channels, which come first."""
    axis = getattr(layer, "axis", None)
    kinds = (layers.BatchNormalization, layers.GroupNormalization)
    return isinstance(layer, kinds) and axis in (1, [1]) and len(layer.input.shape) == 4
