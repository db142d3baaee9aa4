"""Plots: of the page, as SVG, and figures with labelled points, quality against time and the roofline, as PNG too.

Colours are per model file, the same everywhere. Names stand beside points, each where it covers the least of what is
there already.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_COLOURS = (
    *("#1f6fb4", "#e07b1a", "#3b8f4c", "#a4487a", "#6b5bb5", "#8a6d3b", "#2a9aa0", "#b5483d", "#5c6670", "#9aa51f"),
)
_INK, _SOFT, _FAINT = "#333a42", "#777777", "#c9cfd6"
_REAL_TIME_MS = 1000 / 30


def latencies(rows: Sequence[Any]) -> str:
    """Draw a box for each row of total times: quartiles and median; a line from the 1st to the 99th percentile."""
    figure, axes = _one_panel(7.6, 1.4 + 0.3 * len(rows))
    palette = _colours(rows)
    for place, row in enumerate(reversed(rows)):
        times_ms = np.asarray(row.samples_ns.total) / 1e6
        low, first, middle, third, high = np.percentile(times_ms, (1, 25, 50, 75, 99))
        colour = palette[row.file]
        axes.plot([low, high], [place, place], color=colour, linewidth=1.3, solid_capstyle="butt")
        axes.barh(place, third - first, left=first, height=0.5, color=colour, alpha=0.45)
        axes.plot([middle, middle], [place - 0.32, place + 0.32], color=colour, linewidth=2)
        style = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": _INK}
        axes.annotate(f"{middle:.3g}", (high, place), (5, 0), **style)
    axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)], fontsize=8.5)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    _time_axis(axes, "x", [time for row in rows for time in row.samples_ns.total])
    return as_image(figure, "Distribution of the time of a frame, row by row")


def growth(rows: Sequence[Any]) -> str:
    """Draw median total time against pixels, both logarithmic; a line for each model and number of threads."""
    figure, axes = _one_panel(7.6, 4.2)
    palette, threads = _colours(rows), sorted({row.threads for row in rows})
    for file, count in dict.fromkeys((row.file, row.threads) for row in rows):
        group = [row for row in rows if (row.file, row.threads) == (file, count)]
        points = sorted((row.size_wh[0] * row.size_wh[1], row.p("total", 50)) for row in group)
        dashes = ("-", "--", ":", "-.")[threads.index(count) % 4]
        style = {"color": palette[file], "linestyle": dashes, "marker": "o", "markersize": 4}
        axes.plot(*zip(*points, strict=True), label=f"{file}, {count} thread{'s' * (count > 1)}", **style)
    sizes = dict.fromkeys(tuple(row.size_wh) for row in rows)
    axes.set_xscale("log")
    axes.set_xticks([w * h for w, h in sizes], [f"{w}×{h}" for w, h in sizes], fontsize=8.5)
    axes.minorticks_off()
    _time_axis(axes, "y", [1e6 * row.p("total", 50) for row in rows])
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    return as_image(figure, "Time of a frame against its pixels")


def operators(rows: Sequence[Any]) -> str:
    """Draw a bar for each row, cut into its operators in their order; operators of one kind have the same colour."""
    figure, axes = _one_panel(7.6, 1.6 + 0.4 * len(rows))
    totals: dict[str, float] = {}
    for row in rows:
        for one in row.operators:
            totals[one.kind] = totals.get(one.kind, 0.0) + one.median_ms
    kinds = sorted(totals, key=lambda kind: -totals[kind])[: len(_COLOURS) - 1]
    palette = dict(zip(kinds, _COLOURS, strict=False))
    for place, row in enumerate(reversed(rows)):
        left = 0.0
        for one in row.operators:
            style = {"height": 0.62, "color": palette.get(one.kind, _FAINT), "edgecolor": "white", "linewidth": 0.6}
            axes.barh(place, one.median_ms, left=left, **style)
            left += one.median_ms
    for kind in kinds:
        axes.barh(0, 0, color=palette[kind], label=kind)
    axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)], fontsize=8.5)
    axes.set_xlabel("milliseconds of a run, operator after operator", fontsize=9)
    figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside upper left")
    return as_image(figure, "Time of each operator")


def sustained(rows: Sequence[Any]) -> str:
    """Draw the median total time of every few seconds, as a share of that of the first end of the run."""
    figure, axes = _one_panel(7.6, 3.2)
    palette = _colours(rows)
    for row in rows:
        at_s = [part.from_s for part in row.parts]
        shares = [np.median(part.samples_ns) / 1e6 / row.first_p50_ms for part in row.parts]
        axes.plot(at_s, shares, color=palette[row.file], linewidth=1.3, label=row.label)
    axes.axhline(1, color=_FAINT, linewidth=1, linestyle="--")
    axes.set_ylim(0, None)
    axes.set_xlabel("seconds since the start", fontsize=9)
    axes.set_ylabel("time of a frame against the start", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return as_image(figure, "Time of a frame over a run without a pause")


def as_image(figure: Figure, says: str) -> str:
    """Return an `img` element that holds the figure, and scrolls where there is no room; letters stay letters."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": says, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    data = base64.b64encode(buffer.getvalue().encode()).decode()
    image = f'<img class="plot" alt="{says}" src="data:image/svg+xml;base64,{data}">'
    return f'<div class="scroll">{image}</div>'


