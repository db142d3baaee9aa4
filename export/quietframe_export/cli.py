"""`quietframe export`: a thin layer over `export_model`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quietframe.cli import EXIT_DONE, EXIT_FAILED, ExtraCommand
from quietframe.errors import UsageError

if TYPE_CHECKING:
    from quietframe_export.exporter import ExportReport


@click.command(
    cls=ExtraCommand,
    short_help="Convert a trained model and verify the files.",
    extra="export",
    needs=("tensorflow", "keras", "onnx", "tf2onnx", "onnxruntime", "matplotlib"),
)
@click.argument("model", type=click.Path(path_type=Path), metavar="RUN_OR_KERAS")
@click.option(
    "--to", default="tflite-int8,onnx-fp32", show_default=True, metavar="TARGETS", help="Comma-separated, or all."
)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), help="Folder for the files [default: beside the model, export/]."
)
@click.option("--data", type=click.Path(path_type=Path), help="Where a run's data are now, if they moved.")
@click.option("--calibrate", type=click.Path(path_type=Path), metavar="FOLDER", help="Calibrate with these images.")
@click.option(
    "--card", type=click.Path(path_type=Path), metavar="FILE", help="The card of a .keras file that is not ours."
)
@click.option(
    "--noise-sigma", default=25.0, show_default=True, help="With --card: noise level to verify a denoiser with, of 255."
)
@click.option(
    "--max-psnr-drop",
    type=float,
    metavar="DB",
    help="The gate of denoisers, at each noise level.  [default: 0.12 for camera models, else 0.3]",
)
@click.option("--max-accuracy-drop", default=0.5, show_default=True, metavar="POINTS", help="The gate of classifiers.")
@click.option(
    "--checks/--no-checks",
    "hold_to_checks",
    default=True,
    help="Enforce limits on flat, slowly changing and clean frames.  [default: yes]",
)
@click.option(
    "--weight-bits",
    default=24,
    show_default=True,
    help="Significant bits that weights of onnx-fp32 keep: with 9 it is half as large in an archive.",
)
@click.option("--overwrite", is_flag=True, help="Replace files of the same names.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def export(
    model: Path,
    to: str,
    out: Path | None,
    data: Path | None,
    calibrate: Path | None,
    card: Path | None,
    noise_sigma: float,
    max_psnr_drop: float | None,
    max_accuracy_drop: float,
    hold_to_checks: bool,
    weight_bits: int,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Convert a trained model to TFLite and ONNX, and verify each file against Keras.

    RUN_OR_KERAS is the folder of a training, or any .keras file with --card and --calibrate. Files that drop
    further than the gate are not kept, and the exit code is 1.
    """
    from quietframe_export.formats import parse_targets

    targets = parse_targets(to)
    for name, value in (("--max-psnr-drop", max_psnr_drop), ("--max-accuracy-drop", max_accuracy_drop)):
        if value is not None and not value >= 0:
            raise UsageError(f"Expected {name} of at least 0. Received: {value}")
    if not model.exists():
        raise UsageError(f"{model}: no such run folder or .keras file")
    if card is None and model.is_file() and (model.parent / "recipe.json").is_file():
        model = model.parent  # the model.keras of a run: the run knows more
    if model.is_file() and (card is None or calibrate is None):
        raise UsageError(f"{model}: a .keras file outside a run folder needs --card FILE and --calibrate FOLDER")
    if model.is_dir() and card is not None:
        raise UsageError("--card is for .keras files: a run folder has its own")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from quietframe_export.quiet import suppress_native_output

    with suppress_native_output() as say:
        from quietframe.card import read_card_file
        from quietframe_export.exporter import export_model
        from quietframe_export.subject import subject_from_keras, subject_from_run

        say("loading the model and its data")
        if card is None or calibrate is None:
            subject = subject_from_run(model, data=data, calibrate=calibrate)
        else:
            subject = subject_from_keras(model, read_card_file(card), calibrate=calibrate, noise_sigma_255=noise_sigma)
        report = export_model(
            subject,
            targets,
            out or (model if model.is_dir() else model.parent) / "export",
            max_psnr_drop_db=max_psnr_drop,
            max_accuracy_drop_percent=max_accuracy_drop,
            hold_to_checks=hold_to_checks,
            weight_bits=weight_bits,
            overwrite=overwrite,
            progress=say,
        )
    _print(report, as_json=as_json)
    return EXIT_DONE if report.passed else EXIT_FAILED


def _print(report: ExportReport, *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from rich.console import Console

    from quietframe_export.report import checks_table, notes, report_table, test_table

    if as_json:
        click.echo(json.dumps(asdict(report), indent=1))
        return
    console = Console(width=None if os.isatty(1) else 160)
    for table in filter(None, (report_table(report), checks_table(report), test_table(report))):
        console.print(table)
    for line in notes(report):
        click.echo(line, err=True)
