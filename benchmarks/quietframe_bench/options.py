"""Options that commands of `quietframe bench` share, how they are checked, and how a command ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.cpu import physical_cores
from quietframe.errors import UsageError
from quietframe_bench.results import check_target

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path)
Command = Callable[..., Any]


class ListOf(click.ParamType[Any]):
    """Values with commas between them."""

    def __init__(self, name: str, parse: Callable[[str], Any], example: str) -> None:
        self.name = name
        self._parse = parse
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Split a text at its commas."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            values = tuple(self._parse(part.strip()) for part in value.split(","))
        except ValueError:
            self.fail(f"Expected values such as {self._example}. Received: {value!r}", param, ctx)
        return tuple(dict.fromkeys(values))


def _size_wh(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    return _count(width), _count(height)


def _count(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _level(text: str) -> float:
    if not 0 <= (number := float(text)) <= 255:
        raise ValueError(text)
    return number


SIZES = ListOf("WxH,...", _size_wh, "640x480,1280x720")
COUNTS = ListOf("N,...", _count, "1,2")
LEVELS = ListOf("S,...", _level, "15,25,50")
NAMES = ListOf("NAME,...", str, "bilateral,NLM")


def number(
    flag: str, default: float, text: str, *, low: float = 0, high: float | None = None
) -> Callable[[Command], Command]:
    """Make an option that takes a number: whole where its default is."""
    kind: Any = click.IntRange if isinstance(default, int) else click.FloatRange
    return click.option(flag, type=kind(min=low, max=high), default=default, show_default=True, help=text)


def _only_one(_ctx: click.Context, param: click.Parameter, values: tuple[Any, ...]) -> Any:
    if len(values) != 1:
        raise click.BadParameter("this kind of measurement runs at one size", param=param)
    return values[0]


_SIZE: dict[str, Any] = {"type": SIZES, "default": "640x480", "show_default": True}
_CORES: dict[str, Any] = {"show_default": "physical cores", "help": "CPU threads."}

models_argument = click.argument("models", nargs=-1, metavar="[MODEL]...")
sizes_option = click.option("--size", "sizes_wh", **_SIZE, help="Frame sizes.")
threads_option = click.option("--threads", type=COUNTS, default=lambda: (physical_cores(),), **_CORES)
size_option = click.option("--size", "size_wh", **_SIZE, callback=_only_one, help="Frame size.")
thread_option = click.option("--threads", type=click.IntRange(min=1), default=physical_cores, **_CORES)
"""Sizes and numbers of threads: of a grid, and of kinds that run at one of each."""


def output_options(command: Command, *, html: bool = True, out: str = "rows with all samples as JSON Lines") -> Command:
    """Add the options that say where results go; the command returns them, and this prints and writes them.

    Everything that is wrong with a file is said before anything is measured.

    Args:
        command: returns `Results`, or what has the same methods.
        html: whether there is a page.
        out: what `--out` writes, in words.
    """
    options = [
        click.option("-o", "--out", type=FILE, metavar="FILE", help=f"Write {out}."),
        click.option("--csv", "csv_path", type=FILE, metavar="FILE", help="Write a table for spreadsheets."),
        click.option("--markdown", "markdown_path", type=FILE, metavar="FILE", help="Write tables for a document."),
        click.option("--html", "html_path", type=FILE, metavar="FILE", help="Write a page with tables and plots."),
        click.option("--overwrite", is_flag=True, help="Replace files that exist."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document in place of tables."),
    ]
    if not html:
        del options[3]

    @wraps(command)
    def run(*args: Any, overwrite: bool, as_json: bool, **kwargs: Any) -> int:
        files: dict[str, Path | None] = {
            "to_json": kwargs.pop("out"),
            **{f"to_{name}": kwargs.pop(f"{name}_path", None) for name in ("csv", "markdown", "html")},
        }
        read = [value.resolve() for value in kwargs.values() if isinstance(value, Path)]
        resumes = kwargs.get("resume", False)
        for method, path in files.items():
            if path and path.resolve() in read:
                raise UsageError(f"{path} would overwrite a file that is read: name another")
            if path:
                check_target(path, overwrite=overwrite or (resumes and method == "to_json"))
        if plot := kwargs.get("plot"):
            if plot.suffix.lower() != ".png":
                raise UsageError(f"{plot}: plots are PNG files: name one that ends in .png")
            check_target(plot, overwrite=overwrite)
        context = click.get_current_context()
        context.obj = {"out": files["to_json"], "html": files["to_html"]}
        results = command(*args, **kwargs)
        if as_json:
            click.echo(results.to_document())
        else:
            results.print()
        for method, path in files.items():
            if path:
                getattr(results, method)(path, overwrite=True)  # whether it may be replaced was checked before
                click.echo(f"wrote {path}", err=True)
        for message in results.messages():
            click.echo(message, err=True)
        failures = [] if context.info_name == "report" else results.failures  # of what was measured now
        for failure in failures:
            click.echo(f"failed: {' '.join(failure.split())}", err=True)
        return EXIT_FAILED if failures else EXIT_DONE

    made: Command = run
    for option in reversed(options):
        made = option(made)
    return made


def warn(text: str | None) -> None:
    """Say something on standard error, if there is anything to say."""
    if text:
        click.echo(f"quietframe: {text}", err=True)
