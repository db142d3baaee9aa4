"""The figures of a card in words: `psnr_db_uniform0.9` is the PSNR in dB under the noise `uniform0.9`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quietframe.card import ModelCard


@dataclass(frozen=True)
class _Measure:
    """How a measure is written.

    Attributes:
        title: its name and unit.
        digits: a format of the number, times `factor`.
        unnamed: what was measured where the figure names no noise.
    """

    title: str
    digits: str
    factor: float = 1.0
    unnamed: str = "all"

    def write(self, value: float) -> str:
        """The number without its unit."""
        return format(value * self.factor, self.digits)


_MEASURES: Mapping[str, _Measure] = {
    "psnr_db": _Measure("PSNR dB", ".2f"),
    "ssim": _Measure("SSIM", ".4f"),
    "mse": _Measure("MSE", ".5f"),
    "rmse": _Measure("RMSE", ".4f"),
    "bce": _Measure("BCE", ".4f"),
    "accuracy_percent": _Measure("accuracy %", ".2f"),
    "accuracy": _Measure("accuracy %", ".2f", factor=100, unnamed="clean"),
}
_IN_HEADLINE = ("accuracy", "accuracy_percent", "psnr_db")
_BEFORE, _LOST = "noisy_", "drop_"


@dataclass(frozen=True)
class _Figure:
    """A figure's name, taken apart: which measure, of what (`noisy_` or `drop_` before it), under which noise."""

    measure: str
    kind: str
    noise: str


def figure_table(figures: Mapping[str, float]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """One set's figures as the columns and rows of a table: a row for each noise, a column for each measure.

    A figure of noisy pictures stands before the arrow in its denoised ones' cell. A figure that is not known here has a
    row of its own, under its name.
    """
    known = {figure: value for name, value in figures.items() if (figure := _take_apart(name))}
    unknown = {name: value for name, value in figures.items() if not _take_apart(name)}
    columns = list(dict.fromkeys((figure.measure, figure.kind == _LOST) for figure in known))
    noises = list(dict.fromkeys(figure.noise for figure in known))
    rows = [[noise, *(_cell(known, noise, *column) for column in columns)] for noise in noises]
    titles = [f">{_MEASURES[measure].title}{' lost' if lost else ''}" for measure, lost in columns]
    if unknown:
        titles.append(">value")
        rows = [[*row, ""] for row in rows]
        rows += [[name, *([""] * len(columns)), f"{value:g}"] for name, value in unknown.items()]
    return ["noise", *titles] if known else ["figure", *titles], rows


def headline(card: ModelCard) -> str:
    """What a model reaches, in a few words: accuracy and PSNR, on a test set if it was measured on one; else ""."""
    sets = sorted(card.metrics, key=lambda name: "test" not in name.split())
    for name in sets:
        by_measure = {measure: _under_each_noise(card.metrics[name], measure) for measure in _IN_HEADLINE}
        if said := [_say_all(measure, found) for measure, found in by_measure.items() if found]:
            return f"{'; '.join(said)} ({name})"
    return ""


def _take_apart(name: str) -> _Figure | None:
    kind = next((prefix for prefix in (_BEFORE, _LOST) if name.startswith(prefix)), "")
    rest = name.removeprefix(kind)
    for measure, how in _MEASURES.items():
        if rest == measure:
            return _Figure(measure, kind, how.unnamed)
        if rest.startswith(f"{measure}_"):
            return _Figure(measure, kind, rest.removeprefix(f"{measure}_"))
    return None


def _cell(figures: Mapping[_Figure, float], noise: str, measure: str, lost: bool) -> str:
    kinds = (_LOST,) if lost else (_BEFORE, "")
    found = [figures[figure] for kind in kinds if (figure := _Figure(measure, kind, noise)) in figures]
    text = " → ".join(_MEASURES[measure].write(value) for value in found)
    only_noisy = len(found) == 1 and _Figure(measure, _BEFORE, noise) in figures
    return f"{text} →" if only_noisy else text


def _under_each_noise(figures: Mapping[str, float], measure: str) -> dict[str, float]:
    """The measure's figures by noise; that over all noises only where it stands alone."""
    parts = {name: _take_apart(name) for name in figures}
    found = {
        part.noise: figures[name] for name, part in parts.items() if part and part == _Figure(measure, "", part.noise)
    }
    return {noise: value for noise, value in found.items() if noise != "all"} or found


def _say_all(measure: str, by_noise: Mapping[str, float]) -> str:
    how = _MEASURES[measure]
    title, unit = how.title.rsplit(" ", 1)
    if len(by_noise) <= 2:
        found = [
            f"{how.write(value)} {unit}{'' if noise == 'all' else f' {noise}'}" for noise, value in by_noise.items()
        ]
        return f"{title} {', '.join(found)}"
    values = sorted(by_noise.values())
    return f"{title} {how.write(values[0])} to {how.write(values[-1])} {unit}, {len(values)} noises"
