"""HTML tables that can be sorted."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: as it is shown.
        value: what it is sorted by; None: the text.
        marked: whether it deserves a look.
        words: whether it holds a sentence, and is set left.
    """

    text: str
    value: float | None = None
    marked: bool = False
    words: bool = False


def number(value: float | None, digits: str, *, marked: bool = False) -> Cell:
    """A cell with a number; empty if there is none."""
    return Cell("", None) if value is None else Cell(format(value, digits), value, marked)


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Cell | str]]) -> str:
    """A table with a caption; each head sorts its column."""
    heads = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell | str) -> str:
    if isinstance(cell, str):
        cell = Cell(cell)
    classes = " ".join(name for name, is_so in (("mark", cell.marked), ("words", cell.words)) if is_so)
    of_class = f' class="{classes}"' if classes else ""
    value = "" if cell.value is None else f' data-value="{cell.value!r}"'
    return f"<td{of_class}{value}>{escape(cell.text)}</td>"