def _colours(rows: Sequence[Any]) -> dict[str, str]:
    """Return a colour for each model file, in their order."""
    files = dict.fromkeys(row.file for row in rows)
    return {file: _COLOURS[index % len(_COLOURS)] for index, file in enumerate(files)}


def _new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of so many inches, without a window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _one_panel(width: float, height: float) -> tuple[Figure, Any]:
    figure = _new_figure(width, height)
    axes = figure.subplots()
    axes.tick_params(colors=_INK, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _time_axis(axes: Any, which: str, times_ns: Sequence[float]) -> None:
    """Make a logarithmic axis in milliseconds with plain numbers, and where video rate is, if it is near."""
    low, high = min(times_ns) / 1e6 / 1.25, max(times_ns) / 1e6 * 1.6
    is_x = which == "x"
    axis = axes.xaxis if is_x else axes.yaxis
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    _set_ticks(axis)
    axis.set_label_text("milliseconds a frame (logarithmic)", fontsize=9)
    if low < _REAL_TIME_MS < high:
        (axes.axvline if is_x else axes.axhline)(_REAL_TIME_MS, color=_FAINT, linewidth=1, linestyle="--")
        place, where = (_REAL_TIME_MS, 1.0), ("data", "axes fraction")
        style = {"ha": "left" if is_x else "right", "va": "bottom", "fontsize": 7.5, "color": _SOFT}
        axes.annotate("30 frames/s", place if is_x else place[::-1], xycoords=where if is_x else where[::-1], **style)
    axes.grid(axis=which, alpha=0.2)


def _set_ticks(axis: Any, steps: tuple[int, ...] = (1, 2, 5)) -> None:
    """Mark a logarithmic axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _position: f"{value:,g}")


# Names beside points

_PLACES = (
    *((8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center")),
    *((7, 8, "left"), (7, -8, "left"), (-7, 8, "right"), (-7, -8, "right")),
    *((12, 16, "left"), (12, -16, "left"), (-12, 16, "right"), (-12, -16, "right")),
    *((0, 20, "center"), (0, -21, "center"), (16, 26, "left"), (16, -26, "left")),
)
"""Where a name may stand: (right, up) of its point in typographic points, and which end of it is there."""
_BEFORE = {"left": 0.0, "center": 0.5, "right": 1.0}  # the share of a name that stands left of that place


def _box_around(axes: Any, corners: Sequence[tuple[float, float]], margin: float) -> Any:
    """Return what points in data coordinates span on the canvas, and a margin in pixels."""
    from matplotlib.transforms import Bbox

    found = axes.transData.transform(corners)
    return Bbox([found.min(axis=0) - margin, found.max(axis=0) + margin])


def _place_label(
    axes: Any, at: tuple[float, float], text: str, taken: list[Any], *, radius: float = 0.0, **style: Any
) -> None:
    """Write a name beside a point; its box joins those that are `taken`.

    The figure must have been laid out. at: the point, in data coordinates. radius: how much larger than usual it is, in
    typographic points. style: of matplotlib's text.
    """
    from matplotlib.transforms import Bbox

    label = axes.annotate(text, at, (0, 0), textcoords="offset points", va="center", zorder=4, **style)
    label.set_in_layout(False)
    size, (x, y), dot = label.get_window_extent(), axes.transData.transform(at), axes.figure.dpi / 72
    attempts: list[tuple[float, int, tuple[float, float], str, Any]] = []
    for right, up, side in _PLACES:
        offset = (right + np.sign(right) * radius, up) if right else (right, up + np.sign(up) * radius)
        left, bottom = x + offset[0] * dot - _BEFORE[side] * size.width, y + offset[1] * dot - size.height / 2
        box = Bbox.from_bounds(left, bottom, size.width, size.height)
        outside = size.width * size.height - _shared(box, axes.bbox)  # twice: a cut name is worse than an overlap
        attempts.append((sum(_shared(box, other) for other in taken) + 2 * outside, len(attempts), offset, side, box))
    _, _, label.xyann, side, box = min(attempts)
    label.set_horizontalalignment(side)
    taken.append(box)


def _shared(box: Any, other: Any) -> float:
    """Return the area that two boxes share, in pixels."""
    common = type(box).intersection(box, other)
    return float(common.width * common.height) if common else 0.0


# Quality against time

_CROWDED = 1e4  # over more decades than these, ticks at 2 and 5 do not fit
_FRONT = "#9aa5b1"
_STYLES: dict[str, tuple[str, str, str, float]] = {
    "ours": ("QuietFrame", "#1f6fb4", "o", 70),
    "network": ("FFDNet", "#e07b1a", "s", 48),
    "classical": ("classical, best setting", "#444444", "D", 34),
    "textbook": ("classical, textbook setting", "#a0a0a0", "D", 22),
}
"""How each family is drawn: title, colour, marker and area."""


class Point(NamedTuple):
    """A method at one noise level.

    Attributes:
        ms: time of a frame.
        psnr_db: mean PSNR.
        name: the label.
        family: `ours`, `network`, `classical` or `textbook`: how it is drawn.
        partly: measured on a part of the images only; drawn hollow.
    """

    ms: float
    psnr_db: float
    name: str = ""
    family: str = "ours"
    partly: bool = False

    @property
    def at(self) -> tuple[float, float]:
        """Where it is drawn."""
        return self.ms, self.psnr_db


class FrontPanel(NamedTuple):
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

    figure = _new_figure(8.6, 0.9 + 3.9 * len(panels))
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
    times_ms, reached_db = zip(*(point.at for point in panel.points), strict=True)
    line = {"drawstyle": "steps-post", "color": _FRONT, "linewidth": 1.4, "zorder": 1}
    axes.plot(*zip(*(point.at for point in front(panel.points)), strict=True), **line)
    for point in panel.points:
        _, colour, marker, area = _STYLES[point.family]
        face = "white" if point.partly else colour
        axes.scatter(*point.at, s=area, marker=marker, color=face, edgecolor=colour, zorder=3)
    axes.axhline(panel.noisy_psnr_db, color=_FAINT, linewidth=1, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(min(times_ms) / 4, max(times_ms) * 4)  # space for names
    axes.set_ylim(min(panel.noisy_psnr_db, *reached_db) - 0.6, max(panel.noisy_psnr_db, *reached_db) + 1.0)
    _set_ticks(axes.xaxis, (1,) if max(times_ms) > _CROWDED * min(times_ms) else (1, 2, 5))
    axes.set_ylabel(f"PSNR (dB) at σ {panel.sigma_255:g}")
    axes.grid(alpha=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    edge = axes.get_xlim()[1]
    axes.text(edge, panel.noisy_psnr_db, "noisy input", ha="right", va="bottom", fontsize=7.5, color=_SOFT)
    if edge > _REAL_TIME_MS:
        axes.axvline(_REAL_TIME_MS, color=_FAINT, linewidth=1, linestyle=":")
        axes.text(_REAL_TIME_MS, axes.get_ylim()[1], " 30 frames/s", va="top", fontsize=7.5, color=_SOFT)


def _label_front(axes: Any, panel: FrontPanel) -> None:
    """Name every point, those on the front first."""
    on_front = front(panel.points)
    taken = [_box_around(axes, [point.at], 7) for point in panel.points]
    for left, right in pairwise(on_front):
        corner = right.ms, left.psnr_db
        taken += [_box_around(axes, [left.at, corner], 2), _box_around(axes, [corner, right.at], 2)]
    for point in sorted(panel.points, key=lambda one: one not in on_front):
        ours = point.family == "ours"
        style: dict[str, Any] = {"fontsize": 8.5 if ours else 7.5, "fontweight": "bold" if ours else "normal"}
        _place_label(axes, point.at, point.name, taken, color=_STYLES[point.family][1], **style)


# Roofline

_LINE, _CACHE, _WHOLE = "#333333", "#8a8f98", "#e07b1a"
_LIMITS = {"arithmetic": "#1f6fb4", "memory": "#b0413e"}
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
    figure = _new_figure(7.4 * columns, 5.0 * lines + 0.7)
    every = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.remove()
    for axes, panel in zip(every, panels, strict=False):
        _draw_roofline(axes, panel)
    figure.suptitle(f"Roofline · {caption}", fontsize=11)
    point: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 8}
    handles = [Line2D([], [], color=_LIMITS[one], label=f"layer: {one} is the limit", **point) for one in _LIMITS]
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
    slowest = min([*(layer.gmacs_per_s for layer in panel.layers), reached])
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(min(slowest, peak / 4) / 2, peak * 2))
    says = f"memory {memory:.1f} GB/s; peak {peak:.0f} GMAC/s ({panel.peak_name})"
    axes.plot(along, np.minimum(peak, along * memory), color=_LINE, linewidth=1.8, zorder=2, label=says)
    if cache:
        style: dict[str, Any] = {"color": _CACHE, "linewidth": 1.2, "linestyle": "--", "zorder": 1}
        axes.plot(along, np.minimum(peak, along * cache), label=f"last cache {cache:.1f} GB/s", **style)
    says = f"whole model {reached:.1f} GMAC/s, {reached / peak:.0%} of the peak"
    axes.axhline(reached, color=_WHOLE, linewidth=1.1, linestyle=":", zorder=1, label=says)
    for layer in panel.layers:
        area, style = (2 * _radius(layer)) ** 2, {"edgecolor": "white", "linewidth": 0.6, "alpha": 0.85, "zorder": 3}
        axes.scatter(layer.intensity, layer.gmacs_per_s, s=area, color=_LIMITS[layer.limit], **style)
    _set_ticks(axes.xaxis)
    _set_ticks(axes.yaxis)
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
    (low, high), peak = axes.get_xlim(), panel.peak_gmacs_per_s
    taken = [axes.get_legend().get_window_extent()]
    taken += [_box_around(axes, [(low, y), (high, y)], 2) for y in (peak, panel.gmacs_per_s)]
    for width in filter(None, (panel.memory_gbytes_per_s, panel.cache_gbytes_per_s)):
        taken += [_box_around(axes, [(x, x * width)], 3) for x in np.geomspace(low, max(low, peak / width), 60)]
    for layer in panel.layers:
        pixels = _radius(layer) * axes.figure.dpi / 72
        taken.append(_box_around(axes, [(layer.intensity, layer.gmacs_per_s)], pixels))
    for layer in sorted(panel.layers, key=lambda one: -one.share):
        named = layer.share >= _MIN_SHARE or len(panel.layers) <= _FEW
        text = f"{layer.index} {layer.name} {layer.share:.0%}" if named else str(layer.index)
        at, radius = (layer.intensity, layer.gmacs_per_s), max(_radius(layer) - 3, 0)
        _place_label(axes, at, text, taken, radius=radius, fontsize=7.5, color=_LIMITS[layer.limit])
