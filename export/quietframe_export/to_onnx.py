"""Keras to ONNX: float32 through tf2onnx, int8 through ONNX Runtime's quantizer."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import tf2onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from quietframe.card import CARD_KEY, ModelCard
from quietframe_export.keras_engine import KerasEngine
from quietframe_export.refusal import RefusedTargetError
from quietframe_export.trace import input_signature, trace

PERCENTILE = 99.99
_VALUES_AT_A_TIME = 2**20

OPSET = 17
"""ONNX opset of the files: ONNX Runtime 1.13 (2022) and later run it."""


def convert_to_onnx_fp32(engine: KerasEngine, card: ModelCard) -> bytes:
    """Convert a model to float32 ONNX, with free height and width where the card says so.

    Raises:
        RefusedTargetError: tf2onnx cannot convert this model.
    """
    function = trace(engine, card, free_size=True, bound_images=False)
    signature = input_signature(engine, card, free_size=True)
    try:
        model, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
    except (ValueError, RuntimeError, NotImplementedError) as exc:
        raise RefusedTargetError("onnx-fp32", str(exc)) from exc
    images = {spec.name for spec in (*card.inputs, *card.outputs) if spec.role == "image"}
    for value in (*model.graph.input, *model.graph.output):
        _name_free_axes(value, "" if value.name in images else f"{value.name}_")
    return bytes(model.SerializeToString())


def shorten_weights(fp32: bytes, bits: int) -> bytes:
    """Shorten the weights of a float32 ONNX file to so many significant bits, the rest zero.

    It is as large as before, but in a wheel or an archive weights of 9 bits take about half as much; each is right to
    0.2 %.

    bits: 1 to 24; 24 leaves the file as it is.
    """
    model = onnx.load_from_string(fp32)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            mantissas, exponents = np.frexp(onnx.numpy_helper.to_array(tensor))
            shortened = np.ldexp(np.rint(np.ldexp(mantissas, bits)), exponents - bits).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(shortened, tensor.name))
    return bytes(model.SerializeToString())


def quantize_onnx(fp32: bytes, calibration: Sequence[Mapping[str, NDArray[np.float32]]]) -> bytes:
    """Quantize a float32 ONNX file: static, QDQ, signed 8-bit activations and weights, weights by channel.

    A tensor's range leaves out what lies beyond `PERCENTILE` of its values: with the least and the greatest value
    camera-nano lost 0.5 dB more.

    Inputs and outputs stay float32, as ONNX Runtime's documentation advises for QDQ files.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "fp32.onnx").write_bytes(fp32)
        # Symbolic shape inference needs sympy and adds nothing here: the graphs have no computed shapes.
        quant_pre_process(folder / "fp32.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        quantize_static(
            folder / "prepared.onnx",
            folder / "int8.onnx",
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE, "CalibStridedMinMax": _stride(calibration)},
        )
        return (folder / "int8.onnx").read_bytes()


def embed_card_onnx(data: bytes, card: ModelCard) -> bytes:
    """Embed the card as a `metadata_props` entry, which replaces an earlier one."""
    model = onnx.load_from_string(data)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, kept | {CARD_KEY: card.to_json()})
    return bytes(model.SerializeToString())


class _Reader(CalibrationDataReader):
    """Gives the calibration inputs to ONNX Runtime's quantizer one by one, in the chunks that it requests."""

    def __init__(self, calibration: Sequence[Mapping[str, NDArray[np.float32]]]) -> None:
        self._calibration = calibration
        self._remaining = iter(calibration)

    def __len__(self) -> int:
        return len(self._calibration)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with the inputs from `start_index` up to `end_index`."""
        self._remaining = iter(self._calibration[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """Return the next inputs, or None at the end of the chunk."""
        inputs = next(self._remaining, None)
        return None if inputs is None else dict(inputs)


def _stride(calibration: Sequence[Mapping[str, NDArray[np.float32]]]) -> int:
    """Choose how many examples ONNX Runtime holds at a time, with intermediate tensors: a divisor of their number."""
    values = max(sum(value.size for value in inputs.values()) for inputs in calibration)
    most = max(1, _VALUES_AT_A_TIME // values)
    return max(count for count in range(1, min(most, len(calibration)) + 1) if len(calibration) % count == 0)


def _name_free_axes(value: onnx.ValueInfoProto, prefix: str) -> None:
    """Name the free axes of an image `height` and `width` instead of tf2onnx's `unk__17`, a map's `sigma_height`."""
    axes = value.type.tensor_type.shape.dim
    free = [axis for axis in axes if axis.dim_param]
    for axis, name in zip(free, ("height", "width"), strict=False):
        axis.dim_param = prefix + name
