"""Metrics of a model in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quietframe.card import Metric

_STYLES: Mapping[str, tuple[str, str, float]] = {
    "accuracy": ("accuracy %", ".2f", 100),
    "psnr_db": ("PSNR dB", ".2f", 1),
    "ssim": ("SSIM", ".4f", 1),
    "mse": ("MSE", ".5f", 1),
    "rmse": ("RMSE", ".4f", 1),
    "bce": ("BCE", ".4f", 1),
}
"""A measure's name and unit, and the format of its value times a factor."""

_IN_HEADLINE = ("accuracy", "psnr_db")


def by_set(metrics: Sequence[Metric]) -> dict[str, list[Metric]]:
    """Group metrics by the set that they were measured on, in their order."""
    return {name: [one for one in metrics if one.set == name] for name in dict.fromkeys(one.set for one in metrics)}


def metric_table(metrics: Sequence[Metric]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Return the columns and rows of a table of one set: a row for each noise, a column for each measure.

    The noisy images' own value stands before an arrow; what a file lost against Keras has a column of its own.
    """
    found = {(one.noise, one.measure): one for one in metrics}
    measures = list(dict.fromkeys(one.measure for one in metrics))
    compared = {one.measure for one in metrics if one.drop is not None}
    columns = ["noise"]
    for measure in measures:
        title = f">{_title(measure)}"
        columns += [title, f"{title} lost"] if measure in compared else [title]
    rows = []
    for noise in dict.fromkeys(one.noise for one in metrics):
        row = [noise or "all"]
        for measure in measures:
            cells = _cells(found.get((noise, measure)))
            row += cells if measure in compared else cells[:1]
        rows.append(row)
    return columns, rows


def headline(metrics: Sequence[Metric]) -> str:
    """Say in a few words what a model reaches: accuracy and PSNR, on a test set if there is one; "" if unmeasured."""
    sets = by_set(metrics)
    for name in sorted(sets, key=lambda name: "test" not in name.split()):
        parts = [_say(measure, sets[name]) for measure in _IN_HEADLINE]
        if any(parts):
            return f"{'; '.join(filter(None, parts))} ({name})"
    return ""


def _title(measure: str) -> str:
    return _STYLES[measure][0] if measure in _STYLES else measure


def _write(measure: str, value: float) -> str:
    """Format a value without its unit."""
    _, digits, factor = _STYLES.get(measure, ("", "g", 1))
    return format(value * factor, digits)


def _cells(metric: Metric | None) -> tuple[str, str]:
    if metric is None:
        return "", ""
    before, value, drop = (
        "" if number is None else _write(metric.measure, number) for number in (metric.noisy, metric.value, metric.drop)
    )
    return f"{before} → {value}" if before else value, drop


def _say(measure: str, metrics: Sequence[Metric]) -> str:
    """Write a measure's values under each noise, or their range if there are many; that over all where it is alone."""
    found = [one for one in metrics if one.measure == measure]
    found = [one for one in found if one.noise] or found
    if not found:
        return ""
    title, unit = _title(measure).rsplit(" ", 1)
    if len(found) <= 2:
        return f"{title} {', '.join(f'{_write(measure, one.value)} {unit} {one.noise}'.rstrip() for one in found)}"
    low, high = (_write(measure, pick(one.value for one in found)) for pick in (min, max))
    return f"{title} {low} to {high} {unit}, {len(found)} noises"
