"""Keras to ONNX: float32 through tf2onnx, float16 and int8 through ONNX Runtime's tools."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx
from numpy.typing import NDArray

from quietframe.card import CARD_KEY, ModelCard, Precision, TensorSpec
from quietframe_export.formats.base import ALL_BITS, DEFAULT_FORM, Form, Format, Operation, RefusedTargetError, Target
from quietframe_export.formats.examples import in_batches, with_channels_first
from quietframe_export.formats.quantizer import Quantizer

if TYPE_CHECKING:
    from quietframe_export.keras_engine import KerasEngine
    from quietframe_export.subject import Subject

PERCENTILE = 99.99
_VALUES_AT_A_TIME = 2**20
_TAKES = ("nchw", "opset")
_QDQ = ("QuantizeLinear", "DequantizeLinear")


class Onnx(Format):
    """ONNX files, through tf2onnx and ONNX Runtime's quantizer."""

    name: ClassVar[str] = "onnx"
    suffixes: ClassVar[Sequence[str]] = (".onnx",)

    def targets(self) -> Sequence[Target]:
        """See `Format`."""
        return (
            Target(self, "fp32", takes=("weight_bits", *_TAKES)),
            Target(self, "fp16", takes=_TAKES),
            Target(self, "int8", takes=_TAKES, calibrated=True, only_8_bit_images=True),
        )

    def convert(self, subject: Subject, precision: Precision, form: Form = DEFAULT_FORM) -> bytes:
        """See `Format`. Every file begins as a float32 one of free sizes; an int8 one with rounded weights."""
        data = convert_fp32(subject.corrected if precision == "int8" else subject.engine, subject.card, form)
        card = form.card(subject.card)
        if precision == "int8":
            moved = moved_axes(subject.card.inputs, card.inputs)
            data = quantize(data, with_channels_first(in_batches(subject.calibration, form.batch), moved))
        elif precision == "fp16":
            data = halve(data)
        elif form.weight_bits != ALL_BITS:
            data = shorten_weights(data, form.weight_bits)
        return data if form.size_wh is None else fix_size(data, card)

    def files(self, data: bytes, card: ModelCard) -> Sequence[bytes]:
        """See `Format`."""
        return [self.embed_card(data, card)]

    def quantizer(self, subject: Subject, precision: Precision, form: Form = DEFAULT_FORM) -> Quantizer | None:
        """See `Format`: for int8."""
        from quietframe_export.formats.onnx_quantizer import OnnxQuantizer

        return OnnxQuantizer(subject) if precision == "int8" and form == DEFAULT_FORM else None

    def embed_card(self, data: bytes, card: ModelCard) -> bytes:
        """Embed a card, in place of an earlier one: an entry of `metadata_props`."""
        model = onnx.load_from_string(data)
        kept = {entry.key: entry.value for entry in model.metadata_props}
        onnx.helper.set_model_props(model, kept | {CARD_KEY: card.to_json()})
        return bytes(model.SerializeToString())

    def operations(self, data: bytes) -> Sequence[Operation]:
        """See `Format`.

        In a QDQ file each tensor is float between its QuantizeLinear and DequantizeLinear, which the runtime fuses: an
        operation counts as float unless all its computed inputs come from DequantizeLinear.
        """
        model = onnx.load_from_string(data)
        nodes = model.graph.node
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        dequantized = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
        return [
            Operation(
                node.op_type,
                _since(node, opsets),
                node.op_type not in _QDQ and not {*filter(None, node.input)} <= dequantized,
                node.output[0],
            )
            for node in nodes
        ]


def _since(node: onnx.NodeProto, opsets: Mapping[str, int]) -> int:
    """Give the opset that a node's operator comes from; of one that ONNX does not define, the opset of its domain."""
    version = opsets.get(node.domain, 1)
    try:
        return int(onnx.defs.get_schema(node.op_type, version, node.domain).since_version)
    except onnx.defs.SchemaError:
        return version


def convert_fp32(
    engine: KerasEngine, card: ModelCard, form: Form = DEFAULT_FORM, call: Callable[..., Any] | None = None
) -> bytes:
    """Convert a model to float32, with free height and width where the card says so, whatever the form's size.

    call: see `trace`.
    Raises RefusedTargetError: tf2onnx cannot convert this model.
    """
    import tf2onnx

    from quietframe_export.trace import freeze, input_signature, trace

    function = trace(engine, card, free_size=True, bound_images=False, batch=form.batch, call=call)
    signature = input_signature(engine, card, free_size=True, batch=form.batch)
    if any(tensor.dtype != "resource" for tensor in function.get_concrete_function().captured_inputs):
        function = freeze(function, signature)  # a Normalization's mean would be an input of the file
    try:
        model, _ = tf2onnx.convert.from_function(
            function,
            input_signature=signature,
            opset=form.opset,
            custom_op_handlers={"Erfc": (_erfc, [])},
            inputs_as_nchw=moved_axes(card.inputs, form.card(card).inputs),
            outputs_as_nchw=moved_axes(card.outputs, form.card(card).outputs),
        )
    except (ValueError, RuntimeError, NotImplementedError) as exc:
        raise RefusedTargetError("onnx-fp32", str(exc)) from exc
    images = {spec.name for spec in (*card.inputs, *card.outputs) if spec.role == "image"}
    for value in (*model.graph.input, *model.graph.output):  # `height`, `sigma_width`: tf2onnx says `unk__17`
        prefix = "" if value.name in images else f"{value.name}_"
        free = [axis for axis in value.type.tensor_type.shape.dim if axis.dim_param]
        for axis, name in zip(free, ("height", "width"), strict=False):
            axis.dim_param = prefix + name
    return bytes(model.SerializeToString())


