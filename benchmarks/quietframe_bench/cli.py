"""`quietframe bench`: a group of commands, one for each kind of measurement, imported when it is used."""

from __future__ import annotations

import importlib

import click

from quietframe.cli import ExtraCommand, LazyGroup

_NEEDS = ("psutil", "msgspec", "jinja2", "onnxruntime", "onnx", "scipy", "matplotlib")

COMMANDS = {
    "speed": "Measure the time of each stage of a frame.",
    "startup": "Measure the time from nothing to the first frame.",
    "live": "Measure the real-time loop behind a camera's pace.",
    "quality": "Measure PSNR and SSIM on images, pairs or videos.",
    "accuracy": "Measure how often classifiers are right.",
    "profile": "Measure each operator, and the machine's roofline.",
    "compare": "Compare two speed measurements.",
    "report": "Show, join and convert measured rows.",
}
"""Each is `command` in the module of its name in `quietframe_bench.kinds`."""


class _Kinds(ExtraCommand, LazyGroup):
    """The commands above; their modules are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"quietframe_bench.kinds.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Kinds, short_help="Measure speed, quality or start-up.", extra="bench", needs=_NEEDS)
def bench() -> None:
    """Measure models on this machine: speed, start-up, quality, accuracy and where the time goes.

    Without MODEL: all built-in models; where frames are needed, those that denoise frames of any size. A model that
    fails is a failed row and exit code 1.
    """
