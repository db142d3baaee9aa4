"""Numbers and tables as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NONE = "–"
"""In a cell: there is no such figure."""

_FORMATS = {
    "psnr_db": ".2f",
    "noisy_psnr_db": ".2f",
    "ssim": ".4f",
    "mse": ".4f",
    "bce": ".4f",
    "rmse": ".4f",
    "accuracy": ".4f",
    "accuracy_percent": ".2f",
}
NAMES = {
    "psnr_db": "PSNR dB",
    "noisy_psnr_db": "PSNR dB, noisy",
    "ssim": "SSIM",
    "mse": "MSE",
    "bce": "BCE",
    "rmse": "RMSE",
    "accuracy": "accuracy",
}
"""Of measures, for people."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A table; the first `left` columns are set left, the others right. A last column of words may end in `:`."""
    aligned = ["---" if index < left or name.endswith(":") else "---:" for index, name in enumerate(head)]
    lines = [[name.removesuffix(":") for name in head], aligned, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)


def figure(measure: str, value: float | None) -> str:
    """A figure with the digits that its measure deserves."""
    return NONE if value is None else format(value, _FORMATS.get(measure, ".4g"))


def gain(measure: str, value: float) -> str:
    """A difference, with its sign; none where it rounds to 0."""
    text = format(value, f"+{_FORMATS.get(measure, '.4g')}")
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def integer(value: Any) -> str:
    """With separators."""
    return NONE if value is None else f"{round(value):,}"


def millions(value: float | None) -> str:
    """In 10⁶, with three digits."""
    return NONE if value is None else f"{value / 1e6:.3g} M" if value < 1e9 else f"{value / 1e9:.3g} G"


def duration(seconds: float | None) -> str:
    """As people say it."""
    if seconds is None:
        return NONE
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def plural(count: int, what: str) -> str:
    """Such as `1 epoch`, `20 epochs`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def paragraph(*sentences: str) -> str:
    """Those that are not empty, in one line."""
    return " ".join(sentence for sentence in sentences if sentence)
