"""Report: rows that were measured before, of one file or several, shown and written again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from quietframe_bench import options
from quietframe_bench.results import Results, read_results


@click.command()
@click.argument("files", nargs=-1, required=True, type=options.FILE, metavar="FILE...")
@partial(options.output_options, measures=False)
def command(files: tuple[Path, ...]) -> Results:
    """Show the rows of FILE, which the option --out of any kind wrote; of several, all of them.

    With --html: one page of all kinds. Nothing is measured.
    """
    return read_results(*files)
