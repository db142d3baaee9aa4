"""`quietframe compare`: what two runs of `quietframe bench` say of each other."""

from __future__ import annotations

from pathlib import Path

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, ExtraCommand
from quietframe.errors import OutputError, UsageError


@click.command(cls=ExtraCommand, short_help="Compare two speed measurements.", extra="bench", needs=("psutil", "scipy"))
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--fail-above",
    type=float,
    metavar="RATIO",
    help="Exit with 1 if NEW takes more than RATIO times as long as OLD and the interval lies above 1; where the "
    "interval reaches down to 1 the row is called unsure, and does not fail.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write everything here too.")
def compare(old: Path, new: Path, fail_above: float | None, json_path: Path | None) -> int:
    """Compare two files of `quietframe bench --json`: how much longer NEW takes than OLD, row by row.

    Rows belong together if model, precision, engine, size and threads are the same. The ratio is of the median times
    of a frame. Its 95 % interval, found by resampling whole rounds, tells what chance does within these two runs; what
    lasts through a whole run, such as a slower clock, is not in it. A row that failed in NEW alone is exit code 1.
    """
    from quietframe_bench.compare import compare_files, write_document
    from quietframe_bench.compare_report import compare_table, messages
    from quietframe_bench.report import print_results

    if json_path:
        if not json_path.parent.is_dir():
            raise OutputError(f"{json_path}: no such folder: {json_path.parent}")
        if json_path.resolve() in (old.resolve(), new.resolve()):
            raise UsageError(f"--json {json_path} would overwrite a file that is compared: name another")
    comparison = compare_files(old, new, fail_above=fail_above)
    print_results(*compare_table(comparison))
    if json_path:
        write_document(json_path, comparison)
        click.echo(f"wrote {json_path}", err=True)
    for message in messages(comparison):
        click.echo(message, err=True)
    return EXIT_FAILED if comparison.failed else EXIT_DONE
