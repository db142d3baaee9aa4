"""What every export format can do. A new one is a subclass of `Format` in a file of its own. Loads no TensorFlow."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from quietframe.card import ModelCard, Precision
from quietframe.errors import QuietFrameError

if TYPE_CHECKING:
    from quietframe_export.subject import Subject

ALL_BITS = 24
"""Significant bits of a float32 number."""

_TELLING = re.compile(r"not (currently )?(supported|implemented)|unsupported|Quantiz|error: 'tfl\.")


class RefusedTargetError(QuietFrameError):
    """The converter refuses a model in a precision. `reason` is what it says, in one line.

    Args:
        target: such as `tflite-int16x8`.
        text: the converter's own message, of any length.
    """

    def __init__(self, target: str, text: str) -> None:
        self.target, self.reason = target, telling_line(text)
        super().__init__(f"{target}: not possible for this model: {self.reason}")


def telling_line(text: str) -> str:
    """Find the line of a converter's message that names the cause, without file names and addresses."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    line = next(filter(_TELLING.search, lines), lines[0])
    line = re.sub(r"^(.*error: )?(loc\(.*\): )?", "", line)
    return re.sub(r"\s+", " ", line)[:300]


@dataclass(frozen=True)
class Operation:
    """One operation of a file: its type, and whether any tensor that it reads or writes is floating point."""

    type: str
    is_float: bool


@dataclass(frozen=True)
class Target:
    """One file format and precision, with what is particular to it.

    Attributes:
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
    """A file format: how a model becomes such a file, and what is in one.

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
