"""What every export format can do. A new one is a subclass of `Format` in a file of its own. Loads no TensorFlow."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from quietframe.card import ModelCard, Precision, Spatial, TensorSpec
from quietframe.errors import QuietFrameError, UsageError

if TYPE_CHECKING:
    from quietframe_export.formats.quantizer import Quantizer
    from quietframe_export.subject import Subject

Ends = Literal["int8", "uint8", "float32"]

MIN_BITS, ALL_BITS = 8, 24
"""Significant bits that weights may be shortened to, and those of a float32 number."""

OPSETS = (13, 18)
"""ONNX opsets that can be written: the first with QuantizeLinear by channel, and tf2onnx's last."""

MAX_BATCH = 1024

_TELLING = re.compile(r"not (currently )?(supported|implemented)|unsupported|Quantiz|error: 'tfl\.")

_MISSING = re.compile(r"^(?:TF Select|Custom) ops: (.+?)\s*$", re.MULTILINE)


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
    if missing := _MISSING.findall(text):
        return f"TFLite has no {', '.join(dict.fromkeys(name for names in missing for name in names.split(', ')))}"
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    line = next(filter(_TELLING.search, lines), lines[0])
    line = re.sub(r"^(.*error: )?(loc\(.*\): )?", "", line)
    return re.sub(r"\s+", " ", line)[:300]


@dataclass(frozen=True)
class Operation:
    """One operation of a file.

    Attributes:
        type: its name.
        version: of the name, as the format counts: TFLite's version of the operator, or the opset that it comes from.
        is_float: whether any tensor that it reads or writes is floating point.
        result: the name of the first tensor that it writes.
    """

    type: str
    version: int
    is_float: bool
    result: str = ""


@dataclass(frozen=True)
class Form:
    """What files are to be like beside their precision. The defaults are what the runtime runs best.

    Attributes:
        size_wh: the one size of image that a file takes, width and height; None: those that the model takes.
        batch: how many images it takes at once.
        ends: the type of the inputs and outputs of a full-integer file.
        nchw: whether images and maps are NCHW instead of NHWC.
        opset: of ONNX. 17: ONNX Runtime 1.13 (2022) and later run it.
        weight_bits: significant bits that the weights of a float32 file keep: see `shorten_weights`.
    """

    size_wh: tuple[int, int] | None = None
    batch: int = 1
    ends: Ends = "int8"
    nchw: bool = False
    opset: int = 17
    weight_bits: int = ALL_BITS

    def __post_init__(self) -> None:
        for name, value, (low, high) in (
            ("batch", self.batch, (1, MAX_BATCH)),
            ("opset", self.opset, OPSETS),
            ("weight_bits", self.weight_bits, (MIN_BITS, ALL_BITS)),
        ):
            if not low <= value <= high:
                raise UsageError(f"Expected {name} in [{low}, {high}]. Received: {value}")

    @property
    def tag(self) -> str:
        """Return what the names of files say of it, such as `.640x480.nchw`; empty for the default."""
        parts = (
            self.size_wh and "{}x{}".format(*self.size_wh),
            self.batch > 1 and f"batch{self.batch}",
            self.ends != "int8" and f"{self.ends}-ends",
            self.nchw and "nchw",
            self.opset != Form.opset and f"opset{self.opset}",
        )
        return "".join(f".{part}" for part in parts if part)

    def check(self, targets: Sequence[Target], known: Sequence[Target]) -> None:
        """Raise UsageError if something is stated that none of the targets takes. known: all targets, to name those."""
        for field in fields(self):
            takers = [target for target in known if field.name in target.takes]
            if takers and getattr(self, field.name) != field.default and not set(takers) & set(targets):
                names = ", ".join(target.name for target in takers)
                raise UsageError(f"{field.name} is for {names}: none of them is among the targets")

    def of(self, target: Target) -> Form:
        """Return what a target takes of it."""
        return replace(Form(self.size_wh, self.batch), **{name: getattr(self, name) for name in target.takes})

    def card(self, card: ModelCard) -> ModelCard:
        """Return the card of a file of this form. Raises UsageError if there is no such file of the model."""
        if self.batch > 1 and card.has_state:
            raise UsageError(f"{card.name} remembers the frames before, which come one by one: leave the batch out")
        if self.size_wh is not None:
            card = replace(card, spatial=_fixed(card, self.size_wh))
        if self.nchw:
            inputs, outputs = (tuple(map(_channels_first, specs)) for specs in (card.inputs, card.outputs))
            card = replace(card, inputs=inputs, outputs=outputs)
        return card


def _fixed(card: ModelCard, size_wh: tuple[int, int]) -> Spatial:
    """A file of one size takes frames of others in tiles, where it is known how far the model sees."""
    width, height = size_wh
    spatial, multiple = card.spatial, card.spatial.multiple
    if spatial.size_hw is not None:
        if spatial.size_hw == (height, width):
            return spatial
        own = "{1}x{0}".format(*spatial.size_hw)
        raise UsageError(f"{card.name} takes images of {own} alone: leave the size out. Received: {width}x{height}")
    if min(size_wh) < 1 or width % multiple or height % multiple:
        raise UsageError(f"{card.name} takes sizes that are multiples of {multiple}. Received: {width}x{height}")
    overlap = 2 * spatial.halo + -2 * spatial.halo % multiple
    if "classify" in card.task or not 0 < overlap < min(size_wh):
        return Spatial("fixed", (height, width), "resize")
    return Spatial("fixed", (height, width), "tile", multiple, spatial.halo)


def _channels_first(spec: TensorSpec) -> TensorSpec:
    takes = spec.layout == "NHWC" and spec.role in ("image", "sigma", "state")
    return replace(spec, layout="NCHW") if takes else spec


@dataclass(frozen=True)
class Target:
    """One file format and precision, with what is particular to it.

    Attributes:
        precision: of weights and arithmetic, as the card names it.
        calibrated: whether the conversion needs example inputs.
        takes: names of the fields of `Form` that it takes, beside the size and the batch.
        all_integer: whether a file with a float operation fails.
        only_8_bit_images: whether images with unclipped noise, which fit no 8 bits, are left out of its test.
        max_test_macs: multiply-accumulates that its test may take, where its engine is slow; None: any number.
    """

    format: Format
    precision: Precision
    calibrated: bool = False
    takes: Sequence[str] = ()
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
        return f".{self.precision}{self.format.suffixes[0]}"


DEFAULT_FORM = Form()


class Format(ABC):
    """A file format: how a model becomes such a file, and what is in one.

    Attributes:
        name: as in `--to`.
        suffixes: of the files that it writes: first that of the file by which the runtime finds the engine.
    """

    name: ClassVar[str]
    suffixes: ClassVar[Sequence[str]]

    @abstractmethod
    def targets(self) -> Sequence[Target]:
        """List the precisions that it offers."""

    @abstractmethod
    def convert(self, subject: Subject, precision: Precision, form: Form = DEFAULT_FORM) -> bytes:
        """Convert a model, without its card. Raises RefusedTargetError if the converter cannot make it."""

    def quantizer(self, subject: Subject, precision: Precision, form: Form = DEFAULT_FORM) -> Quantizer | None:
        """Return what quantizes a model layer by layer; None for a precision or a form that has no such thing.

        Raises RefusedTargetError if the converter cannot make it.
        """
        return None

    @abstractmethod
    def files(self, data: bytes, card: ModelCard) -> Sequence[bytes]:
        """Return what is written, in the order of `suffixes`: the file with its card, and others that it needs."""

    @abstractmethod
    def operations(self, data: bytes) -> Sequence[Operation]:
        """List the operations of a file, in order."""
