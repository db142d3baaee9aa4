"""Settings behind a `?`, as in `test:?size=640x480&fps=30`: each kind of source names what it knows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from quietframe.errors import SourceError


@dataclass(frozen=True)
class Spec:
    """How one kind of source is named.

    Attributes:
        pattern: a regular expression; its group `query` holds `?` and the settings, its group `number` a camera's.
        known: per setting its default and a function of its text, which raises ValueError for what it cannot be.
        example: a source with settings, for messages.
    """

    pattern: str
    known: Mapping[str, tuple[Any, Callable[[str], Any]]]
    example: str

    def matches(self, spec: str) -> bool:
        """Whether it names a source of this kind."""
        return re.fullmatch(self.pattern, spec, re.DOTALL) is not None

    def read(self, spec: str) -> tuple[str, dict[str, Any]]:
        """The number, and all settings: those that the source names, and the defaults of the others.

        Raises:
            SourceError: not settings, an unknown one, or a value that it cannot have.
        """
        match = re.fullmatch(self.pattern, spec, re.DOTALL)
        assert match is not None  # the table of sources looked
        groups = match.groupdict()
        query = groups["query"] or ""
        values = {name: default for name, (default, _) in self.known.items()}
        try:
            pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True, strict_parsing=bool(query))
        except ValueError as exc:
            raise SourceError(f"{spec}: expected settings as in {self.example}") from exc
        for name, text in pairs:
            if name not in self.known:
                raise SourceError(f"{spec}: unknown setting {name!r}: expected settings as in {self.example}")
            try:
                values[name] = self.known[name][1](text)
            except ValueError as exc:
                raise SourceError(f"{spec}: {name} cannot be {text!r}: expected settings as in {self.example}") from exc
        return groups.get("number") or "0", values


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
