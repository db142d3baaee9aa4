"""Keras to OpenVINO's own format (IR), through the ONNX file: an .xml file and the .bin of its weights."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from quietframe.card import ModelCard, Precision
from quietframe.engines.openvino import CARD_PATH
from quietframe_export.formats.base import DEFAULT_FORM, Form, Format, Operation, RefusedTargetError, Target
from quietframe_export.formats.onnx import Onnx

if TYPE_CHECKING:
    from quietframe_export.subject import Subject

_TAKES = ("nchw",)
_NO_OPERATIONS = {"Constant", "Parameter", "Result"}
_OF_QUANTIZATION = {"Convert", "Subtract", "Multiply", "Reshape", "Constant"}
_OF_NO_VALUES = {"FakeQuantize", "ShapeOf"}


class OpenVino(Format):
    """OpenVINO IR files. int8: from the QDQ file of ONNX Runtime's quantizer, whose integers OpenVINO computes with."""

    name: ClassVar[str] = "openvino"
    suffixes: ClassVar[Sequence[str]] = (".xml", ".bin")

    def targets(self) -> Sequence[Target]:
        """See `Format`."""
        return (
            Target(self, "fp32", takes=_TAKES),
            Target(self, "fp16", takes=_TAKES),
            Target(self, "int8", takes=_TAKES, calibrated=True, only_8_bit_images=True),
        )

    def convert(self, subject: Subject, precision: Precision, form: Form = DEFAULT_FORM) -> bytes:
        """See `Format`: the ONNX file. fp16 is of the weights alone, which are rounded when the file is written."""
        try:
            data = Onnx().convert(subject, "int8" if precision == "int8" else "fp32", form)
            _read(data)
        except RefusedTargetError as exc:
            raise RefusedTargetError(f"openvino-{precision}", exc.reason) from exc
        except RuntimeError as exc:
            raise RefusedTargetError(f"openvino-{precision}", str(exc)) from exc
        return data

    def files(self, data: bytes, card: ModelCard) -> Sequence[bytes]:
        """See `Format`. The card is metadata (`rt_info`) in the .xml file."""
        import openvino

        model = _read(data)
        model.set_friendly_name(card.name)
        for index, operation in enumerate(model.get_ordered_ops()):
            if operation.get_friendly_name() == operation.get_name():  # counts what this process has made before
                operation.set_friendly_name(f"{operation.get_type_name()}_{index}")
        model.set_rt_info(card.to_json(), CARD_PATH)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.xml"
            openvino.save_model(model, path, compress_to_fp16=card.precision == "fp16")
            del model
            return [path.with_suffix(suffix).read_bytes() for suffix in self.suffixes]

    def operations(self, data: bytes) -> Sequence[Operation]:
        """See `Format`.

        Of a quantized file each tensor is float behind its FakeQuantize, which OpenVINO takes into the next operation:
        an operation counts as float unless all its inputs come from one, are constants or integers.
        """
        quantized: set[str] = set()
        found = []
        for operation in _read(data).get_ordered_ops():
            kind = operation.get_type_info()
            sources = [value.get_source_output() for value in operation.inputs()]
            is_integer = all(
                source.get_node().get_name() in quantized or not source.get_element_type().is_real()
                for source in sources
            )
            if kind.name == "FakeQuantize" or (kind.name in _OF_QUANTIZATION and is_integer):
                quantized.add(operation.get_name())
            if kind.name not in _NO_OPERATIONS:
                is_float = kind.name not in _OF_NO_VALUES and not is_integer
                found.append(Operation(kind.name, int(kind.version_id.removeprefix("opset")), is_float))
        return found


def _read(data: bytes) -> Any:
    import openvino

    return openvino.Core().read_model(data)
