"""Keras to TFLite, in every precision that TensorFlow's converter offers. Built-in operations only."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from quietframe.card import CARD_KEY, ModelCard, Precision
from quietframe_export.formats.base import DEFAULT_FORM, Form, Format, Operation, RefusedTargetError, Target
from quietframe_export.formats.examples import in_batches, of_size
from quietframe_export.formats.quantizer import Quantizer

if TYPE_CHECKING:
    from quietframe_export.keras_engine import KerasEngine
    from quietframe_export.subject import Inputs, Subject

SLOW_MACS = 20e9
"""LiteRT runs int16x8 some thirty times as slowly as int8: of a large model's test set a part is measured."""

_CALIBRATED = ("int8", "int16x8")
_NOT_IN_16X8 = {"SPACE_TO_DEPTH", "DEPTH_TO_SPACE"}
OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_FLOAT_TYPES = (schema.TensorType.FLOAT16, schema.TensorType.FLOAT32, schema.TensorType.FLOAT64)


class TFLite(Format):
    """TFLite files, for LiteRT, through TensorFlow's converter."""

    name: ClassVar[str] = "tflite"
    suffixes: ClassVar[Sequence[str]] = (".tflite",)

    def targets(self) -> Sequence[Target]:
        """See `Format`."""
        return (
            Target(self, "fp32"),
            Target(self, "fp16"),
            Target(self, "dynamic"),
            Target(self, "int8", takes=("ends",), calibrated=True, all_integer=True, only_8_bit_images=True),
            Target(self, "int16x8", calibrated=True, only_8_bit_images=True, max_test_macs=SLOW_MACS),
        )

    def convert(self, subject: Subject, precision: Precision, form: Form = DEFAULT_FORM) -> bytes:
        """See `Format`. 8-bit weights are rounded beforehand, and for int8 the ranges are chosen."""
        from quietframe_export.keras_engine import KerasEngine
        from quietframe_export.ranges import bounded

        card = subject.card
        engine = subject.engine if precision in ("fp32", "fp16") else subject.corrected
        if precision == "int8":
            engine = KerasEngine(bounded(engine.model, subject.ranges), card)
        return convert(engine, card, precision, subject.calibration, form)

    def files(self, data: bytes, card: ModelCard) -> Sequence[bytes]:
        """See `Format`."""
        return [self.embed_card(data, card)]

    def quantizer(self, subject: Subject, precision: Precision, form: Form = DEFAULT_FORM) -> Quantizer | None:
        """See `Format`: for int8."""
        from quietframe_export.formats.tflite_quantizer import TFLiteQuantizer

        is_plain = form == Form(ends=form.ends)
        return TFLiteQuantizer(subject, form.ends) if precision == "int8" and is_plain else None

    def embed_card(self, data: bytes, card: ModelCard) -> bytes:
        """Embed a card, in place of an earlier one: a metadata buffer.

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
            entry = schema.MetadataT(name=CARD_KEY, buffer=len(model.buffers) - 1)
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

    def operations(self, data: bytes) -> Sequence[Operation]:
        """See `Format`: those of the main graph; a custom one (`Flex…`) goes by its own name.

        Conversions of float inputs and outputs, which are the file's form, do not count as float operations.
        """
        model = schema.ModelT.InitFromPackedBuf(data)
        graph = model.subgraphs[0]
        ends = {*graph.inputs, *graph.outputs}
        operations = []
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
            name = code.customCode.decode() if code.customCode else OPERATORS[builtin]
            indices = {*operator.inputs, *operator.outputs} - {-1}
            is_end = name in _CONVERSIONS and ends & indices
            is_float = not is_end and any(graph.tensors[index].type in _FLOAT_TYPES for index in indices)
            result = graph.tensors[operator.outputs[0]].name.decode() if len(operator.outputs) else ""
            operations.append(Operation(name, code.version, is_float, result))
        return operations


def convert(
    engine: KerasEngine,
    card: ModelCard,
    precision: Precision,
    calibration: Sequence[Inputs] = (),
    form: Form = DEFAULT_FORM,
) -> bytes:
    """Convert a model; batch normalization is folded into the convolutions on the way.

    card: the model's, which is not yet of the form. precision: fp32; fp16 (weights); dynamic (8-bit weights, float
    activations); int8 (all of it); int16x8 (16-bit activations, 8-bit weights). calibration: example inputs, for the
    last two.
    Raises RefusedTargetError: TensorFlow cannot convert this model to this precision.
    """
    if precision == "int16x8":  # the converter would only hint at the cause: "max and min should be recorded"
        types = {operation.type for operation in TFLite().operations(convert(engine, card, "fp32"))}
        if missing := sorted(types & _NOT_IN_16X8):
            what = " and ".join(missing)
            raise RefusedTargetError("tflite-int16x8", f"TFLite's 16x8 quantizer does not support {what}")
    if precision == "int8":
        # The last operation (a sigmoid) may have a range of its own, and another one may cost a detour through float,
        # or be refused.
        with suppress(RefusedTargetError):
            data = _convert(engine, card, precision, calibration, form, bound_images=True)
            if not any(operation.is_float for operation in TFLite().operations(data)):
                return data
    return _convert(engine, card, precision, calibration, form, bound_images=False)


def _convert(
    engine: KerasEngine,
    card: ModelCard,
    precision: Precision,
    calibration: Sequence[Inputs],
    form: Form,
    *,
    bound_images: bool,
) -> bytes:
    from keras import layers

    from quietframe_export.formats.tflite_converter import convert_folder, convert_folder_apart
    from quietframe_export.keras_graph import all_layers

    examples = list(spanning(calibration, card)) if precision in _CALIBRATED else []
    if examples and any(isinstance(layer, layers.RNN) for layer in all_layers(engine.model)):
        examples.append(_lively(examples[0], card))
    with tempfile.TemporaryDirectory() as folder:
        saved = save_frozen(engine, card, folder, form, bound_images=bound_images)
        fitted = of_size(examples, form.card(card)) if saved.holds_size else examples
        convert_it = convert_folder_apart if saved.has_loops and examples else convert_folder
        try:
            return convert_it(folder, precision, in_batches(fitted, form.batch), form.ends)
        except Exception as exc:  # the converter's own error derives from Exception alone
            known = isinstance(exc, (RuntimeError, ValueError)) or "tensorflow" in type(exc).__module__
            if not known:
                raise
            raise RefusedTargetError(f"tflite-{precision}", str(exc)) from exc


class Saved(NamedTuple):
    """A saved graph: whether it has loops, at which TensorFlow's calibration can crash; whether it holds one size."""

    has_loops: bool
    holds_size: bool


