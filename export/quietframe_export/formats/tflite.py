"""TFLite: what its precisions are, and how a model is prepared for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from quietframe.card import ModelCard, Precision
from quietframe_export.formats.base import ALL_BITS, Format, Target

if TYPE_CHECKING:
    from quietframe_export.graph import Operation
    from quietframe_export.subject import Subject

SLOW_MACS = 20e9
"""LiteRT runs int16x8 some thirty times as slowly as int8: of a large model's test set a part is measured."""


class TFLite(Format):
    """TFLite files, for LiteRT, through TensorFlow's converter."""

    name: ClassVar[str] = "tflite"

    def targets(self) -> Sequence[Target]:
        """See `Format`."""
        return (
            Target(self, "fp32"),
            Target(self, "fp16"),
            Target(self, "dynamic"),
            Target(self, "int8", calibrated=True, all_integer=True, only_8_bit_images=True),
            Target(self, "int16x8", calibrated=True, only_8_bit_images=True, max_test_macs=SLOW_MACS),
        )

    def convert(self, subject: Subject, precision: Precision, *, weight_bits: int = ALL_BITS) -> bytes:
        """See `Format`. 8-bit weights are rounded beforehand, and for int8 the ranges are chosen."""
        from quietframe_export.keras_engine import KerasEngine
        from quietframe_export.ranges import bounded, choose_ranges, in_whole_levels
        from quietframe_export.to_tflite import convert_to_tflite

        card = subject.card
        engine = subject.engine if precision in ("fp32", "fp16") else subject.corrected
        if precision == "int8":
            ranges = in_whole_levels(engine.model, choose_ranges(engine.model, subject.examples))
            engine = KerasEngine(bounded(engine.model, ranges), card)
        return convert_to_tflite(engine, card, precision, subject.calibration)

    def embed_card(self, data: bytes, card: ModelCard) -> bytes:
        """See `Format`: a metadata buffer."""
        from quietframe_export.to_tflite import embed_card_tflite

        return embed_card_tflite(data, card)

    def operations(self, data: bytes) -> Sequence[Operation]:
        """See `Format`."""
        from quietframe_export.graph import tflite_operations

        return tflite_operations(data)
