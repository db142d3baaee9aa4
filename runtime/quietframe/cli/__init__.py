"""The command line: a thin layer over the Python API.

A module with a command imports neither NumPy nor OpenCV at its top, so that `quietframe --help` is quick; what the
command needs is imported when it runs.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import click

from quietframe import __version__
from quietframe.cli.ends import exit_code, has_come, interruptible, leave_threads
from quietframe.cli.terminal import json_line, say
from quietframe.errors import MissingExtraError, QuietFrameError

EXIT_DONE, EXIT_FAILED, EXIT_USER_ERROR = 0, 1, 2

_COMMANDS = {
    "denoise": "quietframe.cli.denoise:denoise",
    "serve": "quietframe.cli.serve:serve",
    "classify": "quietframe.cli.classify:classify",
    "models": "quietframe.cli.models:models",
    "info": "quietframe.cli.models:info",
    "calibrate": "quietframe.cli.calibrate:calibrate",
    "doctor": "quietframe.cli.doctor:doctor",
    "demo": "quietframe.cli.demo:demo",
}
_ENTRY_POINTS = "quietframe.commands"


def _open_all_the_same(_context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        from quietframe.engines.trial import SWITCH

        os.environ[SWITCH] = "0"  # for the processes that the command starts, too


NO_ISOLATE = click.option(
    "--no-isolate",
    is_flag=True,
    expose_value=False,
    callback=_open_all_the_same,
    help="Open a model file of others without running it in a process of its own first.",
)
"""An option for commands that open model files."""


class ExtraCommand(click.Command):
    """A command that needs an extra: without it, `--help` still shows it and running it names the install.

    Args:
        extra: the extra's name in pyproject.toml.
        needs: top-level modules that the extra brings.
    """

    def __init__(self, *args: Any, extra: str, needs: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.extra = extra
        self.missing = [module for module in needs if importlib.util.find_spec(module) is None]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or raise MissingExtraError."""
        if self.missing:
            raise MissingExtraError(self.missing[0], self.extra)
        return super().invoke(ctx)

    def get_short_help_str(self, limit: int = 45) -> str:
        """One line for the list of commands."""
        text = super().get_short_help_str(limit)
        return f"{text} (needs: pip install 'quietframe[{self.extra}]')" if self.missing else text


class LazyGroup(click.Group):
    """Commands that are imported when they are used. A name that is nearly one of them is answered with that one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command. Raises click.UsageError."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            if near := difflib.get_close_matches(args[0], self.list_commands(ctx), n=1):
                raise click.UsageError(f"{exc.message} Did you mean {near[0]!r}?", ctx) from exc
            raise


class _Commands(LazyGroup):
    """Commands of this package, by the table above, and of the other rooms, by entry point; loaded when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        others = {point.name for point in entry_points(group=_ENTRY_POINTS)}
        return [*_COMMANDS, *sorted(others - _COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if target := _COMMANDS.get(cmd_name):
            module, _, name = target.partition(":")
            command = getattr(importlib.import_module(module), name)
        else:
            found = entry_points(group=_ENTRY_POINTS, name=cmd_name)
            if not found:
                return None
            command = next(iter(found)).load()
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="quietframe")
def cli() -> None:
    """Clean noisy camera frames in real time, on small computers."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    0: done; 1: finished, but something failed; 2: the input was wrong; 128 and the number of a signal that ended it.
    """
    try:
        with interruptible():
            code = _run(args)
    except KeyboardInterrupt:  # as the signals got their handlers back
        code = exit_code()
    sys.exit(code if isinstance(code, int) else EXIT_DONE)


def _run(args: Sequence[str] | None) -> Any:
    try:
        code = _command(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        return EXIT_FAILED
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) or exc.filename is not None:
            raise
        say(f"error: standard output cannot be written ({exc.strerror})")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where its buffer goes at the end
        return EXIT_FAILED
    except BaseException as exc:
        # What is imported while a signal comes may make another error of it.
        if not has_come() and not isinstance(exc, click.Abort):
            raise
        say("interrupted")
        code = exit_code()
        leave_threads(code)
        return code


def _command(args: Sequence[str] | None) -> Any:
    """Run the command line and return its exit code. An error of its user is one line, with `--json` also JSON."""
    try:
        return cli.main(args=args, prog_name="quietframe", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
    except (click.ClickException, QuietFrameError) as exc:
        text = " ".join((exc.format_message() if isinstance(exc, click.ClickException) else str(exc)).split())
        hint = f" (see {exc.ctx.command_path} --help)" if isinstance(exc, click.UsageError) and exc.ctx else ""
        say(f"error: {text}{hint}")
        if "--json" in (sys.argv[1:] if args is None else args):
            click.echo(json_line({"error": text}))
    return EXIT_USER_ERROR
