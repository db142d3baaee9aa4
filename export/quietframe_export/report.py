"""Format an export's report as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from quietframe_export.exporter import ExportReport, FileReport
from quietframe_export.graph import OUTLIER_RATIO
from quietframe_export.layers_figure import worst_by_layer

MAX_ROWS = 10
_UNITS = {"psnr_db": ("PSNR", "dB"), "accuracy_percent": ("accuracy", "%")}


def report_table(report: ExportReport) -> Table:
    """Build a table with one row per target and the figures of each task of the model."""
    units = list(dict.fromkeys(found.unit for file in report.files for found in file.comparisons))
    table = Table(title=f"{report.model}: exported files beside Keras, on {report.held_out_from}")
    figures = [heading for unit in units for heading in (f"Keras {_UNITS[unit][1]}", f"file {_UNITS[unit][1]}", "drop")]
    for heading in ("target", "size KiB", *figures, "max error", "RMS", "float ops", "outcome"):
        table.add_column(heading, justify="left" if heading in ("target", "outcome") else "right")
    for file in report.files:
        table.add_row(*_row(file, units))
    measures = " and ".join(_UNITS[unit][0] for unit in units) or "figures"
    table.caption = f"{measures}: means. Max error, RMS: of all pixels or scores from Keras, in 8-bit levels."
    return table


def checks_table(report: ExportReport) -> Table | None:
    """Build a table of a camera model's checks on flat, slowly changing and clean frames; None for other models."""
    measured = [file for file in report.files if file.checks]
    if not measured:
        return None
    table = Table(title=f"{report.model}: frames on which faults show, noise level estimated")
    for heading in ("check", "limit", "Keras", *(file.target for file in measured)):
        table.add_column(heading, justify="left" if heading == "check" else "right")
    for row in zip(report.keras_checks, *(file.checks for file in measured), strict=True):
        first = row[0]
        limit = f"{'≥' if first.at_least else '≤'} {first.limit:g}"
        table.add_row(first.name, limit, *(f"{check.value:.2f}{'' if check.passed else ' !'}" for check in row))
    table.caption = "!: beyond the limit."
    return table


def layers_table(file: FileReport) -> Table | None:
    """Build a table of the layers that 8 bits hurt most; None for a file that was not looked into."""
    worst = worst_by_layer(file)
    if not worst:
        return None
    in_float = {layer.name: layer for layer in file.float_layers}
    shown = [error for index, error in enumerate(worst) if index < MAX_ROWS or error.layer in in_float]
    table = Table(title=f"{file.target}: layers in int8, worst first ({len(shown)} of {len(worst)})")
    table.add_column("layer")
    headings = ("worst tensor dB", "alone, outputs dB", *(("in float: ms", "%", "KiB") if in_float else ()))
    for heading in headings:
        table.add_column(heading, justify="right")
    for error in shown:
        alone = "" if error.alone_db is None else f"{error.alone_db:.1f}"
        cells = [error.layer, f"{error.sqnr_db:.1f}", alone]
        if layer := in_float.get(error.layer):
            cells += [f"{layer.added_ms:+.2f}", f"{layer.added_percent:+.0f}", f"{layer.added_bytes / 1024:+.1f}"]
        table.add_row(*cells)
    table.caption = f"SQNR against the float model. Drawn in export-{file.target}.png; all tensors are in export.json."
    return table


def test_table(report: ExportReport) -> Table | None:
    """Build a table of the files and Keras on the test set; None without a test set."""
    measured = [file for file in report.files if file.test]
    if not measured:
        return None
    table = Table(title=f"{report.model} on {report.test_set}, {report.test_images} images")
    table.add_column("noise")
    table.add_column("measure")
    table.add_column("Keras", justify="right")
    for file in measured:
        part = "" if file.test_images == report.test_images else f"\n({file.test_images} images)"
        table.add_column(f"{file.target}{part}", justify="right")
    columns = [
        {(one.noise, one.measure): one.value for one in metrics or ()}
        for metrics in (report.keras_test, *(file.test for file in measured))
    ]
    for key in dict.fromkeys(key for column in columns[1:] for key in column):
        table.add_row(*key, *(f"{column[key]:.4f}" if key in column else "" for column in columns))
    return table


def notes(report: ExportReport) -> list[str]:
    """List the notes below the table: calibration, and tensors that 8 bits may not hold."""
    lines = [f"calibrated with {report.calibrated_with}"] if report.calibrated_with else []
    for file in report.files:
        if file.float_layers:
            names = ", ".join(layer.name for layer in file.float_layers)
            time = sum(layer.added_percent for layer in file.float_layers)
            lines.append(
                f"{file.target}: {len(file.float_layers)} of {file.layers} layers are in float ({time:+.0f} % time "
                f"beside int8 alone): {names}"
            )
        if file.operations:
            counts = (f"{count} {name}" for name, count in sorted(file.operations.items()))
            lines.append(f"{file.target} holds {', '.join(counts)}")
        if file.latency:
            lines.append(f"{file.target} takes {file.latency}")
        if file.try_next:
            lines.append(f"{file.target} failed; {file.try_next}")
    poor = next(
        (found for file in report.files for found in file.comparisons if found.keras < (found.noisy or 0)), None
    )
    if poor:
        lines.append(
            f"Keras itself makes these frames worse, {poor.noisy:.2f} to {poor.keras:.2f} dB: "
            "check value_range and colour in the card, which quietframe card MODEL writes"
        )
    if report.outliers:
        worst = report.outliers[0]
        lines.append(
            f"{len(report.outliers)} tensors span more than {OUTLIER_RATIO:g} standard deviations, "
            f"the widest {worst.name}: [{worst.low:.2f}, {worst.high:.2f}], {worst.ratio:.0f} of them"
        )
    elif report.widest:
        lines.append(
            f"no tensor spans more than {OUTLIER_RATIO:g} standard deviations "
            f"(widest: {report.widest.name}, {report.widest.ratio:.0f})"
        )
    return lines


def _row(file: FileReport, units: Sequence[str]) -> tuple[str, ...]:
    outcome = file.outcome if file.outcome == "passed" else f"{file.outcome}: {file.reason}"
    if not file.comparisons:
        return file.target, "", *[""] * (3 * len(units)), "", "", "", outcome
    figures = [
        text for found in file.comparisons for text in (f"{found.keras:.2f}", f"{found.file:.2f}", f"{found.drop:+.3f}")
    ]
    furthest = max(found.max_error_255 for found in file.comparisons)
    return (
        file.target,
        f"{file.size_bytes / 1024:.0f}",
        *figures,
        f"{furthest:.2f}".removesuffix(".00"),
        f"{max(found.rms_error_255 for found in file.comparisons):.2f}",
        str(file.float_operations),
        outcome,
    )
