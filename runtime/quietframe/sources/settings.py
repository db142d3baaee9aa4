"""Settings behind a `?`, as in `test:?size=640x480&fps=30`: each kind of source names what it knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from quietframe.errors import SourceError

Known = Mapping[str, tuple[Any, Callable[[str], Any]]]
"""Per setting its default and a function of its text, which raises ValueError for what it cannot be."""


def parse_settings(spec: str, query: str, known: Known, example: str) -> dict[str, Any]:
    """All settings: those that the query names, and the defaults of the others.

    Args:
        spec: the whole source, for messages.
        query: what follows the source's name: nothing, or `?` and settings.
        known: the settings that there are.
        example: a source with settings, for messages.

    Raises:
        SourceError: not settings, an unknown one, or a value that it cannot have.
    """
    values = {name: default for name, (default, _) in known.items()}
    try:
        pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as exc:
        raise SourceError(f"{spec}: expected settings as in {example}") from exc
    for name, text in pairs:
        if name not in known:
            raise SourceError(f"{spec}: unknown setting {name!r}: expected settings as in {example}")
        try:
            values[name] = known[name][1](text)
        except ValueError as exc:
            raise SourceError(f"{spec}: {name} cannot be {text!r}: expected settings as in {example}") from exc
    return values


def size_wh(text: str) -> tuple[int, int]:
    """(width, height) of `640x480`."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ValueError
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= 16384 and 1 <= height <= 16384):
        raise ValueError
    return width, height


def number(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    """A function that reads a number within [low, high]."""

    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return parse


frames_per_second = number(float, 0.1, 1000)
