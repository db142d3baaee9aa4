"""The pictures of the page: drawn anew, or shrunk copies of what run folders hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from quietframe.errors import OutputError, SourceError
from quietframe.images import write_whole
from quietframe_bench.results.collect import Entry
from quietframe_bench.results.measured import CHAMPION, SIGMAS, Confusion, Measured, Robustness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BYTES = 70_000
"""Of a copied picture that is wider than high; of others half as much again."""

_WIDTHS = (1140, 960, 800, 640, 520, 420)
_QUALITIES = (85, 70, 55)
_DPI = 110
_PANEL_COLUMNS = 4
_MOST_COUNTED = 12  # classes, for numbers in the cells of a confusion matrix
_PALETTE = ("#2e8b57", "#8e5bb5", "#b8860b", "#0f9aa8", "#a0522d", "#d1639b", "#6b7f1e", "#3d4fb0")


def draw_all(entries: Sequence[Entry], measured: Measured, folder: Path) -> dict[str, Path]:
    """Draw and copy everything into `folder`, which is made if missing.

    Returns the files by what they show: `robustness`, `confusion-NAME`, `loss-KIND`, `samples-RUN`.
    Raises OutputError if one cannot be written, SourceError if a run folder's picture cannot be read.
    """
    from quietframe_train.figures import save_figure

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be made a folder ({exc.strerror or exc})") from exc
    figures: dict[str, Figure] = {}
    if measured.robustness:
        figures["robustness"] = robustness_figure(measured.robustness)
    for name, confusions in measured.confusions.items():
        figures[f"confusion-{name}"] = confusion_figure(confusions)
    for kind in dict.fromkeys(entry.run.recipe.kind for entry in entries):
        if trained := [entry for entry in entries if entry.run.recipe.kind == kind and entry.history]:
            figures[f"loss-{kind}"] = loss_figure(trained)
    files = {}
    for name, figure in figures.items():
        files[name] = folder / f"{name}.png"
        save_figure(figure, files[name])
    shown = set()  # recipe and length: the pictures of other seeds look alike
    for entry in entries:
        samples = entry.run.folder / "samples.png"
        if samples.is_file() and (alike := (entry.recipe, entry.run.epochs)) not in shown:
            shown.add(alike)
            name = f"samples-{entry.run.folder.resolve().name}"
            files[f"samples-{entry.name}"] = copy_picture(samples, folder / name)
    return files


def copy_picture(source: Path, stem: Path) -> Path:
    """Copy a picture in no more than `MOST_BYTES` say: as PNG, or else as JPEG, narrower if need be.

    stem: the copy's path without its suffix. Returns the copy's path.
    """
    picture = cv2.imread(str(source))
    if picture is None:
        raise SourceError(f"{source}: not a picture that can be read")
    suffix, data = _encoded(picture)
    path = stem.with_name(f"{stem.name}{suffix}")
    write_whole(path, data)
    return path


def robustness_figure(found: Robustness) -> Figure:
    """PSNR, and the accuracy of one classifier behind, against σ: a line for each denoiser and one without."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.9), dpi=_DPI, layout="constrained")
    panels = figure.subplots(1, 2 if found.classifier else 1, squeeze=False)[0]
    lines = [(panels[0], found.psnr_db, "PSNR (dB)")]
    if found.classifier:
        lines.append((panels[1], found.accuracy, f"accuracy of {found.classifier} behind it"))
    for axes, values, label in lines:
        for name, style in _line_styles(found).items():
            axes.plot(SIGMAS, values[name], label=name or "no denoiser", marker="o", markersize=3, **style)
        axes.set(xlabel="σ of N(0, σ²), on [0, 1], clipped to 8 bits", ylabel=label)
        _plain(axes)
    panels[0].set_ylim(*_limits(found))
    figure.suptitle(f"digit denoisers against noise, {found.images:,} test digits", fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    return figure


def confusion_figure(confusions: Sequence[Confusion]) -> Figure:
    """Matrices side by side: shades are shares of the true class, numbers are counts."""
    from matplotlib.figure import Figure

    side = 4.4 if len(confusions[0].classes) > 4 else 3.2
    figure = Figure(figsize=((side + 0.6) * len(confusions), side + 0.5), dpi=_DPI, layout="constrained")
    for axes, found in zip(figure.subplots(1, len(confusions), squeeze=False)[0], confusions, strict=True):
        shares = found.counts / np.maximum(1, found.counts.sum(axis=1, keepdims=True))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ticks = range(len(found.classes))
        axes.set_xticks(ticks, found.classes)
        axes.set_yticks(ticks, found.classes)
        axes.set(xlabel="taken for", ylabel="class")
        axes.set_title(f"{found.title}\naccuracy {found.accuracy:.4f}", fontsize=10)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if len(found.classes) <= _MOST_COUNTED:
            for (row, column), count in np.ndenumerate(found.counts):
                if count:
                    shade = "white" if shares[row, column] > 0.5 else "black"
                    axes.text(column, row, count, ha="center", va="center", fontsize=7.5, color=shade)
    return figure


def loss_figure(entries: Sequence[Entry]) -> Figure:
    """The loss of training and validation by epoch, a panel for each run."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from quietframe_train.figures import BLUE, ORANGE

    columns = min(_PANEL_COLUMNS, len(entries))
    rows = -(-len(entries) // columns)
    dpi = _DPI if rows <= 2 else 80  # many panels: the file stays small
    figure = Figure(figsize=(max(5.2, 3.0 * columns), 2.3 * rows + 0.3), dpi=dpi, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, entry in zip(panels, entries, strict=False):
        first = [row for row in entry.history if row["phase"] == entry.history[0]["phase"]]  # others have other losses
        epochs = range(1, len(first) + 1)
        for key, label, colour in (("loss", "training", BLUE), ("val_loss", "validation", ORANGE)):
            marker = "o" if len(epochs) < 12 else None
            values = [row.get(key, np.nan) for row in first]
            axes.plot(epochs, values, color=colour, label=label, marker=marker, markersize=3)
        axes.set_title(entry.name, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        loss = entry.run.recipe.phases[0].loss
        axes.set_ylabel(_LOSSES.get(loss, loss), fontsize=8)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        _plain(axes)
    panels[0].legend(frameon=False, fontsize=8)
    for axes in panels[len(entries) :]:
        axes.set_visible(False)
    return figure


_LOSSES = {
    "binary_crossentropy": "loss (BCE)",
    "sparse_categorical_crossentropy": "loss (cross-entropy)",
    "mse": "loss (MSE)",
    "mae": "loss (MAE)",
    "mae_and_means": "loss (MAE, and of 16×16 means)",
}


def _line_styles(found: Robustness) -> dict[str | None, dict[str, Any]]:
    """The champion stands out, the line without a denoiser stands back."""
    from quietframe_train.figures import BLUE, GRAY

    others = [name for name in found.psnr_db if name not in (None, CHAMPION)]
    styles: dict[str | None, dict[str, Any]] = {}
    if CHAMPION in found.psnr_db:
        styles[CHAMPION] = {"color": BLUE, "linewidth": 2.6, "zorder": 3}
    for index, name in enumerate(others):
        dashes = ("-", "--", ":")[index // len(_PALETTE) % 3]
        styles[name] = {"color": _PALETTE[index % len(_PALETTE)], "linewidth": 1.3, "linestyle": dashes}
    return styles | {None: {"color": GRAY, "linewidth": 1.3, "linestyle": "--"}}


def _limits(found: Robustness) -> tuple[float, float]:
    """Of the PSNR: what the denoisers reach; the line without one leaves the panel where there is next to no noise."""
    values = np.asarray([line for name, line in found.psnr_db.items() if name], float)
    noisy = np.asarray(found.psnr_db[None], float)
    return float(min(np.nanmin(values), np.nanmin(noisy))) - 1, float(np.nanmax(values)) + 1


def _plain(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _encoded(picture: Any) -> tuple[str, bytes]:
    """(suffix, file content) of the best copy that is small enough."""
    most = MOST_BYTES if picture.shape[0] <= picture.shape[1] else MOST_BYTES * 3 // 2
    attempts = [(_WIDTHS[0], ".png", [cv2.IMWRITE_PNG_COMPRESSION, 9])]
    attempts += [(width, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]) for width in _WIDTHS for quality in _QUALITIES]
    for width, suffix, options in attempts:
        done, data = cv2.imencode(suffix, _narrowed(picture, width), options)
        if done and len(data) <= most:
            break
    return suffix, data.tobytes()


def _narrowed(picture: Any, width: int) -> Any:
    if picture.shape[1] <= width:
        return picture
    height = round(picture.shape[0] * width / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
