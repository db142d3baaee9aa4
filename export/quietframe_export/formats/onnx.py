"""ONNX: what its precisions are, and how a model is prepared for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from quietframe.card import ModelCard, Precision
from quietframe_export.formats.base import ALL_BITS, Format, Target

if TYPE_CHECKING:
    from quietframe_export.graph import Operation
    from quietframe_export.subject import Subject


class Onnx(Format):
    """ONNX files, through tf2onnx and ONNX Runtime's quantizer."""

    name: ClassVar[str] = "onnx"

    def targets(self) -> Sequence[Target]:
        """See `Format`."""
        return (
            Target(self, "fp32", takes_weight_bits=True),
            Target(self, "int8", calibrated=True, only_8_bit_images=True),
        )

    def convert(self, subject: Subject, precision: Precision, *, weight_bits: int = ALL_BITS) -> bytes:
        """See `Format`. An int8 file begins as a float32 one, its weights rounded beforehand."""
        from quietframe_export.to_onnx import convert_to_onnx_fp32, quantize_onnx, shorten_weights

        if precision == "int8":
            return quantize_onnx(convert_to_onnx_fp32(subject.corrected, subject.card), subject.calibration)
        fp32 = convert_to_onnx_fp32(subject.engine, subject.card)
        return fp32 if weight_bits == ALL_BITS else shorten_weights(fp32, weight_bits)

    def embed_card(self, data: bytes, card: ModelCard) -> bytes:
        """See `Format`: an entry of `metadata_props`."""
        from quietframe_export.to_onnx import embed_card_onnx

        return embed_card_onnx(data, card)

    def operations(self, data: bytes) -> Sequence[Operation]:
        """See `Format`."""
        from quietframe_export.graph import onnx_operations

        return onnx_operations(data)
