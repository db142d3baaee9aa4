"""Draws how trainings went, side by side: `python -m quietframe_train.curves OUT.png RUN...`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import click
from matplotlib.figure import Figure

from quietframe.errors import QuietFrameError, SourceError
from quietframe_train.checkpoint import read_history
from quietframe_train.figures import save_figure
from quietframe_train.run_folder import HISTORY, QUANTIZATION, SETTLING, load_run

_COLOURS = ("#1f6fb4", "#e07b1a", "#2e8b57", "#8e44ad", "#c62828", "#555555")


class Curve(NamedTuple):
    """One phase of a training.

    Attributes:
        hours: since the training began, at the end of each epoch; what lay between two sessions is left out.
        psnr_db: of the validation patches, after each epoch.
    """

    hours: list[float]
    psnr_db: list[float]


def read_curves(folder: Path) -> list[Curve]:
    """The phases of a training, done or not, in order. Raises SourceError if it has no PSNR, or not a whole epoch."""
    hours = 0.0
    curves = []
    for phase in (folder, folder / SETTLING, folder / QUANTIZATION):
        if (phase / HISTORY).is_file() and (rows := read_history(phase / HISTORY)):
            if "val_psnr_db" not in rows[0]:
                raise SourceError(f"{folder}: a training without a PSNR")
            ends = [hours + seconds / 3600 for seconds in accumulate(row["seconds"] for row in rows)]
            curves.append(Curve(ends, [row["val_psnr_db"] for row in rows]))
            hours = ends[-1]
    if not curves:
        raise SourceError(f"{folder}: not a whole epoch of its training is done")
    return curves


def curves_figure(trainings: Sequence[tuple[str, list[Curve]]]) -> Figure:
    """Validation PSNR against hours; the phases behind the first one are drawn bold.

    trainings: names and phases.
    """
    figure = Figure(figsize=(8.0, 4.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for index, (name, curves) in enumerate(trainings):
        colour = _COLOURS[index % len(_COLOURS)]
        for phase, curve in enumerate(curves):
            label = f"{name}: {curves[-1].psnr_db[-1]:.2f} dB after {curves[-1].hours[-1]:.1f} h" if not phase else None
            axes.plot(*curve, color=colour, linewidth=2.4 if phase else 1.0, label=label)
    axes.set(xlabel="hours", ylabel="PSNR of the validation patches (dB)")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
def main(out: Path, runs: tuple[Path, ...]) -> None:
    """Draw the validation PSNR of the trainings in RUNS, done or not, against their hours, into OUT.png."""
    try:
        trainings = [(f"{load_run(run).recipe.name} ({run.name})", read_curves(run)) for run in runs]
        save_figure(curves_figure(trainings), out)
    except QuietFrameError as exc:
        raise click.ClickException(str(exc)) from exc


if __name__ == "__main__":
    main()
