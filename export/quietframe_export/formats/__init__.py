"""What a model can be exported to: every format in one table."""

from __future__ import annotations

from collections.abc import Sequence

from quietframe.errors import UsageError
from quietframe_export.formats.base import Ends, Form, Format, Operation, RefusedTargetError, Target, telling_line
from quietframe_export.formats.onnx import Onnx
from quietframe_export.formats.openvino import OpenVino
from quietframe_export.formats.quantizer import Quantizer
from quietframe_export.formats.tflite import TFLite

__all__ = [
    "FORMATS",
    "TARGETS",
    "Ends",
    "Form",
    "Format",
    "Operation",
    "Quantizer",
    "RefusedTargetError",
    "Target",
    "parse_targets",
    "telling_line",
]

FORMATS: Sequence[Format] = (TFLite(), Onnx(), OpenVino())
"""A new format goes here; the runtime's `ENGINES` needs an engine for its suffix, which verifies every file."""

TARGETS = {target.name: target for kind in FORMATS for target in kind.targets()}


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
