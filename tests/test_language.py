"""Holds code and docs to plain English: words that this project once used in a sense of its own stay away.

What to write instead: `noise-conditioned` or `passed to the model`, `removed`, `clients`, `fine-tune` and `frozen batch
norm`, `baseline` or `other methods`, `plays back in real time`, `suppress native output`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEMS = (
    "told",
    "retell",
    "retold",
    "settl",
    "calm",
    "hush",
    "looker",
    "taken away",
    "takes away",
    "speed of life",
    "being gray",
    "contender",
    "stand still",
)
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".sh", ".js", ".html", ".css", ".service", ".json", ""}
ROOMS = (".ci", ".github", "benchmarks", "docs", "examples", "export", "runtime", "tests", "train")

THIS_FILE = "tests/test_language.py"
"""It names the words."""

_STEM = re.compile("|".join(stem.replace(" ", r"[\s_]+") for stem in STEMS), re.IGNORECASE)


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the repository, with its path."""
    files = [path for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")]
    files += [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.is_file()]
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in SUFFIXES and "__pycache__" not in name and name != THIS_FILE:
            yield name, path.read_text(encoding="utf-8")


def found(name: str, text: str) -> list[str]:
    """The lines of a text that hold a stem."""
    lines = text.splitlines()
    hits = dict.fromkeys(text.count("\n", 0, match.start()) for match in _STEM.finditer(text))
    return [f"{name}:{number + 1}: {lines[number].strip()}" for number in hits]


def test_code_and_docs_use_plain_words():
    hits = [line for name, text in texts() for line in found(name, text)]
    assert not hits, "\n".join(["write it in plain words:", *hits])


def test_the_check_can_fail():
    assert found("x.md", "a level\nthat is Told\nto it") == ["x.md:2: that is Told"]
    assert found("x.md", "noise is taken\naway") == ["x.md:1: noise is taken"]
    assert found("x.py", "is_told_255") and found("x.py", "def hushed(): ...") and found("x.py", "standing still") == []
