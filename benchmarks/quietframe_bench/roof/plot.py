"""The roofline: what each layer reaches, against how much it multiplies for each byte."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2, degrees, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quietframe.errors import UsageError
from quietframe.images import write_whole
from quietframe_bench.labels import box_around, place_label
from quietframe_bench.operators.measure import OperatorRow
from quietframe_bench.operators.report import title_of
from quietframe_bench.roof.measure import ENGINE_NAMES, Layer, Peak, Roof, layers_of, reached

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL_INCHES = (7.4, 5.0)
_ROOF, _CACHE, _WHOLE = "#333333", "#8a8f98", "#e07b1a"
_COLOURS = {"arithmetic": "#1f6fb4", "memory": "#b0413e"}
_LEAST_AREA, _AREA = 14.0, 900.0  # typographic points², of a layer that takes no time and of one that takes all
_NAMED = slice(25, 54)  # the part of a slope, of 60 steps, that its name stands on
_FEW, _LEAST_SHARE = 8, 0.05  # of many layers, those with a smaller share have only their number
_ROOM = 3.0  # beyond the outermost points, on the logarithmic axes


@dataclass(frozen=True)
class Panel:
    """A model under its roof.

    Attributes:
        title: which model, size and threads.
        peak: what it is held against.
        gbytes_per_s: bandwidth of memory, and of the last cache or None.
        layers: its points.
        gmacs_per_s: the whole model, by the stopwatch.
    """

    title: str
    peak: Peak
    gbytes_per_s: tuple[float, float | None]
    layers: Sequence[Layer]
    gmacs_per_s: float


def panels_of(roof: Roof, rows: Sequence[OperatorRow]) -> list[Panel]:
    """A panel for each row with layers to show."""
    panels = []
    for row in rows:
        layers, peak = layers_of(row, roof), None if row.error else roof.peak_of(row)
        memory = roof.gbytes_per_s("memory", row.threads)
        if layers and peak and memory:
            widths = memory, roof.gbytes_per_s("cache", row.threads)
            panels.append(Panel(title_of(row), peak, widths, layers, reached(row, roof)["gmacs_per_s"]))
    return panels


def draw(panels: Sequence[Panel], path: Path, caption: str) -> None:
    """Write `figure_of` as PNG. Raises UsageError if there is nothing to draw, OutputError if it cannot be written."""
    if not panels:
        raise UsageError("no roofline: none of the models has layers whose work and time are known")
    buffer = io.BytesIO()
    figure_of(panels, caption).savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())


def figure_of(panels: Sequence[Panel], caption: str) -> Figure:
    """The rooflines: a panel for each model, one or more, both axes logarithmic. caption: the machine."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    size = _PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * lines + 0.7
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    every = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.remove()
    for axes, panel in zip(every, panels, strict=False):
        _draw_panel(axes, panel)
    figure.suptitle(f"Roofline · {caption}", fontsize=11)
    _draw_legend(figure, 3 * columns)
    figure.draw_without_rendering()
    for axes, panel in zip(every, panels, strict=False):
        _label(axes, panel)
    return figure


def _draw_panel(axes: Any, panel: Panel) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = _limits(panel)
    peak = panel.peak.gmacs_per_s
    along = np.geomspace(low, high, 400)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    slowest = min([*(layer.gmacs_per_s for layer in panel.layers), panel.gmacs_per_s])
    axes.set_ylim(min(slowest, peak / 4) / 2, peak * 2)
    memory, cache = panel.gbytes_per_s
    axes.plot(along, np.minimum(peak, along * memory), color=_ROOF, linewidth=1.8, zorder=2)
    if cache:
        axes.plot(along, np.minimum(peak, along * cache), color=_CACHE, linewidth=1.2, linestyle="--", zorder=1)
    axes.axhline(panel.gmacs_per_s, color=_WHOLE, linewidth=1.1, linestyle=":", zorder=1)
    for layer in panel.layers:
        axes.scatter(
            layer.intensity,
            layer.gmacs_per_s,
            s=(2 * _radius(layer)) ** 2,
            color=_COLOURS[layer.limit],
            edgecolor="white",
            linewidth=0.6,
            alpha=0.85,
            zorder=3,
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.set_xlabel("multiply-accumulates for each byte of inputs, weights and outputs", fontsize=9)
    axes.set_ylabel("GMAC/s", fontsize=9)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)


