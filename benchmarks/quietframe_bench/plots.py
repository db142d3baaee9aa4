"""The page's plots, as SVG. Each function draws rows of one kind; colours are per model file, the same everywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_COLOURS = (
    *("#1f6fb4", "#e07b1a", "#3b8f4c", "#a4487a", "#6b5bb5", "#8a6d3b", "#2a9aa0", "#b5483d", "#5c6670", "#9aa51f"),
)
_INK, _FAINT = "#333a42", "#c9cfd6"
REAL_TIME_MS = 1000 / 30


def colours(rows: Sequence[Any]) -> dict[str, str]:
    """Return a colour for each model file, in their order."""
    files = dict.fromkeys(row.file for row in rows)
    return {file: _COLOURS[index % len(_COLOURS)] for index, file in enumerate(files)}


def latencies(rows: Sequence[Any]) -> str:
    """Draw a box for each row of total times: quartiles and median; a line from the 1st to the 99th percentile."""
    figure, axes = _new_figure(7.6, 1.4 + 0.3 * len(rows))
    palette = colours(rows)
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
    figure, axes = _new_figure(7.6, 4.2)
    palette, threads = colours(rows), sorted({row.threads for row in rows})
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
    figure, axes = _new_figure(7.6, 1.6 + 0.4 * len(rows))
    totals: dict[str, float] = {}
    for row in rows:
        for one in row.operators:
            totals[one.kind] = totals.get(one.kind, 0.0) + one.median_ms
    kinds = sorted(totals, key=lambda kind: -totals[kind])
    palette = {kind: _COLOURS[index] if index < len(_COLOURS) - 1 else _FAINT for index, kind in enumerate(kinds)}
    for place, row in enumerate(reversed(rows)):
        left = 0.0
        for one in row.operators:
            style = {"height": 0.62, "color": palette[one.kind], "edgecolor": "white", "linewidth": 0.6}
            axes.barh(place, one.median_ms, left=left, **style)
            left += one.median_ms
    for kind in kinds[: len(_COLOURS) - 1]:
        axes.barh(0, 0, color=palette[kind], label=kind)
    axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)], fontsize=8.5)
    axes.set_xlabel("milliseconds of a run, operator after operator", fontsize=9)
    figure.legend(frameon=False, fontsize=8, ncols=2, loc="outside upper left")
    return as_image(figure, "Time of each operator")


def sustained(rows: Sequence[Any]) -> str:
    """Draw the median total time of every few seconds, as a share of the first minute's."""
    figure, axes = _new_figure(7.6, 3.2)
    palette = colours(rows)
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


def _new_figure(width: float, height: float) -> tuple[Figure, Any]:
    """Make an empty figure of so many inches with one panel, without a window."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.tick_params(colors=_INK, labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_image(figure: Figure, says: str) -> str:
    """Return an `img` element that holds the figure, and scrolls where there is no room; letters stay letters."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": says, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    data = base64.b64encode(buffer.getvalue().encode()).decode()
    image = f'<img class="plot" alt="{says}" src="data:image/svg+xml;base64,{data}">'
    return f'<div class="scroll">{image}</div>'


def _time_axis(axes: Any, which: str, times_ns: Sequence[float]) -> None:
    """Make a logarithmic axis in milliseconds with plain numbers, and where video rate is, if it is near."""
    low, high = min(times_ns) / 1e6 / 1.25, max(times_ns) / 1e6 * 1.6
    is_x = which == "x"
    axis = axes.xaxis if is_x else axes.yaxis
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    set_ticks(axis)
    axis.set_label_text("milliseconds a frame (logarithmic)", fontsize=9)
    if low < REAL_TIME_MS < high:
        (axes.axvline if is_x else axes.axhline)(REAL_TIME_MS, color=_FAINT, linewidth=1, linestyle="--")
        place, where = (REAL_TIME_MS, 1.0), ("data", "axes fraction")
        style = {"ha": "left" if is_x else "right", "va": "bottom", "fontsize": 7.5, "color": "#777777"}
        axes.annotate("30 frames/s", place if is_x else place[::-1], xycoords=where if is_x else where[::-1], **style)
    axes.grid(axis=which, alpha=0.2)


def set_ticks(axis: Any, steps: tuple[int, ...] = (1, 2, 5)) -> None:
    """Mark a logarithmic axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=steps))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _position: f"{value:,g}")
