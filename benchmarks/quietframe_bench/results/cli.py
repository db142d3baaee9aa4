"""`quietframe results`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, ExtraCommand
from quietframe.errors import OutputError

if TYPE_CHECKING:
    from quietframe_bench.results.digits import OnStep
    from quietframe_bench.results.findings import Findings

_NEEDS = ("keras", "matplotlib", "onnxruntime", "psutil")


@click.command(cls=ExtraCommand, short_help="Write a page of results from run folders.", extra="all", needs=_NEEDS)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN|FOLDER]...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("docs/results.md"),
    show_default=True,
    help="The page; its pictures go into images/NAME beside it.",
)
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Where test images lie, if not where the training read them. More than once: more places.",
)
@click.option("--latency/--no-latency", default=True, help="Time the exported files.  [default: yes]")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write everything here too.")
def results(runs: tuple[Path, ...], out: Path, data: tuple[Path, ...], latency: bool, json_path: Path | None) -> int:
    """Write a page of tables and pictures from the folders of finished trainings.

    RUN is a run folder, FOLDER holds some; without any: runs. Figures come from the run folders; accuracies behind
    denoisers, robustness and latency are measured with the exported files. What is missing is said.
    """
    from quietframe_bench.report import write_json
    from quietframe_bench.results.page import check_page, write_page

    check_page(out)
    if json_path and not json_path.parent.is_dir():
        raise OutputError(f"{json_path}: no such folder: {json_path.parent}")
    paths = runs or (Path("runs"),)
    with _progress() as on_step:
        findings = _find(paths, out, data, latency=latency, on_step=on_step)
    write_page(out, findings)
    click.echo(str(out))
    if json_path:
        write_json(json_path, document(findings))
        click.echo(f"wrote {json_path}", err=True)
    failures = [f"{name}: {why}" for name, why in findings.found.unreadable.items()] + findings.measured.failures
    for failure in failures:
        click.echo(f"failed: {' '.join(failure.split())}", err=True)
    return EXIT_FAILED if failures else EXIT_DONE


def _find(paths: Sequence[Path], out: Path, data: Sequence[Path], *, latency: bool, on_step: OnStep) -> Findings:
    from quietframe_bench.results.test_sets import TestSets

    test_sets = TestSets(data)

    from quietframe_train.backend import load_backend

    load_backend()

    from quietframe.commit import describe_commit
    from quietframe_bench.machine import describe_machine, describe_versions
    from quietframe_bench.results.collect import collect
    from quietframe_bench.results.figures import draw_all
    from quietframe_bench.results.findings import Findings
    from quietframe_bench.results.measure import measure
    from quietframe_train.run_folder import now

    machine = describe_machine()
    found = collect(paths)
    measured = measure(found, test_sets, latency=latency, on_step=on_step)
    on_step("figures")
    images = draw_all(found.entries, measured, out.parent / "images" / out.stem)
    return Findings(
        found=found,
        measured=measured,
        images={name: path.relative_to(out.parent).as_posix() for name, path in images.items()},
        command=_command(paths, latency=latency),
        machine=machine,
        versions=describe_versions(),
        commit=describe_commit(),
        date=now(),
    )


def document(findings: Findings) -> dict[str, Any]:
    """Everything that the page is written from, for JSON."""
    measured, robustness = findings.measured, findings.measured.robustness
    return {
        "schema": 1,
        "kind": "results",
        "finished_utc": findings.date,
        "command": findings.command,
        "machine": dict(findings.machine),
        "versions": dict(findings.versions),
        "commit": findings.commit,
        "runs": [
            {
                "name": entry.name,
                "recipe": entry.recipe,
                "seed": entry.run.seed,
                "epochs": entry.run.epochs,
                "created": entry.run.created,
                "metrics": dict(entry.run.metrics),
                "files": [{**vars(file), "path": file.path and file.path.name} for file in entry.files],
                "export_note": entry.export_note,
            }
            for entry in findings.found.entries
        ],
        "readings": [
            {name: value for name, value in vars(reading).items() if name != "taken"} for reading in measured.readings
        ],
        "robustness": robustness
        and {
            **{name: getattr(robustness, name) for name in ("images", "classifier", "files")},
            "psnr_db": {str(name): _finite(values) for name, values in robustness.psnr_db.items()},
            "accuracy": {str(name): _finite(values) for name, values in robustness.accuracy.items()},
        },
        "confusions": {
            name: [{"title": c.title, "classes": list(c.classes), "counts": c.counts.tolist()} for c in confusions]
            for name, confusions in measured.confusions.items()
        },
        "means_of_few": [
            {"run": run, "noise": noise, **vars(found)} for (run, noise), found in measured.chances.items()
        ],
        "latency": measured.latency
        and {
            name: [{"file": row.model.name, **row.as_record()} for row in rows]
            for name, rows in measured.latency.items()
        },
        "absent": list(findings.found.absent),
        "unreadable": dict(findings.found.unreadable),
        "notes": measured.notes,
        "failures": measured.failures,
    }


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _command(paths: Sequence[Path], *, latency: bool) -> str:
    """The command line; of a path outside the working folder only the last part."""
    names = [path.name if path.is_absolute() else str(path) for path in paths]
    return " ".join(["quietframe results", *names, *([] if latency else ["--no-latency"])])


@contextmanager
def _progress() -> Iterator[OnStep]:
    """What is being measured, on standard error, on a terminal only."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status("") as status:
        yield status.update
