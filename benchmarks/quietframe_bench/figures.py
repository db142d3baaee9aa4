"""Figures with labelled points: quality against time, and the roofline.

Names stand beside the points, each where it covers the least of what is there already.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, degrees, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quietframe.images import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PLACES = (
    *((8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center")),
    *((7, 8, "left"), (7, -8, "left"), (-7, 8, "right"), (-7, -8, "right")),
    *((12, 16, "left"), (12, -16, "left"), (-12, 16, "right"), (-12, -16, "right")),
    *((0, 20, "center"), (0, -21, "center"), (16, 26, "left"), (16, -26, "left")),
)
"""Where a name may stand: (right, up) of its point in typographic points, and which end of it is there."""


def box_around(axes: Any, corners: Sequence[tuple[float, float]], margin: float) -> Any:
    """Return what points in data coordinates span on the canvas, and a margin in pixels."""
    from matplotlib.transforms import Bbox

    found = axes.transData.transform(corners)
    return Bbox([found.min(axis=0) - margin, found.max(axis=0) + margin])


def place_label(
    axes: Any, at: tuple[float, float], text: str, taken: list[Any], *, radius: float = 0.0, **style: Any
) -> None:
    """Write a name beside a point; its box joins those that are `taken`.

    The figure must have been laid out. at: the point, in data coordinates. radius: how much larger than usual it is, in
    typographic points. style: of matplotlib's text.
    """
    attempts: list[tuple[float, int, Any, Any]] = []
    for right, up, side in _PLACES:
        dx, dy = (right + np.sign(right) * radius, up) if right else (right, up + np.sign(up) * radius)
        label = axes.annotate(text, at, (dx, dy), textcoords="offset points", ha=side, va="center", zorder=4, **style)
        label.set_in_layout(False)
        box = label.get_window_extent()
        label.remove()
        attempts.append((_covered(box, taken) + _outside(box, axes.bbox), len(attempts), label, box))
    _, _, label, box = min(attempts, key=lambda one: one[:2])
    axes.add_artist(label)
    taken.append(box)


def _covered(box: Any, others: Sequence[Any]) -> float:
    """Return the area that a box shares with others, in pixels."""
    total = 0.0
    for other in others:
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        total += width * height if width > 0 and height > 0 else 0.0
    return total


def _outside(box: Any, frame: Any) -> float:
    """Return the area of a box that leaves the frame, twice: a name that is cut is worse than an overlap."""
    return 2 * (box.width * box.height - _covered(box, [frame]))


_REAL_TIME_MS = 1000 / 30
_CROWDED = 1e4  # over more decades than these, ticks at 2 and 5 do not fit
_FAINT = "#bbbbbb"


@dataclass(frozen=True)
class _Style:
    title: str
    colour: str
    marker: str
    area: float


_STYLES = {
    "ours": _Style("QuietFrame", "#1f6fb4", "o", 70),
    "network": _Style("FFDNet", "#e07b1a", "s", 48),
    "classical": _Style("classical, best setting", "#444444", "D", 34),
    "textbook": _Style("classical, textbook setting", "#a0a0a0", "D", 22),
}


@dataclass(frozen=True)
class Point:
    """A method at one noise level.

    Attributes:
        name: the label.
        ms: time of a frame.
        psnr_db: mean PSNR.
        family: `ours`, `network`, `classical` or `textbook`: how it is drawn.
        partly: measured on a part of the images only; drawn hollow.
    """

    name: str
    ms: float
    psnr_db: float
    family: str
    partly: bool = False


@dataclass(frozen=True)
class FrontPanel:
    """The points of one noise level, and the PSNR of the noisy input."""

    sigma_255: float
    noisy_psnr_db: float
    points: Sequence[Point]


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats or equals in one and beats in the other, quickest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.ms, -one.psnr_db)):
        if not best or point.psnr_db > best[-1].psnr_db:
            best.append(point)
    return best


def front_figure(panels: Sequence[FrontPanel], caption: str) -> Figure:
    """Draw a panel for each level, time on a logarithmic axis. caption: what was measured on what."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 0.9 + 3.9 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True):
        _draw_front(axes, panel)
    axes.set_xlabel(f"milliseconds a frame (logarithmic) · {caption}", fontsize=9)
    _front_legend(figure)
    figure.draw_without_rendering()
    for axes, panel in zip(figure.axes, panels, strict=True):
        _label_front(axes, panel)
    return figure


