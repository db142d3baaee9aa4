"""Options that commands of `quietframe bench` share, how they are checked, and how a command ends."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.cli.terminal import progress_bar
from quietframe.cpu import physical_cores
from quietframe.errors import OutputError, UsageError
from quietframe.images import write_whole
from quietframe.sinks.base import check_targets
from quietframe_bench.machine import describe_machine, is_busy
from quietframe_bench.plan import find_models

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path)
Command = Callable[..., Any]


class ListOf(click.ParamType[Any]):
    """Values with commas between them. See `list_option`."""

    def __init__(self, name: str, parse: Callable[[str], Any], example: str) -> None:
        self.name = name
        self._parse = parse
        self._example = example

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> list[Any]:
        """Split a text at its commas."""
        try:
            return [self._parse(part.strip()) for part in value.split(",")]
        except ValueError:
            self.fail(f"Expected values such as {self._example}. Received: {value!r}", param, ctx)


def list_option(*names: str, kind: ListOf, one: bool = False, **more: Any) -> Callable[[Command], Command]:
    """Make an option that takes a list with commas; given several times, it takes the values of all.

    one: of kinds that run at one value; the command gets it in place of a tuple.
    """

    def join(_ctx: click.Context, param: click.Parameter, lists: Sequence[Sequence[Any]]) -> Any:
        values = tuple(dict.fromkeys(chain.from_iterable(lists)))
        if one and len(values) != 1:
            raise click.BadParameter("this kind of measurement runs at one", param=param)
        return values[0] if one else values or None

    metavar = kind.name.removesuffix(",...") if one else kind.name
    return click.option(*names, type=kind, multiple=True, callback=join, metavar=metavar, **more)


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


LEVELS = ListOf("S,...", _level, "15,25,50")
NAMES = ListOf("NAME,...", str, "bilateral,NLM")


def number(
    flag: str, default: float, text: str, *, low: float = 0, high: float | None = None
) -> Callable[[Command], Command]:
    """Make an option that takes a number: whole where its default is."""
    kind: Any = click.IntRange if isinstance(default, int) else click.FloatRange
    return click.option(flag, type=kind(min=low, max=high), default=default, show_default=True, help=text)


_SIZE: dict[str, Any] = {
    "kind": ListOf("WxH,...", _size_wh, "640x480,1280x720"), "default": ["640x480"], "show_default": True
}  # fmt: skip
_THREADS: dict[str, Any] = {
    "kind": ListOf("N,...", _count, "1,2"), "default": lambda: [str(physical_cores())], "show_default": "physical cores"
}  # fmt: skip

models_argument = click.argument("models", nargs=-1, metavar="[MODEL]...")
sizes_option = list_option("--size", "sizes_wh", **_SIZE, help="Frame sizes.")
threads_option = list_option("--threads", **_THREADS, help="CPU threads.")
size_option = list_option("--size", "size_wh", one=True, **_SIZE, help="Frame size.")
thread_option = list_option("--threads", one=True, **_THREADS, help="CPU threads.")
"""Sizes and numbers of threads: of a grid, and of kinds that run at one of each."""


def reject(ctx: click.Context, names: Iterable[str], why: str) -> None:
    """Raise UsageError for the first of the named options that was given on the command line: it would be ignored."""
    for param in ctx.command.params:
        if param.name in names and ctx.get_parameter_source(param.name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"{param.opts[0]} {why}")


def output_options(
    command: Command,
    *,
    measures: bool = True,
    plot: tuple[str, Callable[[Any], Any]] | None = None,
) -> Command:
    """Add the options that say where results go; the command returns them, and this prints and writes them.

    Everything that is wrong with a file is said before anything is measured.

    Args:
        command: returns `Results`.
        measures: whether it takes `on_step`, which moves a progress bar on standard error, on a terminal only.
        plot: the help of `--plot`, and what makes the figure of the results, or None where there is nothing to draw.
    """
    files = {
        "out": "Write rows with all samples as JSON Lines.",
        "csv": "Write a table for spreadsheets.",
        "markdown": "Write tables for a document.",
        "html": "Write a page with tables and plots.",
    }
    options = [
        click.option(*["-o"] * (name == "out"), f"--{name}", f"{name}_path", type=FILE, metavar="FILE", help=text)
        for name, text in files.items()
    ]
    if plot:
        options.append(click.option("--plot", "plot_path", type=FILE, metavar="PNG", help=plot[0]))
    options += [
        click.option("--overwrite", is_flag=True, help="Replace files that exist."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document in place of tables."),
    ]

    @wraps(command)
    def run(*args: Any, overwrite: bool, as_json: bool, **kwargs: Any) -> int:
        targets = {name: path for name in [*files, "plot"] if (path := kwargs.pop(f"{name}_path", None))}
        _check(targets, kwargs, overwrite=overwrite)
        context = click.get_current_context()
        context.obj = targets
        with progress_bar(Console(stderr=True)) as progress:
            bar = progress.add_task("", visible=measures)
            if measures:
                kwargs["on_step"] = lambda text, step, steps: progress.update(
                    bar, description=text, completed=step, total=steps
                )
            results = command(*args, **kwargs)
        if as_json:
            click.echo(results.to_document())
        else:
            results.print()
        failures = [] if context.info_name == "report" else list(results.failures)  # of what was measured now
        for name, path in targets.items():
            if name != "plot":  # whether a file may be replaced was checked before
                getattr(results, f"to_{'json' if name == 'out' else name}")(path, overwrite=True)
            elif plot and (figure := plot[1](results)):
                write_png(figure, path)
            else:
                failures.append(f"{path}: there is nothing to draw")
                continue
            click.echo(f"wrote {path}", err=True)
        for message in results.messages():
            click.echo(message, err=True)
        for failure in failures:
            click.echo(f"failed: {' '.join(failure.split())}", err=True)
        return EXIT_FAILED if failures else EXIT_DONE

    made: Command = run
    for option in reversed(options):
        made = option(made)
    return made


def _check(targets: Mapping[str, Path], arguments: Mapping[str, Any], *, overwrite: bool) -> None:
    """Raise OutputError or UsageError for files that cannot be written, or would replace what is read."""
    groups = [value if isinstance(value, tuple) else (value,) for value in arguments.values()]
    read = [path for group in groups for path in group if isinstance(path, Path) and path.exists()]
    for name, path in targets.items():
        if not path.parent.is_dir():
            raise OutputError(f"{path}: no such folder: {path.parent}")
        if name == "plot" and path.suffix.lower() != ".png":
            raise UsageError(f"{path}: plots are PNG files: name one that ends in .png")
        resumes = name == "out" and arguments.get("resume", False)
        check_targets([path], read, overwrite=overwrite or resumes)


def write_png(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib as PNG. Raises OutputError if the file cannot be written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())


def warn(text: str) -> None:
    """Say something on standard error."""
    click.echo(f"quietframe: {text}", err=True)


def warn_if_busy(models: Sequence[str]) -> None:
    """Say where this machine has so much else to do that times come out too long; first, which model there is not."""
    find_models(models)
    if is_busy(machine := describe_machine()):
        warn(f"the machine is busy (load {machine['load_1min']}): times will be too long")
