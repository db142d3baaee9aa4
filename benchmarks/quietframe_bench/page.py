"""One self-contained page of results: styles, script and plots are in it; it loads nothing."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from quietframe_bench.columns import Cell, Column
from quietframe_bench.rows import measured_on

if TYPE_CHECKING:
    from quietframe_bench.results import Results


def to_html(results: Results) -> str:
    """Return the page, made from the template `page.html.jinja`."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["classes"] = _classes
    sections = [
        {
            "anchor": module.TITLE.lower().replace(" ", "-"),
            "title": module.TITLE,
            "tables": module.tables(rows),
            "plots": module.draw(rows, results) if hasattr(module, "draw") else [],
            "failures": [failure for row in rows for failure in row.failures()],
        }
        for module, rows in results.sections()
    ]
    return environment.from_string(_text("page.html.jinja")).render(
        css=_text("page.css"),
        js=_text("page.js"),
        names=", ".join(dict.fromkeys(row.file for row in results if row.file)),
        finished=max((row.finished_utc for row in results), default=""),
        machines=list({json.dumps(facts): facts for row in results for facts in [measured_on(row)]}.values()),
        sections=sections,
        all_settings=[(row.kind, _in_words(row.settings)) for row in {row.kind: row for row in results}.values()],
    )


def _classes(cell: Cell, column: Column, first: bool) -> str | None:
    return " ".join(["mark"] * cell.marked + ["words"] * (column.words or first)) or None


def _in_words(settings: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value, ensure_ascii=False) for name, value in settings.items()}


def _text(name: str) -> str:
    return files("quietframe_bench").joinpath(name).read_text(encoding="utf-8")
