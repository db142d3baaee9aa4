"""What every export format can do. A new one is a subclass of `Format` in a file of its own. Loads no framework."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from quietframe.card import ModelCard, Precision

if TYPE_CHECKING:
    from quietframe_export.graph import Operation
    from quietframe_export.subject import Subject

ALL_BITS = 24
"""Significant bits of a float32 number."""


@dataclass(frozen=True)
class Target:
    """One file format and precision, with what is particular to it.

    Attributes:
        format: writes the files.
        precision: of weights and arithmetic, as the card names it.
        calibrated: whether the conversion needs example inputs.
        takes_weight_bits: whether its weights can be shortened to fewer significant bits.
        all_integer: whether a file with a float operation fails.
        only_8_bit_images: whether images with unclipped noise, which fit no 8 bits, are left out of its test.
        max_test_macs: multiply-accumulates that its test may take, where its engine is slow; None: any number.
    """

    format: Format
    precision: Precision
    calibrated: bool = False
    takes_weight_bits: bool = False
    all_integer: bool = False
    only_8_bit_images: bool = False
    max_test_macs: float | None = None

    @property
    def name(self) -> str:
        """Return what `--to` takes, such as `tflite-int8`."""
        return f"{self.format.name}-{self.precision}"

    @property
    def suffix(self) -> str:
        """Return the end of the file's name, such as `.int8.tflite`."""
        return f".{self.precision}.{self.format.name}"


class Format(ABC):
    """A file format: how a model becomes such a file, and what is in one. Methods load what they need.

    Attributes:
        name: as in `--to` and in the suffix of its files, by which the runtime finds the engine.
    """

    name: ClassVar[str]

    @abstractmethod
    def targets(self) -> Sequence[Target]:
        """List the precisions that it offers."""

    @abstractmethod
    def convert(self, subject: Subject, precision: Precision, *, weight_bits: int = ALL_BITS) -> bytes:
        """Convert a model, without its card.

        weight_bits: significant bits of the weights, where the target takes them.
        Raises RefusedTargetError if the converter cannot make it.
        """

    @abstractmethod
    def embed_card(self, data: bytes, card: ModelCard) -> bytes:
        """Embed a card in a file's content, where it replaces an earlier one."""

    @abstractmethod
    def operations(self, data: bytes) -> Sequence[Operation]:
        """List the operations of a file, in order."""
