"""`--ray` of the commands `denoise` and `classify`: an archive on this machine's processes, or on a cluster's."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.cli.terminal import json_line, progress_bar, say
from quietframe.errors import OutputError, UsageError

if TYPE_CHECKING:
    from quietframe.archive import Summary

RAY = click.option(
    "--ray",
    is_flag=False,
    flag_value="local",
    metavar="[ADDRESS]",
    help="Work on an archive by Ray Data: local processes, the cluster of this machine (auto), or one at HOST:PORT.  "
    "[without an address: local]",
)
WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="With --ray: processes.  [default: all cores]"
)

_NOT_FOR_ARCHIVES = [
    "show",
    "serve",
    "token",
    "live",
    "every_frame",
    "fps",
    "timeout_s",
    "stats_file",
    "max_frames",
    "input_fps",
    "drop_frames",
]


def denoise_by_ray(
    source: str,
    others: Sequence[str],
    outs: Sequence[str],
    model: str | None,
    ray: str,
    workers: int | None,
    settings: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Run `denoise --ray`. Returns the exit code."""
    context = click.get_current_context()
    for name in _NOT_FOR_ARCHIVES:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flags = {param.name: param.opts[0] for param in context.command.params}
            raise UsageError(f"{flags[name]} is not for --ray")
    if others:
        raise UsageError(f"expected one SOURCE, received {1 + len(others)}: list them in a file (NAME.txt)")
    if len(outs) != 1 or outs[0] == "-":
        raise OutputError("--ray needs one folder or address for the results (-o OUT)")
    from quietframe.archive import denoise_archive
    from quietframe.descriptors import suppress_native_output
    from quietframe.pipeline import PipelineConfig
    from quietframe.sources.address import as_shown

    config = PipelineConfig(**settings)
    with suppress_native_output(), _progress("denoising") as on_progress:
        summary = denoise_archive(source, outs[0], model, config, ray=ray, workers=workers, on_progress=on_progress)
    return _report(as_shown(source), summary, as_json=as_json)


def classify_by_ray(
    sources: Sequence[str],
    out: str | None,
    ray: str,
    workers: int | None,
    settings: Mapping[str, Any],
    *,
    as_json: bool,
) -> int:
    """Run `classify --ray`. Returns the exit code."""
    if len(sources) != 1:
        raise UsageError(f"expected one SOURCE, received {len(sources)}: list them in a file (NAME.txt)")
    if out is None:
        raise OutputError("--ray needs a Parquet file for the labels (-o FILE.parquet)")
    from quietframe.archive import classify_archive
    from quietframe.descriptors import suppress_native_output
    from quietframe.sources.address import as_shown

    with suppress_native_output(), _progress("classifying") as on_progress:
        summary = classify_archive(sources[0], out, ray=ray, workers=workers, on_progress=on_progress, **settings)
    return _report(as_shown(sources[0]), summary, as_json=as_json)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal. What Ray prints of workers that died is left out: what they cost is reported."""
    with contextlib.redirect_stdout(io.StringIO()):
        if not (sys.stderr and sys.stderr.isatty()):
            yield lambda _done, _total: None
            return
        from rich.console import Console

        with progress_bar(Console(file=sys.stderr)) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def _report(source: str, summary: Summary, *, as_json: bool) -> int:
    for failure in summary.failures[:_SHOWN]:
        say(f"error: {failure['error']}")
    if len(summary.failures) > _SHOWN:
        say(f"and {len(summary.failures) - _SHOWN} more errors")
    say(_sentence(summary))
    if as_json:
        click.echo(json_line({"source": source, **asdict(summary)}))
    return EXIT_FAILED if summary.failures else EXIT_DONE


_SHOWN = 20
"""So many errors are printed; the file has all."""


def _sentence(summary: Summary) -> str:
    parts = [f"{summary.files:,} files ({summary.frames:,} frames)"]
    if summary.failures:
        parts.append(f"{len(summary.failures):,} failed: {summary.failures_file}")
    if summary.skipped:
        parts.append(f"{summary.skipped:,} existed already")
    workers = f"{summary.workers} worker{'s' if summary.workers > 1 else ''}"
    return f"{', '.join(parts)}; {summary.wall_s:.1f} s on {workers}; written to {summary.output}"