def _draw_front(axes: Any, panel: FrontPanel) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    best = front(panel.points)
    axes.set_xscale("log")
    axes.plot(
        [one.ms for one in best],
        [one.psnr_db for one in best],
        drawstyle="steps-post",
        color="#9aa5b1",
        linewidth=1.4,
        zorder=1,
    )
    for point in panel.points:
        style = _STYLES[point.family]
        face = "white" if point.partly else style.colour
        axes.scatter(
            point.ms, point.psnr_db, s=style.area, marker=style.marker, color=face, edgecolor=style.colour, zorder=3
        )
    axes.axhline(panel.noisy_psnr_db, color=_FAINT, linewidth=1, linestyle=":")
    times = [point.ms for point in panel.points]
    axes.set_xlim(min(times) / 4, max(times) * 4)  # space for names
    reached = [panel.noisy_psnr_db, *(point.psnr_db for point in panel.points)]
    axes.set_ylim(min(reached) - 0.6, max(reached) + 1.0)
    times_ms = [one.ms for one in panel.points]
    crowded = max(times_ms) > _CROWDED * min(times_ms)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if crowded else (1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda ms, _position: f"{ms:,g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(f"PSNR (dB) at σ {panel.sigma_255:g}")
    axes.grid(alpha=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    edge = axes.get_xlim()[1]
    axes.text(edge, panel.noisy_psnr_db, "noisy input", ha="right", va="bottom", fontsize=7.5, color="#777777")
    if edge > _REAL_TIME_MS:
        axes.axvline(_REAL_TIME_MS, color=_FAINT, linewidth=1, linestyle=":")
        top = axes.get_ylim()[1]
        axes.text(_REAL_TIME_MS, top, " 30 frames/s", ha="left", va="top", fontsize=7.5, color="#777777")


def _front_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=style.title)
        for style in _STYLES.values()
    ]
    handles.append(Line2D([], [], color="#9aa5b1", label="front: nothing is both quicker and better"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5)


def _label_front(axes: Any, panel: FrontPanel) -> None:
    """Name every point, those on the front first."""
    on_front = front(panel.points)
    taken = [box_around(axes, [(point.ms, point.psnr_db)], 7) for point in panel.points]
    for left, right in pairwise(on_front):
        start, corner, end = (left.ms, left.psnr_db), (right.ms, left.psnr_db), (right.ms, right.psnr_db)
        taken += [box_around(axes, [start, corner], 2), box_around(axes, [corner, end], 2)]
    for point in sorted(panel.points, key=lambda one: one not in on_front):
        ours = point.family == "ours"
        style: dict[str, Any] = {"fontsize": 8.5 if ours else 7.5, "fontweight": "bold" if ours else "normal"}
        colour = _STYLES[point.family].colour
        place_label(axes, (point.ms, point.psnr_db), point.name, taken, color=colour, **style)


_PANEL_INCHES = (7.4, 5.0)
_LINE, _CACHE, _WHOLE = "#333333", "#8a8f98", "#e07b1a"
_COLOURS = {"arithmetic": "#1f6fb4", "memory": "#b0413e"}
_MIN_AREA, _AREA = 14.0, 900.0  # typographic points², of a layer that takes no time and of one that takes all
_NAMED = slice(25, 54)  # the part of a slope, of 60 steps, that its name stands on
_FEW, _MIN_SHARE = 8, 0.05  # of many layers, those with a smaller share have only their number
_MARGIN = 3.0  # beyond the outermost points, on the logarithmic axes


@dataclass(frozen=True)
class RooflinePanel:
    """A model under its roofline.

    Attributes:
        title: which model, size and threads.
        peak_gmacs_per_s, peak_name: the peak that it is compared with, and what that is.
        gbytes_per_s: bandwidth of memory, and of the last cache or None.
        layers: its points.
        gmacs_per_s: the whole model, by the stopwatch.
    """

    title: str
    peak_gmacs_per_s: float
    peak_name: str
    gbytes_per_s: tuple[float, float | None]
    layers: Sequence[Any]
    gmacs_per_s: float


def roofline_figure(panels: Sequence[RooflinePanel], caption: str) -> Figure:
    """Draw rooflines: a panel for each model, one or more, both axes logarithmic. caption: the machine."""
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
        _draw_roofline(axes, panel)
    figure.suptitle(f"Roofline · {caption}", fontsize=11)
    _roofline_legend(figure, 3 * columns)
    figure.draw_without_rendering()
    for axes, panel in zip(every, panels, strict=False):
        _label_layers(axes, panel)
    return figure


def _draw_roofline(axes: Any, panel: RooflinePanel) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = _limits(panel)
    peak = panel.peak_gmacs_per_s
    along = np.geomspace(low, high, 400)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    slowest = min([*(layer.gmacs_per_s for layer in panel.layers), panel.gmacs_per_s])
    axes.set_ylim(min(slowest, peak / 4) / 2, peak * 2)
    memory, cache = panel.gbytes_per_s
    axes.plot(along, np.minimum(peak, along * memory), color=_LINE, linewidth=1.8, zorder=2)
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


def _radius(layer: Any) -> float:
    """Return the radius of a layer's point, in typographic points."""
    return sqrt(_MIN_AREA + _AREA * layer.share) / 2


def _limits(panel: RooflinePanel) -> tuple[float, float]:
    """Return the ends of the axis of intensity: all points, and where the slopes meet the peak."""
    ridges = [panel.peak_gmacs_per_s / width for width in panel.gbytes_per_s if width]
    values = [*ridges, *(layer.intensity for layer in panel.layers)]
    return min(values) / _MARGIN, max(values) * _MARGIN


def _roofline_legend(figure: Figure, columns: int) -> None:
    from matplotlib.lines import Line2D

    point: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 8}
    handles = [
        Line2D([], [], color=_LINE, linewidth=1.8, label="peak and memory"),
        Line2D([], [], color=_CACHE, linestyle="--", label="last cache"),
        Line2D([], [], color=_WHOLE, linestyle=":", label="whole model"),
        Line2D([], [], color=_COLOURS["arithmetic"], label="layer: arithmetic is the limit", **point),
        Line2D([], [], color=_COLOURS["memory"], label="layer: memory is the limit", **point),
        Line2D([], [], linestyle="", label="area: share of the time"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)


def _label_layers(axes: Any, panel: RooflinePanel) -> None:
    """Name the lines where they are, then the layers, slow ones first, where they fit."""
    taken = _name_lines(axes, panel)
    for layer in panel.layers:
        pixels = _radius(layer) * axes.figure.dpi / 72
        taken.append(box_around(axes, [(layer.intensity, layer.gmacs_per_s)], pixels))
    for layer in sorted(panel.layers, key=lambda one: -one.share):
        named = layer.share >= _MIN_SHARE or len(panel.layers) <= _FEW
        text = f"{layer.index} {layer.name} {layer.share:.0%}" if named else str(layer.index)
        at = layer.intensity, layer.gmacs_per_s
        radius = _radius(layer) - 3
        place_label(axes, at, text, taken, radius=max(radius, 0), fontsize=7.5, color=_COLOURS[layer.limit])


def _name_lines(axes: Any, panel: RooflinePanel) -> list[Any]:
    """Name the lines along themselves; return what lines and names cover, as boxes on the canvas."""
    (low, high), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    peak, (memory, cache) = panel.peak_gmacs_per_s, panel.gbytes_per_s
    small: dict[str, Any] = {"fontsize": 8, "va": "bottom"}
    texts = [
        axes.text(high, peak * 1.06, f"peak {peak:.0f} GMAC/s ({panel.peak_name}) ", ha="right", color=_LINE, **small)
    ]
    text_ = f"whole model {panel.gmacs_per_s:.1f} GMAC/s, {panel.gmacs_per_s / peak:.0%} of the peak "
    texts.append(axes.text(high, panel.gmacs_per_s * 1.04, text_, ha="right", color=_WHOLE, **small))
    taken = [box_around(axes, [(low, y), (high, y)], 2) for y in (peak, panel.gmacs_per_s)]
    for name, width, colour in (("memory", memory, _LINE), ("last cache", cache, _CACHE)):
        start = max(low, bottom / width) if width else high  # where the slope enters the panel
        if width and peak / width > start:
            ends = start, peak / width
            along = np.geomspace(*ends, 60)
            taken += [box_around(axes, [(x, x * width)], 3) for x in along]
            taken += [box_around(axes, [(x, x * width * 1.12)], 6) for x in along[_NAMED]]
            (x0, y0), (x1, y1) = axes.transData.transform([(x, x * width) for x in ends])
            angle = {"rotation": degrees(atan2(y1 - y0, x1 - x0)), "rotation_mode": "anchor"}
            at, text_ = along[_NAMED.stop], f"{name} {width:.1f} GB/s"
            axes.text(at, at * width * 1.05, text_, ha="right", color=colour, **small, **angle).set_in_layout(False)
    for text in texts:
        text.set_in_layout(False)
        taken.append(text.get_window_extent())
    return taken


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG. Raises OutputError if the file cannot be written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())
