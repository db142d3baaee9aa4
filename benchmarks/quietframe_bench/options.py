"""Options that commands of `quietframe bench` share, and how a command ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.errors import UsageError

if TYPE_CHECKING:
    from quietframe_bench.results import Results

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
SIZE = ListOf("WxH", _size_wh, "640x480")
COUNTS = ListOf("N,...", _count, "1,2")
LEVELS = ListOf("S,...", _level, "15,25,50")
NAMES = ListOf("NAME,...", str, "bilateral,NLM")


def models_argument(command: Command) -> Command:
    """Add the argument MODEL, any number of times."""
    return click.argument("models", nargs=-1, metavar="[MODEL]...")(command)


def sizes_option(command: Command) -> Command:
    """Add `--size` with several sizes."""
    return click.option("--size", "sizes_wh", type=SIZES, default="640x480", show_default=True, help="Frame sizes.")(
        command
    )


def threads_option(command: Command) -> Command:
    """Add `--threads` with several counts."""
    return click.option("--threads", type=COUNTS, help="CPU threads.  [default: as many as physical cores]")(command)


def one_size_options(command: Command) -> Command:
    """Add `--size` and `--threads` for kinds that run at one of each."""
    command = click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: physical cores]")(
        command
    )
    option = click.option(
        "--size", "size_wh", type=SIZE, default="640x480", show_default=True, callback=_only_one, help="Frame size."
    )
    made: Command = option(command)
    return made


def _only_one(_ctx: click.Context, param: click.Parameter, values: tuple[Any, ...]) -> Any:
    if len(values) != 1:
        raise click.BadParameter("this kind of measurement runs at one size", param=param)
    return values[0]


def output_options(command: Command) -> Command:
    """Add the options that say where results go; the command returns `Results`, and this prints and writes them.

    Everything that is wrong with a file is said before anything is measured.
    """
    options = (
        click.option("-o", "--out", type=FILE, metavar="FILE", help="Write rows with all samples as JSON Lines."),
        click.option("--csv", "csv_path", type=FILE, metavar="FILE", help="Write a table for spreadsheets."),
        click.option("--markdown", "markdown_path", type=FILE, metavar="FILE", help="Write tables for a document."),
        click.option("--html", "html_path", type=FILE, metavar="FILE", help="Write a page with tables and plots."),
        click.option("--overwrite", is_flag=True, help="Replace files that exist."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document in place of tables."),
    )

    @wraps(command)
    def run(*args: Any, overwrite: bool, as_json: bool, **kwargs: Any) -> int:
        from quietframe_bench.results import check_target

        files: dict[str, Path | None] = {
            "to_json": kwargs.pop("out"),
            **{f"to_{name}": kwargs.pop(f"{name}_path") for name in ("csv", "markdown", "html")},
        }
        resumes = kwargs.get("resume", False)
        for method, path in files.items():
            if path:
                check_target(path, overwrite=overwrite or (resumes and method == "to_json"))
        if kwargs.get("plot"):
            check_plot(kwargs["plot"], overwrite=overwrite)
        context = click.get_current_context()
        context.obj = {"out": files["to_json"], "html": files["to_html"], "overwrite": overwrite or resumes}
        results = command(*args, **kwargs)
        return finish(results, files, as_json=as_json, measured=context.info_name != "report")

    made: Command = run
    for option in reversed(options):
        made = option(made)
    return made


def finish(results: Results, files: Mapping[str, Path | None], *, as_json: bool, measured: bool) -> int:
    """Print and write results; return the exit code: 1 if anything failed, of what was measured now."""
    if as_json:
        click.echo(results.to_document())
    else:
        results.print()
    for method, path in files.items():
        if path:
            getattr(results, method)(path, overwrite=True)  # whether it may be replaced was checked before
            click.echo(f"wrote {path}", err=True)
    failures = results.failures if measured else []
    for failure in failures:
        click.echo(f"failed: {' '.join(failure.split())}", err=True)
    return EXIT_FAILED if failures else EXIT_DONE


def check_plot(path: Path, *, overwrite: bool) -> None:
    """Say what is wrong with a plot now, not after minutes of measuring."""
    from quietframe_bench.results import check_target

    if path.suffix.lower() != ".png":
        raise UsageError(f"{path}: plots are PNG files: name one that ends in .png")
    check_target(path, overwrite=overwrite)


def warn(text: str | None) -> None:
    """Say something on standard error, if there is anything to say."""
    if text:
        click.echo(f"quietframe: {text}", err=True)
