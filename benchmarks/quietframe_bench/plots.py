"""Plots: of the page, as SVG; quality against time and the roofline as PNG too. Colours are per model file."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_INK, _FAINT = "#333a42", "#c9cfd6"
_REAL_TIME_MS = 1000 / 30


def latencies(rows: Sequence[Any]) -> str:
    """Draw a box for each row of total times: quartiles and median; a line from the 1st to the 99th percentile."""
    figure, axes = _one_panel(7.6, 1.4 + 0.3 * len(rows))
    times_ms = [np.asarray(row.samples_ns.total) / 1e6 for row in reversed(rows)]
    names = [row.label for row in reversed(rows)]
    axes.boxplot(times_ms, whis=(1, 99), showfliers=False, tick_labels=names, orientation="horizontal")
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
    totals: Counter[str] = Counter()
    for row in rows:
        for one in row.operators:
            totals[one.kind] += one.median_ms
    palette = {kind: f"C{index}" for index, (kind, _) in enumerate(totals.most_common(9))}
    for place, row in enumerate(reversed(rows)):
        left = 0.0
        for one in row.operators:
            style = {"height": 0.62, "color": palette.get(one.kind, _FAINT), "edgecolor": "white", "linewidth": 0.6}
            axes.barh(place, one.median_ms, left=left, **style)
            left += one.median_ms
    for kind, colour in palette.items():
        axes.barh(0, 0, color=colour, label=kind)
    axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)], fontsize=8.5)
    axes.set_xlabel("milliseconds of a run, operator after operator", fontsize=9)
    figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside upper left")
    return as_image(figure, "Time of each operator")


def sustained(rows: Sequence[Any]) -> str:
    """Draw the median total time of every few seconds, as a share of that of the first end of the run."""
    figure, axes = _one_panel(7.6, 3.2)
    palette = _colours(rows)
    for row in rows:
        shares = [np.median(part_ns) / 1e6 / row.first_p50_ms for part_ns in row.rounds_ns("total")]
        axes.plot(row.part_from_s, shares, color=palette[row.file], linewidth=1.3, label=row.label)
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
    """Return a colour of matplotlib's cycle for each model file, in their order."""
    return {file: f"C{index}" for index, file in enumerate(dict.fromkeys(row.file for row in rows))}


def _new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of so many inches, without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


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
    _log_axis(axis)
    label = "milliseconds a frame (logarithmic)"
    if low < _REAL_TIME_MS < high:
        (axes.axvline if is_x else axes.axhline)(_REAL_TIME_MS, color=_FAINT, linewidth=1, linestyle="--")
        label += "; dashed: 30 frames/s"
    axis.set_label_text(label, fontsize=9)
    axes.grid(axis=which, alpha=0.2)


