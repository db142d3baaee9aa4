"""Results: the rows of a run, and what can be made of them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment

from quietframe.images import write_whole
from quietframe_bench import columns
from quietframe_bench.columns import Table
from quietframe_bench.rows import Row, measured_on, read_rows, to_lines

KINDS = ("speed", "profile", "roofline", "startup", "live", "quality", "accuracy", "compare")
"""The modules in `quietframe_bench.kinds` that have rows, in the order in which they are shown."""


@cache
def kind_modules() -> tuple[Any, ...]:
    """Import the modules of all kinds with rows.

    Each has a TITLE for its section of the page; COLUMNS, the columns for CSV of each of its types of rows;
    `tables(rows)`; and, if it has plots for the page, `draw(rows, all_rows)`, which returns HTML.
    """
    return tuple(importlib.import_module(f"quietframe_bench.kinds.{name}") for name in KINDS)


class Results(list[Row]):
    """Rows, of one kind or of several: a list of them."""

    def __repr__(self) -> str:
        kinds = ", ".join(dict.fromkeys(row.kind for row in self))
        return f"<Results of {len(self)} rows: {kinds or 'none'}>"

    @property
    def failures(self) -> list[str]:
        """What failed, one line for each thing."""
        return list(dict.fromkeys(failure for row in self for failure in row.failures()))

    def messages(self) -> list[str]:
        """Return what is to be said on standard error beside failures, each line once."""
        return list(dict.fromkeys(message for row in self for message in row.messages()))

    def sections(self) -> Iterator[tuple[Any, list[Row]]]:
        """Yield the rows of each kind with its module."""
        for module in kind_modules():
            if rows := [row for row in self if type(row) in module.COLUMNS]:
                yield module, rows

    def tables(self) -> list[Table]:
        """Make the tables that people read."""
        return [table for module, rows in self.sections() for table in module.tables(rows)]

    def print(self) -> None:
        """Print the tables to standard output."""
        columns.print_tables(self.tables())

    def to_json(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """Return the rows as JSON Lines with all raw samples, and write them to a file if one is named."""
        return write_text(to_lines(self).decode(), path, overwrite=overwrite)

    def to_document(self) -> str:
        """Return the rows and failures as one JSON document."""
        return msgspec.json.encode({"rows": list(self), "failures": self.failures}).decode()

    def to_csv(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """Return the figures as CSV, a row for each, and write them to a file if one is named."""
        text = columns.to_csv((module.COLUMNS[type(row)], row) for module, rows in self.sections() for row in rows)
        return write_text(text, path, overwrite=overwrite)

    def to_markdown(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """Return the tables as Markdown under the machines they were measured on, and write them if a file is named."""
        facts = [measured_on(row) for row in self if not row.error]
        where = list(dict.fromkeys(", ".join(f"{name}: {value}" for name, value in of.items()) for of in facts))
        return write_text("\n\n".join([*where, columns.to_markdown(self.tables())]), path, overwrite=overwrite)

    def to_html(self, path: str | Path | None = None, *, overwrite: bool = False) -> str:
        """Return a page with tables and plots that loads nothing, and write it to a file if one is named."""
        return write_text(_page(self), path, overwrite=overwrite)


def row_types() -> list[type[Row]]:
    """Return the types of rows of all kinds."""
    return [row_type for module in kind_modules() for row_type in module.COLUMNS]


def read_results(*paths: str | Path) -> Results:
    """Read rows from files that `--out` or `Results.to_json` wrote. See `read_rows` for errors."""
    return Results([row for path in paths for _, row in read_rows(path, row_types())])


def write_text(text: str, path: str | Path | None, *, overwrite: bool) -> str:
    """Write a text to a file if one is named, whole or not at all; return it. Raises OutputError."""
    if path is not None:
        write_whole(Path(path), text.encode(), overwrite=overwrite)
    return text


def _page(results: Results) -> str:
    """Make the page from the template `page.html.jinja`."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    css, js, template = (_package_text(name) for name in ("page.css", "page.js", "page.html.jinja"))
    return environment.from_string(template).render(
        css=css,
        js=js,
        results=results,
        machines=list({json.dumps(facts): facts for row in results for facts in [measured_on(row)]}.values()),
        sections=[
            {"module": module, "rows": rows, "plots": module.draw(rows, results) if hasattr(module, "draw") else []}
            for module, rows in results.sections()
        ],
        settings={row.kind: row.settings for row in results},
    )


def _package_text(name: str) -> str:
    return files("quietframe_bench").joinpath(name).read_text(encoding="utf-8")
