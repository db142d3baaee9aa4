"""Columns and tables: one list of columns makes the terminal's table, CSV, Markdown and the page's HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from quietframe.cli.terminal import stdout_console


class Cell(NamedTuple):
    """A cell: its text for people, the value that is sorted and written to CSV, and whether it deserves a look."""

    text: str
    value: Any = None
    marked: bool = False


class Column:
    """A column of a table.

    Args:
        head: what stands above it for people.
        value: the value of a row, or the name of the attribute that holds it; None leaves the cell empty.
        digits: the format of a number for people, such as `.2f`; `%` formats scale by 100.
        name: what CSV calls it, with its unit [default: the attribute's name]; empty: not in CSV.
        marked: whether a row's cell deserves a look.
        scale: a number is multiplied by it for people, such as 1e-6 for MB.
        words: holds text, and is aligned to the left.
        shown: whether people see it; CSV holds all with a name.
    """

    def __init__(
        self,
        head: str,
        value: str | Callable[[Any], Any],
        digits: str = "",
        name: str | None = None,
        *,
        marked: Callable[[Any], bool] = lambda row: False,
        scale: float = 1.0,
        words: bool = False,
        shown: bool = True,
    ) -> None:
        self.head, self.digits, self.marked = head, digits, marked
        self.scale, self.words, self.shown = scale, words, shown
        self.value: Callable[[Any], Any] = attrgetter(value) if isinstance(value, str) else value
        self.name = name if name is not None else value if isinstance(value, str) else ""

    def cell(self, row: Any) -> Cell:
        """Make the cell of a row."""
        value, marked = self.value(row), self.marked(row)
        if value is None or value == "":
            return Cell("")
        text = str(value)
        if self.digits and not isinstance(value, str):
            text = format(value * self.scale, self.digits)
        return Cell(f"! {text}" if marked else text, value, marked)


@dataclass(frozen=True)
class Table:
    """A table to show.

    Attributes:
        title: what the figures are.
        columns, rows: what is shown.
        notes: sentences that stand below.
        details: whether the page shows it folded.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Any] = ()
    notes: Sequence[str] = ()
    details: bool = False

    @property
    def shown(self) -> list[Column]:
        """The columns that people see."""
        return [column for column in self.columns if column.shown]

    def cells(self) -> list[list[Cell]]:
        """Make the cells that people see, row by row; a failed row says so in its first empty cell."""
        made = []
        for row in self.rows:
            cells = [column.cell(row) for column in self.shown]
            if getattr(row, "error", None):
                empty = next((index for index, cell in enumerate(cells) if index and not cell.text), len(cells) - 1)
                cells[empty] = Cell("failed")
            made.append(cells)
        return made


def table_of_lines(title: str, heads: Sequence[str], lines: Sequence[Sequence[Any]], digits: str = "") -> Table:
    """Make a table of lines that hold a value for each head; `digits` is the format of the numbers."""
    return Table(title, [Column(head, itemgetter(index), digits) for index, head in enumerate(heads)], lines)


WHAT = (Column("model", "file"), Column("size", "size"), Column("threads", "threads"))
"""What a row with a model, a frame size and threads measured."""
CIRCUMSTANCES = (
    Column("sha256", "sha256"),
    Column("error", "error"),
    Column("finished", "finished_utc"),
    Column("cpu", lambda row: row.machine.get("cpu"), name="cpu"),
    Column("commit", lambda row: row.commit and row.commit.sha, name="commit"),
    Column("dirty", lambda row: row.commit and row.commit.dirty, name="dirty"),
)
"""What CSV holds of every kind of row."""


def print_tables(tables: Iterable[Table]) -> None:
    """Print tables to standard output."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    console = stdout_console()
    for table in tables:
        if table.rows:
            style: Any = {"box": box.SIMPLE_HEAD, "pad_edge": False, "collapse_padding": True}
            made = RichTable(title=Text(table.title), title_justify="left", **style)
            for index, column in enumerate(table.shown):
                justify: Any = "right" if index and not column.words else "left"
                made.add_column(Text(column.head), justify=justify, overflow="fold")
            for cells in table.cells():
                made.add_row(*(Text(cell.text) for cell in cells))
            console.print(made)
        for note in table.notes:
            console.print(f"- {note}")


def to_markdown(tables: Iterable[Table]) -> str:
    """Return tables as Markdown."""
    parts = []
    for table in tables:
        if table.rows:
            lines = [[column.head for column in table.shown]]
            lines += [[cell.text for cell in cells] for cells in table.cells()]
            texts = ["| " + " | ".join(map(_escape, line)) + " |" for line in lines]
            rules = ["---" if column.words or not index else "---:" for index, column in enumerate(table.shown)]
            texts.insert(1, f"|{'|'.join(rules)}|")
            parts += [" ".join(table.title.split()), "\n".join(texts)]
        if table.notes:
            parts.append("\n".join(f"- {note}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def to_csv(rows: Iterable[tuple[Sequence[Column], Any]]) -> str:
    """Return rows, each with its columns, as CSV: all columns with a name, numbers unrounded."""
    found = ({column.name: column.value(row) for column in columns if column.name} for columns, row in rows)
    records = list(filter(None, found))
    out = io.StringIO()
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue()


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
