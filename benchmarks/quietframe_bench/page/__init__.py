"""One self-contained page of a run: what `bench --html` writes. It is made of the lines that `--json` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from quietframe_bench.page.sections import SECTIONS, machine, settings

Line = Mapping[str, Any]


def to_html(lines: Sequence[Line]) -> str:
    """The page: styles, script, plots and pictures are in it; it loads nothing.

    lines: rows of any kinds; a kind without a section is left out.
    """
    parts = []
    for anchor, title, make in SECTIONS:
        if body := make(lines):
            parts.append((anchor, title, body))
    parts.append(("settings", "Settings", settings(lines)))
    names = ", ".join(dict.fromkeys(line["model"]["file"] for line in lines if line.get("model")))
    finished = max(line["finished_utc"] for line in lines) if lines else ""
    links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in parts)
    body = "".join(f'<section id="{anchor}"><h2>{escape(title)}</h2>{text}</section>' for anchor, title, text in parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>QuietFrame benchmark</title><style>{_text('page.css')}</style></head><body><main>"
        f'<h1>QuietFrame benchmark</h1><p class="soft">{escape(names)} · {escape(finished)}</p>'
        f"{machine(lines)}<nav>{links}</nav>{body}</main><script>{_text('page.js')}</script></body></html>\n"
    )


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
