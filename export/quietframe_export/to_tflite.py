"""Keras to TFLite, in every precision that TensorFlow's converter offers. Built-in operations only."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from quietframe.card import CARD_KEY, ModelCard, Precision
from quietframe_export.graph import tflite_operations
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.refusal import RefusedTargetError
from quietframe_export.trace import input_signature, trace

Inputs = Mapping[str, NDArray[np.float32]]

_BUILTINS = {
    "fp32": tf.lite.OpsSet.TFLITE_BUILTINS,
    "fp16": tf.lite.OpsSet.TFLITE_BUILTINS,
    "dynamic": tf.lite.OpsSet.TFLITE_BUILTINS,
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
_NOT_IN_16X8 = {"SPACE_TO_DEPTH", "DEPTH_TO_SPACE"}
# Not uint8: the two conversions to int8 and back would take longer than some of the models' convolutions.
_INPUT_TYPES = {"int8": tf.int8, "int16x8": tf.int16}


def convert_to_tflite(
    engine: KerasEngine, card: ModelCard, precision: Precision, calibration: Sequence[Inputs]
) -> bytes:
    """Convert a model; batch normalization is folded into the convolutions on the way.

    Args:
        engine: the model.
        card: its tensors and sizes.
        precision: fp32; fp16 (weights); dynamic (8-bit weights, float activations); int8 (all of it, 8-bit
            inputs and outputs); int16x8 (16-bit activations, 8-bit weights).
        calibration: example inputs by name, batch size 1, for int8 and int16x8.

    Raises:
        RefusedTargetError: TensorFlow cannot convert this model to this precision.
    """
    if precision == "int16x8":
        _refuse_16x8(engine, card)
    if precision == "int8":
        # The last operation (a sigmoid) may have a range of its own, and another one may cost a detour through float,
        # or be refused.
        with suppress(RefusedTargetError):
            data = _convert(engine, card, precision, calibration, bound_images=True)
            if not any(operation.is_float for operation in tflite_operations(data)):
                return data
    return _convert(engine, card, precision, calibration, bound_images=False)


def _convert(
    engine: KerasEngine, card: ModelCard, precision: Precision, calibration: Sequence[Inputs], *, bound_images: bool
) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        _save_frozen(engine, card, folder, bound_images=bound_images)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.target_spec.supported_ops = [_BUILTINS[precision]]
        if precision != "fp32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if precision in _INPUT_TYPES:
            converter.representative_dataset = lambda: _spanning(calibration, card)
            converter.inference_input_type = converter.inference_output_type = _INPUT_TYPES[precision]
        try:
            return bytes(converter.convert())
        except (RuntimeError, ValueError, tf.errors.OpError) as exc:
            raise RefusedTargetError(f"tflite-{precision}", str(exc)) from exc
        except Exception as exc:  # the converter's own error derives from Exception alone
            if type(exc).__name__ != "ConverterError":
                raise
            raise RefusedTargetError(f"tflite-{precision}", str(exc)) from exc


def embed_card_tflite(data: bytes, card: ModelCard) -> bytes:
    """Embed the card as the file's metadata buffer, which replaces an earlier one.

    Where the card says that any size goes, height and width of images and maps are marked as free.
    """
    model = schema.ModelT.InitFromPackedBuf(data)
    for entry in model.metadata or []:
        if entry.name == CARD_KEY.encode():
            buffer = model.buffers[entry.buffer]
            break
    else:
        buffer = schema.BufferT()
        model.buffers.append(buffer)
        entry = schema.MetadataT()
        entry.name, entry.buffer = CARD_KEY, len(model.buffers) - 1
        model.metadata = [*(model.metadata or []), entry]
    buffer.data = np.frombuffer(card.to_json().encode(), np.uint8)
    if card.spatial.kind == "any":
        graph = model.subgraphs[0]
        for index in {*graph.inputs, *graph.outputs}:
            tensor = graph.tensors[index]
            if len(tensor.shape) == 4 and max(tensor.shape[1:3]) > 1:
                tensor.shapeSignature = [tensor.shape[0], -1, -1, tensor.shape[3]]
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _refuse_16x8(engine: KerasEngine, card: ModelCard) -> None:
    """Raise a clear error where the converter would only hint at the cause ("max and min should be recorded")."""
    types = {operation.type for operation in tflite_operations(convert_to_tflite(engine, card, "fp32", ()))}
    if missing := sorted(types & _NOT_IN_16X8):
        raise RefusedTargetError("tflite-int16x8", f"TFLite's 16x8 quantizer does not support {' and '.join(missing)}")


def _save_frozen(engine: KerasEngine, card: ModelCard, folder: str, *, bound_images: bool) -> None:
    """Save the model with its weights as constants: as variables they would stay outside the TFLite graph."""
    function = trace(engine, card, free_size=False, bound_images=bound_images).get_concrete_function()
    frozen = convert_variables_to_constants_v2(function)
    names = sorted(function.structured_outputs)  # TensorFlow flattens dictionaries by sorted keys

    @tf.function(input_signature=input_signature(engine, card, free_size=False), autograph=False)
    def named(*inputs: Any) -> dict[str, Any]:
        return dict(zip(names, frozen(*inputs), strict=True))

    module = tf.Module()
    module.named = named
    tf.saved_model.save(module, folder, signatures={"serving_default": named.get_concrete_function()})


def _spanning(calibration: Sequence[Inputs], card: ModelCard) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the calibration inputs, the first two with one pixel and the noise level at the ends of each range.

    The quantizer takes the range that it has seen: with the ends in it, 8-bit inputs mean what the card says,
    and an 8-bit frame needs no conversion.
    """
    for index, inputs in enumerate(calibration):
        example = {name: np.array(value) for name, value in inputs.items()}
        for spec in card.inputs:
            if index < 2:
                example[spec.name].flat[: 1 if spec.role == "image" else None] = spec.value_range[index]
        yield example
