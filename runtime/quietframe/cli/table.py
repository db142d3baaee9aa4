"""Tables on the terminal. Rich is imported when one is printed."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH_OF_A_PIPE = 400
"""Columns where the output is no terminal: a reader of a pipe can scroll, and a folded cell cannot be searched."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table to stdout. A column whose name starts with `>` is aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_OF_A_PIPE
    console.print(table)