def save_frozen(
    engine: KerasEngine,
    card: ModelCard,
    folder: str,
    form: Form = DEFAULT_FORM,
    *,
    bound_images: bool,
    call: Callable[..., Any] | None = None,
) -> Saved:
    """Save the model with its weights as constants: as variables they would stay outside the TFLite graph.

    call: see `trace`.
    """
    import tensorflow as tf

    from quietframe_export.trace import computes_sizes, freeze, has_loops, input_signature, trace

    free_size = card.spatial.kind == "any"
    traced = trace(engine, card, free_size=free_size, bound_images=bound_images, batch=form.batch, call=call)
    computed = free_size and computes_sizes(traced)
    if free_size and (form.size_wh or not computed):  # a graph without sizes is right at any, and faster if it has one
        free_size, card = False, form.card(card)
        traced = trace(engine, card, free_size=False, bound_images=bound_images, batch=form.batch, call=call)
    module = tf.Module()
    module.named = freeze(traced, input_signature(engine, card, free_size=free_size, batch=form.batch))
    tf.saved_model.save(
        module,
        folder,
        signatures={"serving_default": module.named.get_concrete_function()},
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),  # a file needs none
    )
    return Saved(has_loops(traced), computed and form.size_wh is not None)


def spanning(calibration: Sequence[Inputs], card: ModelCard) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the calibration inputs, the first two with one pixel and the noise level at the ends of each range.

    The quantizer takes the range that it has seen: with the ends in it, 8-bit inputs mean what the card says,
    and an 8-bit frame needs no conversion.
    """
    for index, inputs in enumerate(calibration):
        example = {name: np.array(value) for name, value in inputs.items()}
        for spec in card.inputs:
            if index < 2:
                example[spec.name].flat[: 1 if spec.role == "image" else None] = spec.limits[index]
        yield example


def _lively(example: Inputs, card: ModelCard) -> dict[str, NDArray[np.float32]]:
    """Make an example without black rows.

    Behind them the state of a recurrent layer is zero at some steps in all images, and of zeros alone the quantizer
    takes a range so small that LiteRT's fast kernels refuse the file, or crash on it.
    """
    rng = np.random.default_rng(0)
    spans = {spec.name: spec.limits for spec in card.inputs}
    return {name: rng.uniform(*spans[name], value.shape).astype(np.float32) for name, value in example.items()}
