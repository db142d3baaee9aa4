"""What a model can be exported to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from quietframe.card import Precision
from quietframe.errors import UsageError


@dataclass(frozen=True)
class Target:
    """One file format and precision; `name` is what `--to` takes."""

    format: Literal["tflite", "onnx"]
    precision: Precision

    @property
    def name(self) -> str:
        """Such as `tflite-int8`."""
        return f"{self.format}-{self.precision}"

    @property
    def suffix(self) -> str:
        """The end of the file's name, such as `.int8.tflite`."""
        return f".{self.precision}.{self.format}"

    @property
    def calibrated(self) -> bool:
        """Whether the conversion needs example inputs."""
        return self.precision in ("int8", "int16x8")


TARGETS = {
    target.name: target
    for target in (
        Target("tflite", "fp32"),
        Target("tflite", "fp16"),
        Target("tflite", "dynamic"),
        Target("tflite", "int8"),
        Target("tflite", "int16x8"),
        Target("onnx", "fp32"),
        Target("onnx", "int8"),
    )
}


def parse_targets(text: str) -> Sequence[Target]:
    """Read a list such as `tflite-int8,onnx-fp32`, or `all`. Raises UsageError for an unknown name."""
    if text == "all":
        return list(TARGETS.values())
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in TARGETS]
    if unknown or not names:
        what = repr(unknown[0]) if unknown else "nothing"
        raise UsageError(f"Expected --to all, or some of {','.join(TARGETS)}. Received: {what}")
    return [TARGETS[name] for name in names]