def moved_axes(specs: Sequence[TensorSpec], of_form: Sequence[TensorSpec]) -> list[str]:
    """List the tensors that have another layout in a file than in its model: channels first."""
    return [spec.name for spec, other in zip(specs, of_form, strict=True) if spec.layout != other.layout]


def halve(fp32: bytes) -> bytes:
    """Bring a float32 file to float16, weights and arithmetic; its inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # numbers below float16's least: the comparison shows what they do
        model = OnnxModel(convert_float_to_float16(onnx.load_from_string(fp32), keep_io_types=True))
    model.topological_sort()  # the conversions of the inputs stand at the end
    return bytes(model.model.SerializeToString())


def fix_size(data: bytes, card: ModelCard) -> bytes:
    """Give the inputs and outputs of a file with free sizes the one size of a card."""
    model = onnx.load_from_string(data)
    height, width = card.spatial.size_hw or (0, 0)
    specs = {spec.name: spec for spec in (*card.inputs, *card.outputs)}
    for value in (*model.graph.input, *model.graph.output):
        spec = specs[value.name]
        sizes = {"H": height // spec.stride, "W": width // spec.stride}
        for axis, dim in zip(spec.layout, value.type.tensor_type.shape.dim, strict=True):
            if axis in sizes:
                dim.dim_value = sizes[axis]
    del model.graph.value_info[:]  # sizes by name, of which only some would be known
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


def _erfc(context: Any, node: Any, name: str, args: Any) -> None:
    """Write 1 − erf(x), which tf2onnx does not: TensorFlow's exact GELU is built on erfc."""
    context.remove_node(name)
    erf = context.make_node("Erf", node.input)
    one = context.make_const(f"{name}_one", np.ones((), np.float32))
    context.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=node.output)


def shorten_weights(fp32: bytes, bits: int) -> bytes:
    """Shorten the weights of a float32 file to so many significant bits of 24, the rest zero.

    It is as large as before, but in a wheel or an archive weights of 9 bits take about half as much; each is right to
    0.2 %.
    """
    model = onnx.load_from_string(fp32)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            mantissas, exponents = np.frexp(onnx.numpy_helper.to_array(tensor))
            shortened = np.ldexp(np.rint(np.ldexp(mantissas, bits)), exponents - bits).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(shortened, tensor.name))
    return bytes(model.SerializeToString())


def quantize(fp32: bytes, calibration: Sequence[Mapping[str, NDArray[np.float32]]]) -> bytes:
    """Quantize a float32 file: static, QDQ, signed 8-bit activations and weights, weights by channel.

    A tensor's range leaves out what lies beyond `PERCENTILE` of its values: with the least and the greatest value
    camera-nano lost 0.5 dB more. Inputs and outputs stay float32, as ONNX Runtime's documentation advises.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fp32.onnx").write_bytes(fp32)
        # Symbolic shape inference needs sympy and adds nothing here: the graphs have no computed shapes.
        quant_pre_process(folder / "fp32.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        quantize_static(
            folder / "prepared.onnx",
            folder / "int8.onnx",
            CalibrationReader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": stride(calibration)},
        )
        return (folder / "int8.onnx").read_bytes()


class CalibrationReader:
    """Gives the calibration inputs to ONNX Runtime's quantizer one by one, in the chunks that it requests."""

    def __init__(self, calibration: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
        self._calibration = calibration
        self._remaining = iter(calibration)

    def __len__(self) -> int:
        return len(self._calibration)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with these inputs."""
        self._remaining = iter(self._calibration[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next inputs; None after the last."""
        inputs = next(self._remaining, None)
        return None if inputs is None else dict(inputs)


def stride(calibration: Sequence[Mapping[str, NDArray[np.float32]]]) -> int:
    """Choose how many examples ONNX Runtime holds at a time, with intermediate tensors: a divisor of their number."""
    values = max(sum(value.size for value in inputs.values()) for inputs in calibration)
    most = max(1, _VALUES_AT_A_TIME // values)
    return max(count for count in range(1, min(most, len(calibration)) + 1) if len(calibration) % count == 0)
