"""A target that a converter cannot make from a model."""

from __future__ import annotations

import re

from quietframe.errors import QuietFrameError

_TELLING = re.compile(r"not (currently )?(supported|implemented)|unsupported|Quantiz|error: 'tfl\.")


class RefusedTargetError(QuietFrameError):
    """The converter refuses a model in a precision. `reason` is what it says, in one line.

    Args:
        target: such as `tflite-int16x8`.
        text: the converter's own message, of any length.
    """

    def __init__(self, target: str, text: str) -> None:
        self.target, self.reason = target, _essence(text)
        super().__init__(f"{target}: not possible for this model: {self.reason}")


def _essence(text: str) -> str:
    """Extract the line of a long message that says what is wrong, without file names and addresses."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)]
    line = (telling or lines or ["no reason given"])[0]
    line = re.sub(r"^(.*error: )?(loc\(.*\): )?", "", line)
    return re.sub(r"\s+", " ", line)[:300]