def _log_axis(axis: Any, steps: tuple[int, ...] = (1, 2, 5)) -> None:
    """Mark a logarithmic axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _position: f"{value:,g}")


# Quality against time


class Point(NamedTuple):
    """A method at one noise level: the time of a frame, mean PSNR, its label, and its family in `_STYLES`."""

    ms: float
    psnr_db: float
    name: str = ""
    family: str = "model"


class FrontPanel(NamedTuple):
    """The points of one noise level, and the PSNR of the noisy input."""

    sigma_255: float
    noisy_psnr_db: float
    points: Sequence[Point]


_STYLES = {
    "model": ("models", "#1f6fb4", "o"),
    "classical": ("classical, best setting", "#444444", "D"),
    "textbook": ("classical, textbook setting", "#a0a0a0", "D"),
}
"""How each family is drawn: title, colour and marker."""


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other one beats or equals in one and beats in the other, quickest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.ms, -one.psnr_db)):
        if not best or point.psnr_db > best[-1].psnr_db:
            best.append(point)
    return best


def front_figure(panels: Sequence[FrontPanel], caption: str) -> Figure:
    """Draw a panel for each level, time on a logarithmic axis. caption: what was measured on what."""
    figure = _new_figure(8.6, 0.9 + 3.9 * len(panels))
    for axes, panel in zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True):
        _draw_front(axes, panel)
    axes.set_xlabel(f"milliseconds a frame (logarithmic) · {caption}", fontsize=9)
    handles, titles = axes.get_legend_handles_labels()
    figure.legend(handles, titles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5)
    return figure


def _draw_front(axes: Any, panel: FrontPanel) -> None:
    best = [(point.ms, point.psnr_db) for point in front(panel.points)]
    line = {"drawstyle": "steps-post", "color": "#9aa5b1", "label": "front: nothing is both quicker and better"}
    axes.plot(*zip(*best, strict=True), linewidth=1.4, zorder=1, **line)
    for family, (title, colour, marker) in _STYLES.items():
        points = [point for point in panel.points if point.family == family]
        places = [point.ms for point in points], [point.psnr_db for point in points]
        axes.scatter(*places, s=40, marker=marker, color=colour, label=title, zorder=3)
        for point in points:
            style = {"textcoords": "offset points", "fontsize": 7.5, "color": colour}
            axes.annotate(point.name, (point.ms, point.psnr_db), (6, -9), **style)
    axes.set_xscale("log")
    axes.margins(x=0.2)  # space for names
    _log_axis(axes.xaxis, (1,))
    axes.set_ylabel(f"PSNR (dB) at σ {panel.sigma_255:g}")
    axes.grid(alpha=0.18)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(panel.noisy_psnr_db, color=_FAINT, linewidth=1, linestyle=":", label="noisy input")
    axes.axvline(_REAL_TIME_MS, color=_FAINT, linewidth=1, linestyle="--", label="30 frames/s")


# Roofline

_LIMITS = {"arithmetic": "#1f6fb4", "memory": "#b0413e"}


def roofline_figure(panels: Sequence[Any], caption: str) -> Figure:
    """Draw rooflines, both axes logarithmic.

    Args:
        panels: profiled models with their layers, see `quietframe_bench.kinds.profile.ProfileRow`, one or more.
        caption: the machine.
    """
    figure = _new_figure(8.6, 0.7 + 5.0 * len(panels))
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        _draw_roofline(axes, panel)
    figure.suptitle(f"Roofline · {caption}\nnumbers: those of the table; area: share of the time", fontsize=10)
    return figure


def _draw_roofline(axes: Any, panel: Any) -> None:
    peak, reached = panel.peak_gmacs_per_s, panel.gmacs_per_s
    slopes = {"memory": panel.memory_gbytes_per_s, "last cache": panel.cache_gbytes_per_s}
    ridges = [peak / width for width in slopes.values() if width]
    values = [*ridges, *(layer.intensity for layer in panel.layers)]
    along = np.geomspace(min(values) / 3, max(values) * 3, 400)
    for (name, width), style in zip(slopes.items(), ("-", "--"), strict=True):
        if width:
            says = f"{name} {width:.1f} GB/s; peak {peak:.0f} GMAC/s ({panel.peak_name})"
            axes.plot(along, np.minimum(peak, along * width), color=_INK, linestyle=style, label=says)
    says = f"whole model {reached:.1f} GMAC/s, {reached / peak:.0%} of the peak"
    axes.axhline(reached, color="#e07b1a", linestyle=":", label=says)
    for limit, colour in _LIMITS.items():
        layers = [layer for layer in panel.layers if layer.limit == limit]
        places = [layer.intensity for layer in layers], [layer.gmacs_per_s for layer in layers]
        areas = [14 + 900 * layer.share for layer in layers]  # typographic points²
        axes.scatter(*places, s=areas, color=colour, alpha=0.6, zorder=3, label=f"layer: {limit} is the limit")
        for layer in layers:
            at = layer.intensity, layer.gmacs_per_s
            axes.annotate(str(layer.index), at, ha="center", va="center", fontsize=7.5, zorder=4)
    axes.set(xscale="log", yscale="log", ylim=(None, peak * 2))
    _log_axis(axes.xaxis)
    _log_axis(axes.yaxis)
    axes.set_xlabel("multiply-accumulates for each byte of inputs, weights and outputs", fontsize=9)
    axes.set_ylabel("GMAC/s", fontsize=9)
    axes.set_title(panel.label, fontsize=10, loc="left")
    for handle in axes.legend(frameon=False, fontsize=8, loc="lower right").legend_handles[-len(_LIMITS) :]:
        handle.set_sizes([40])
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
