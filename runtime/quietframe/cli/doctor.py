"""`quietframe doctor`: what this machine is, what is installed, what is missing, and how to fix it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED
from quietframe.cli.terminal import json_line, print_table
from quietframe.descriptors import suppress_native_output

if TYPE_CHECKING:
    from quietframe.doctor import Machine


@click.command(short_help="Check this machine and the installation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: versions, machine, cameras, findings, works.")
def doctor(as_json: bool) -> int:
    """Check this machine and the installation; exit 1 if QuietFrame cannot run."""
    from quietframe.doctor import examine

    with suppress_native_output():
        report = examine()
    if as_json:
        click.echo(json_line(asdict(report) | {"works": report.works}, indent=1))
    else:
        click.echo(f"QuietFrame {report.versions['quietframe']}\n{_describe(report.machine)}")
        rows = [(finding.topic, finding.status, finding.found, finding.remedy) for finding in report.findings]
        print_table(("", "", "found", "what to do"), rows)
        click.echo("QuietFrame runs here." if report.works else "QuietFrame does not run here: see `wrong` above.")
    return EXIT_DONE if report.works else EXIT_FAILED


def _describe(machine: Machine) -> str:
    threads = f"{machine.physical_cores} physical, {machine.logical_cores} logical"
    lines = [machine.system, f"{machine.cpu or 'unknown processor'}; cores: {threads}"]
    if machine.cpu_features:
        lines.append(f"features: {' '.join(machine.cpu_features)}")
    if machine.memory_mb is not None:
        lines.append(f"memory: {machine.memory_mb} MB, {machine.memory_available_mb} MB available")
    return "\n".join(lines)