def _radius(layer: Layer) -> float:
    """Of a layer's point, in typographic points."""
    return sqrt(_LEAST_AREA + _AREA * layer.share) / 2


def _limits(panel: Panel) -> tuple[float, float]:
    """The ends of the axis of intensity: all points, and where the slopes meet the peak."""
    ridges = [panel.peak.gmacs_per_s / width for width in panel.gbytes_per_s if width]
    values = [*ridges, *(layer.intensity for layer in panel.layers)]
    return min(values) / _ROOM, max(values) * _ROOM


def _draw_legend(figure: Figure, columns: int) -> None:
    from matplotlib.lines import Line2D

    point: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 8}
    handles = [
        Line2D([], [], color=_ROOF, linewidth=1.8, label="peak and memory"),
        Line2D([], [], color=_CACHE, linestyle="--", label="last cache"),
        Line2D([], [], color=_WHOLE, linestyle=":", label="whole model"),
        Line2D([], [], color=_COLOURS["arithmetic"], label="layer: arithmetic is the limit", **point),
        Line2D([], [], color=_COLOURS["memory"], label="layer: memory is the limit", **point),
        Line2D([], [], linestyle="", label="area: share of the time"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)


def _label(axes: Any, panel: Panel) -> None:
    """Name the lines where they are, then the layers, slow ones first, where there is room."""
    taken = _name_lines(axes, panel)
    for layer in panel.layers:
        pixels = _radius(layer) * axes.figure.dpi / 72
        taken.append(box_around(axes, [(layer.intensity, layer.gmacs_per_s)], pixels))
    for layer in sorted(panel.layers, key=lambda one: -one.share):
        named = layer.share >= _LEAST_SHARE or len(panel.layers) <= _FEW
        text = f"{layer.index} {layer.name} {layer.share:.0%}" if named else str(layer.index)
        at = layer.intensity, layer.gmacs_per_s
        radius = _radius(layer) - 3
        place_label(axes, at, text, taken, radius=max(radius, 0), fontsize=7.5, color=_COLOURS[layer.limit])


def _name_lines(axes: Any, panel: Panel) -> list[Any]:
    """Name the roofs along themselves; returns what is taken by lines and names, as boxes on the canvas."""
    (low, high), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    peak, (memory, cache) = panel.peak.gmacs_per_s, panel.gbytes_per_s
    threads = f"{panel.peak.threads} thread" + ("s" if panel.peak.threads > 1 else "")
    what = f"{ENGINE_NAMES[panel.peak.engine]}, {panel.peak.precision}, {threads}"
    small: dict[str, Any] = {"fontsize": 8, "va": "bottom"}
    texts = [axes.text(high, peak * 1.06, f"peak {peak:.0f} GMAC/s ({what}) ", ha="right", color=_ROOF, **small)]
    said = f"whole model {panel.gmacs_per_s:.1f} GMAC/s, {panel.gmacs_per_s / peak:.0%} of the peak "
    texts.append(axes.text(high, panel.gmacs_per_s * 1.04, said, ha="right", color=_WHOLE, **small))
    taken = [box_around(axes, [(low, y), (high, y)], 2) for y in (peak, panel.gmacs_per_s)]
    for name, width, colour in (("memory", memory, _ROOF), ("last cache", cache, _CACHE)):
        start = max(low, bottom / width) if width else high  # where the slope enters the panel
        if width and peak / width > start:
            ends = start, peak / width
            along = np.geomspace(*ends, 60)
            taken += [box_around(axes, [(x, x * width)], 3) for x in along]
            taken += [box_around(axes, [(x, x * width * 1.12)], 6) for x in along[_NAMED]]
            (x0, y0), (x1, y1) = axes.transData.transform([(x, x * width) for x in ends])
            angle = {"rotation": degrees(atan2(y1 - y0, x1 - x0)), "rotation_mode": "anchor"}
            at, said = along[_NAMED.stop], f"{name} {width:.1f} GB/s"
            axes.text(at, at * width * 1.05, said, ha="right", color=colour, **small, **angle).set_in_layout(False)
    for text in texts:
        text.set_in_layout(False)
        taken.append(text.get_window_extent())
    return taken
