"""Figures with labelled points: quality against time, and the roofline.

Names stand beside the points, each where it covers the least of what is there already.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quietframe.images import write_whole
from quietframe_bench.plots import REAL_TIME_MS, set_ticks

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


def _new_figure(size: tuple[float, float]) -> Figure:
    """Make an empty figure of so many inches for PNG, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


# Quality against time

_CROWDED = 1e4  # over more decades than these, ticks at 2 and 5 do not fit
_FAINT, _SOFT, _FRONT = "#bbbbbb", "#777777", "#9aa5b1"
_STYLES: dict[str, tuple[str, str, str, float]] = {
    "ours": ("QuietFrame", "#1f6fb4", "o", 70),
    "network": ("FFDNet", "#e07b1a", "s", 48),
    "classical": ("classical, best setting", "#444444", "D", 34),
    "textbook": ("classical, textbook setting", "#a0a0a0", "D", 22),
}
"""How each family is drawn: title, colour, marker and area."""


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
    from matplotlib.lines import Line2D

    figure = _new_figure((8.6, 0.9 + 3.9 * len(panels)))
    for axes, panel in zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True):
        _draw_front(axes, panel)
    axes.set_xlabel(f"milliseconds a frame (logarithmic) · {caption}", fontsize=9)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=title)
        for title, colour, marker, _ in _STYLES.values()
    ]
    handles.append(Line2D([], [], color=_FRONT, label="front: nothing is both quicker and better"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5)
    figure.draw_without_rendering()
    for axes, panel in zip(figure.axes, panels, strict=True):
        _label_front(axes, panel)
    return figure


def _draw_front(axes: Any, panel: FrontPanel) -> None:
    best = front(panel.points)
    line = {"drawstyle": "steps-post", "color": _FRONT, "linewidth": 1.4, "zorder": 1}
    axes.plot([one.ms for one in best], [one.psnr_db for one in best], **line)
    for point in panel.points:
        _, colour, marker, area = _STYLES[point.family]
        face = "white" if point.partly else colour
        axes.scatter(point.ms, point.psnr_db, s=area, marker=marker, color=face, edgecolor=colour, zorder=3)
    axes.axhline(panel.noisy_psnr_db, color=_FAINT, linewidth=1, linestyle=":")
    times_ms = [point.ms for point in panel.points]
    reached = [panel.noisy_psnr_db, *(point.psnr_db for point in panel.points)]
    axes.set_xscale("log")
    axes.set_xlim(min(times_ms) / 4, max(times_ms) * 4)  # space for names
    axes.set_ylim(min(reached) - 0.6, max(reached) + 1.0)
    set_ticks(axes.xaxis, (1,) if max(times_ms) > _CROWDED * min(times_ms) else (1, 2, 5))
    axes.set_ylabel(f"PSNR (dB) at σ {panel.sigma_255:g}")
    axes.grid(alpha=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    edge = axes.get_xlim()[1]
    axes.text(edge, panel.noisy_psnr_db, "noisy input", ha="right", va="bottom", fontsize=7.5, color=_SOFT)
    if edge > REAL_TIME_MS:
        axes.axvline(REAL_TIME_MS, color=_FAINT, linewidth=1, linestyle=":")
        axes.text(REAL_TIME_MS, axes.get_ylim()[1], " 30 frames/s", va="top", fontsize=7.5, color=_SOFT)


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
        place_label(axes, (point.ms, point.psnr_db), point.name, taken, color=_STYLES[point.family][1], **style)


# Roofline

_PANEL_INCHES = (7.4, 5.0)
_LINE, _CACHE, _WHOLE = "#333333", "#8a8f98", "#e07b1a"
_COLOURS = {"arithmetic": "#1f6fb4", "memory": "#b0413e"}
_MIN_AREA, _AREA = 14.0, 900.0  # typographic points², of a layer that takes no time and of one that takes all
_FEW, _MIN_SHARE = 8, 0.05  # of many layers, those with a smaller share have only their number
_MARGIN = 3.0  # beyond the outermost points, on the logarithmic axes


def roofline_figure(panels: Sequence[Any], caption: str) -> Figure:
    """Draw rooflines, both axes logarithmic.

    Args:
        panels: profiled models with their layers, see `quietframe_bench.kinds.profile.ProfileRow`, one or more.
        caption: the machine.
    """
    from matplotlib.lines import Line2D

    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure = _new_figure((_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * lines + 0.7))
    every = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.remove()
    for axes, panel in zip(every, panels, strict=False):
        _draw_roofline(axes, panel)
    figure.suptitle(f"Roofline · {caption}", fontsize=11)
    point: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 8}
    handles = [Line2D([], [], color=_COLOURS[one], label=f"layer: {one} is the limit", **point) for one in _COLOURS]
    handles.append(Line2D([], [], linestyle="", label="area: share of the time"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5)
    figure.draw_without_rendering()
    for axes, panel in zip(every, panels, strict=False):
        _label_layers(axes, panel)
    return figure


def _draw_roofline(axes: Any, panel: Any) -> None:
    peak, memory, cache = panel.peak_gmacs_per_s, panel.memory_gbytes_per_s, panel.cache_gbytes_per_s
    reached = panel.gmacs_per_s
    ridges = [peak / width for width in (memory, cache) if width]
    values = [*ridges, *(layer.intensity for layer in panel.layers)]
    low, high = min(values) / _MARGIN, max(values) * _MARGIN
    along = np.geomspace(low, high, 400)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    slowest = min([*(layer.gmacs_per_s for layer in panel.layers), reached])
    axes.set_ylim(min(slowest, peak / 4) / 2, peak * 2)
    says = f"memory {memory:.1f} GB/s; peak {peak:.0f} GMAC/s ({panel.peak_name})"
    axes.plot(along, np.minimum(peak, along * memory), color=_LINE, linewidth=1.8, zorder=2, label=says)
    if cache:
        style: dict[str, Any] = {"color": _CACHE, "linewidth": 1.2, "linestyle": "--", "zorder": 1}
        axes.plot(along, np.minimum(peak, along * cache), label=f"last cache {cache:.1f} GB/s", **style)
    says = f"whole model {reached:.1f} GMAC/s, {reached / peak:.0%} of the peak"
    axes.axhline(reached, color=_WHOLE, linewidth=1.1, linestyle=":", zorder=1, label=says)
    for layer in panel.layers:
        area, style = (2 * _radius(layer)) ** 2, {"edgecolor": "white", "linewidth": 0.6, "alpha": 0.85, "zorder": 3}
        axes.scatter(layer.intensity, layer.gmacs_per_s, s=area, color=_COLOURS[layer.limit], **style)
    set_ticks(axes.xaxis)
    set_ticks(axes.yaxis)
    axes.set_xlabel("multiply-accumulates for each byte of inputs, weights and outputs", fontsize=9)
    axes.set_ylabel("GMAC/s", fontsize=9)
    axes.set_title(panel.label, fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)


def _radius(layer: Any) -> float:
    """Return the radius of a layer's point, in typographic points."""
    return sqrt(_MIN_AREA + _AREA * layer.share) / 2


def _label_layers(axes: Any, panel: Any) -> None:
    """Name the layers, slow ones first, where they fit."""
    taken = [axes.get_legend().get_window_extent()]
    (low, high), peak = axes.get_xlim(), panel.peak_gmacs_per_s
    for y in (peak, panel.gmacs_per_s):
        taken.append(box_around(axes, [(low, y), (high, y)], 2))
    for width in filter(None, (panel.memory_gbytes_per_s, panel.cache_gbytes_per_s)):
        taken += [box_around(axes, [(x, x * width)], 3) for x in np.geomspace(low, max(low, peak / width), 60)]
    for layer in panel.layers:
        pixels = _radius(layer) * axes.figure.dpi / 72
        taken.append(box_around(axes, [(layer.intensity, layer.gmacs_per_s)], pixels))
    for layer in sorted(panel.layers, key=lambda one: -one.share):
        named = layer.share >= _MIN_SHARE or len(panel.layers) <= _FEW
        text = f"{layer.index} {layer.name} {layer.share:.0%}" if named else str(layer.index)
        at, radius = (layer.intensity, layer.gmacs_per_s), max(_radius(layer) - 3, 0)
        place_label(axes, at, text, taken, radius=radius, fontsize=7.5, color=_COLOURS[layer.limit])


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG. Raises OutputError if the file cannot be written."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())
