"""One self-contained page of results: styles, script and plots are in it; it loads nothing."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from quietframe_bench.columns import Cell, Column
from quietframe_bench.rows import Row

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
        machines=list({json.dumps(facts): facts for row in results for facts in [_machine(row)]}.values()),
        sections=sections,
        all_settings=[(row.kind, _in_words(row.settings)) for row in {row.kind: row for row in results}.values()],
    )


def _classes(cell: Cell, column: Column, first: bool) -> str | None:
    return " ".join(["mark"] * cell.marked + ["words"] * (column.words or first)) or None


def _machine(row: Row) -> dict[str, Any]:
    """Return what a row was measured on, in words; what is unknown is left out."""
    about, versions = row.machine, row.versions
    memory_mb = about.get("memory_mb")
    facts = {
        "board": about.get("board"),
        "processor": about.get("cpu"),
        "cores": f"{about.get('physical_cores')} physical, {about.get('logical_cores')} logical",
        "architecture": about.get("architecture"),
        "memory": f"{memory_mb / 1000:.1f} GB" if memory_mb else None,
        "clock, governor": ", ".join(str(about[name]) for name in ("clock_mhz", "governor") if about.get(name)),
        "system": about.get("system"),
        "measured with": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": row.commit and row.commit.sha[:10] + " with changes" * row.commit.dirty,
        "load before": about.get("load_1min"),
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _in_words(settings: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value, ensure_ascii=False) for name, value in settings.items()}


def _text(name: str) -> str:
    return files("quietframe_bench").joinpath(name).read_text(encoding="utf-8")
