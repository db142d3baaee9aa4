"""Draw what 8 bits do to a model, layer by layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from quietframe_train.figures import BLUE, GRAY, ORANGE, RED

if TYPE_CHECKING:
    from quietframe_export.exporter import FileReport
    from quietframe_export.mixed import TensorError

MAX_LAYERS = 40
_MAX_DB = 80.0


def worst_by_layer(file: FileReport) -> list[TensorError]:
    """List the worst tensor of each layer, worst first."""
    found: dict[str, TensorError] = {}
    for error in file.tensors:
        found.setdefault(error.layer, error)
    return list(found.values())


def layers_figure(file: FileReport, model: str) -> Figure:
    """Draw the SQNR of the worst layers as bars, worst first; beside it that of the outputs where it was measured."""
    worst = worst_by_layer(file)
    shown = worst[:MAX_LAYERS]
    in_float = {layer.name for layer in file.float_layers}
    figure = Figure(figsize=(8, 1.4 + 0.24 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots()
    values = [_drawn(error.sqnr_db) for error in shown]
    colours = [ORANGE if error.layer in in_float else BLUE for error in shown]
    axes.barh(range(len(shown)), values, color=colours, height=0.7)
    alone = [(index, _drawn(error.alone_db)) for index, error in enumerate(shown) if error.alone_db is not None]
    if alone:
        axes.plot([at for _, at in alone], [index for index, _ in alone], "o", color=RED, markersize=4)
    axes.set_yticks(range(len(shown)), [error.layer for error in shown], fontsize=8)
    axes.invert_yaxis()
    more = f", the worst {len(shown)} of {len(worst)} layers" if len(worst) > len(shown) else ""
    axes.set_title(f"{model}, {file.target}: error of each layer in int8{more}", fontsize=10, loc="left")
    axes.set_xlabel("SQNR, dB: less is worse")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    handles: list[Any] = [axes.barh([0], [0], color=BLUE, label="its worst tensor, all layers in int8")]
    if in_float:
        handles.append(axes.barh([0], [0], color=ORANGE, label="the same; in float in the file"))
    if alone:
        handles.extend(axes.plot([], [], "o", color=RED, markersize=4, label="the outputs, if it alone is in int8"))
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=8, labelcolor=GRAY)
    return figure


def _drawn(ratio: float) -> float:
    return min(max(ratio, 0.0), _MAX_DB) if math.isfinite(ratio) else 0.0
