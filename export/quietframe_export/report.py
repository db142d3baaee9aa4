"""An export's report as a table for people."""

from __future__ import annotations

from rich.table import Table

from quietframe_export.exporter import ExportReport, FileReport
from quietframe_export.graph import OUTLIER_RATIO

_UNITS = {"psnr_db": ("PSNR", "dB"), "accuracy_percent": ("accuracy", "%")}


def report_table(report: ExportReport) -> Table:
    """One row for each target."""
    units = {file.comparison.unit for file in report.files if file.comparison}
    measure, unit = _UNITS[next(iter(units), "psnr_db")]
    table = Table(title=f"{report.model}: exported files beside Keras, on {report.held_out_from}")
    table.add_column("target")
    for heading in ("size KiB", f"Keras {unit}", f"file {unit}", "drop", "max error", "float ops"):
        table.add_column(heading, justify="right")
    table.add_column("outcome")
    for file in report.files:
        table.add_row(*_row(file))
    table.caption = f"{measure}: means. Max error: furthest pixel or score from Keras, in 8-bit levels."
    return table


def test_table(report: ExportReport) -> Table | None:
    """The files on the test set beside Keras; None where there was none."""
    measured = [file for file in report.files if file.test]
    if not measured:
        return None
    table = Table(title=f"{report.model} on {report.test_set}, whole")
    table.add_column("figure")
    table.add_column("Keras", justify="right")
    for file in measured:
        table.add_column(file.target, justify="right")
    keras = report.keras_test or {}
    for name in measured[0].test or {}:
        values = [keras.get(name), *((file.test or {})[name] for file in measured)]
        table.add_row(name, *("" if value is None else f"{value:.4f}" for value in values))
    return table


def notes(report: ExportReport) -> list[str]:
    """What belongs below the table: calibration, and tensors that 8 bits may not hold."""
    lines = [f"calibrated with {report.calibrated_with}"] if report.calibrated_with else []
    if report.outliers:
        worst = report.outliers[0]
        lines.append(
            f"{len(report.outliers)} tensors span more than {OUTLIER_RATIO:g} standard deviations, "
            f"the widest {worst.name}: "
            f"[{worst.low:.2f}, {worst.high:.2f}], {worst.ratio:.0f} of them"
        )
    elif report.widest:
        lines.append(
            f"no tensor spans more than {OUTLIER_RATIO:g} standard deviations "
            f"(widest: {report.widest.name}, {report.widest.ratio:.0f})"
        )
    return lines


def _row(file: FileReport) -> tuple[str, ...]:
    if file.comparison is None:
        return file.target, "", "", "", "", "", "", f"{file.outcome}: {file.reason}"
    found = file.comparison
    return (
        file.target,
        f"{file.size_bytes / 1024:.0f}",
        f"{found.keras:.2f}",
        f"{found.file:.2f}",
        f"{found.drop:+.3f}",
        f"{found.max_error_255:.2f}".removesuffix(".00"),
        str(file.float_operations),
        file.outcome if file.outcome == "passed" else f"{file.outcome}: {file.reason}",
    )
