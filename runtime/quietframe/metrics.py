"""Metrics of a model in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quietframe.card import Metric


@dataclass(frozen=True)
class _Style:
    """How the values of a measure are written.

    Attributes:
        title: the measure's name and unit.
        digits: a format of the value times `factor`.
    """

    title: str
    digits: str
    factor: float = 1.0

    def write(self, value: float) -> str:
        """Format a value without its unit."""
        return format(value * self.factor, self.digits)


_STYLES: Mapping[str, _Style] = {
    "accuracy": _Style("accuracy %", ".2f", factor=100),
    "psnr_db": _Style("PSNR dB", ".2f"),
    "ssim": _Style("SSIM", ".4f"),
    "mse": _Style("MSE", ".5f"),
    "rmse": _Style("RMSE", ".4f"),
    "bce": _Style("BCE", ".4f"),
}
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
        title = f">{_style(measure).title}"
        columns += [title, f"{title} lost"] if measure in compared else [title]
    rows = []
    for noise in dict.fromkeys(one.noise for one in metrics):
        row = [noise or "all"]
        for measure in measures:
            cells = _cells(found.get((noise, measure)), _style(measure))
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


def _style(measure: str) -> _Style:
    return _STYLES.get(measure, _Style(measure, "g"))


def _cells(metric: Metric | None, style: _Style) -> tuple[str, str]:
    if metric is None:
        return "", ""
    before = "" if metric.noisy is None else f"{style.write(metric.noisy)} → "
    return f"{before}{style.write(metric.value)}", "" if metric.drop is None else style.write(metric.drop)


def _say(measure: str, metrics: Sequence[Metric]) -> str:
    """Write a measure's values under each noise, or their range if there are many; that over all where it is alone."""
    found = [one for one in metrics if one.measure == measure]
    found = [one for one in found if one.noise] or found
    if not found:
        return ""
    style = _style(measure)
    title, unit = style.title.rsplit(" ", 1)
    if len(found) <= 2:
        return f"{title} {', '.join(f'{style.write(one.value)} {unit} {one.noise}'.rstrip() for one in found)}"
    values = sorted(one.value for one in found)
    return f"{title} {style.write(values[0])} to {style.write(values[-1])} {unit}, {len(values)} noises"
