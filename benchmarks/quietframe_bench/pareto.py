"""A plot of quality against time: what no other contender beats in both is the front."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quietframe.images import write_whole
from quietframe_bench.contenders import NOISY_INPUT
from quietframe_bench.labels import box_around, place_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from quietframe_bench.comparison import Comparison


_REAL_TIME_MS = 1000 / 30
_CROWDED = 1e4  # over more decades than these, every 2 and 5 has no room
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
    """A contender at one noise level.

    Attributes:
        name: the label.
        ms: time of a frame.
        psnr_db: mean PSNR.
        family: `ours`, `network`, `classical` or `textbook`: how it is drawn.
        partly: measured on a part of the pictures only; drawn hollow.
    """

    name: str
    ms: float
    psnr_db: float
    family: str
    partly: bool = False


@dataclass(frozen=True)
class Panel:
    """The points of one noise level, and the PSNR of the noisy input."""

    sigma_255: float
    noisy_psnr_db: float
    points: Sequence[Point]


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats or equals in one and beats in the other, quickest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda one: (one.ms, -one.psnr_db)):
        if not best or point.psnr_db > best[-1].psnr_db:
            best.append(point)
    return best


def panels_of(found: Comparison) -> list[Panel]:
    """A panel for each noise level. What has no figures or no time stays out, and so do models told the level."""
    panels = []
    for sigma_255 in dict.fromkeys(row.sigma_255 for row in found.rows):
        rows = [row for row in found.rows if row.sigma_255 == sigma_255]
        noisy = next((row.mean("psnr_db") for row in rows if row.contender == NOISY_INPUT), None)
        times = [found.time_of(row) for row in rows]
        drawn = [
            point_of(row.as_record(), one.p50_ms("total") if one else None, found.pictures)
            for row, one in zip(rows, times, strict=True)
        ]
        points = [point for point in drawn if point]
        if sigma_255 is not None and noisy is not None and points:
            panels.append(Panel(sigma_255, noisy, points))
    return panels


def draw(panels: Sequence[Panel], path: Path, caption: str) -> None:
    """Write `figure_of` as PNG. Raises OutputError if the file cannot be written."""
    buffer = io.BytesIO()
    figure_of(panels, caption).savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())


def figure_of(panels: Sequence[Panel], caption: str) -> Figure:
    """The plot: a panel for each level, time on a logarithmic axis. caption: what was measured on what."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 0.9 + 3.9 * len(panels)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True):
        _draw_panel(axes, panel)
    axes.set_xlabel(f"milliseconds a frame (logarithmic) · {caption}", fontsize=9)
    _draw_legend(figure)
    figure.draw_without_rendering()
    for axes, panel in zip(figure.axes, panels, strict=True):
        _label(axes, panel)
    return figure


def point_of(record: Mapping[str, Any], ms: float | None, pictures: int) -> Point | None:
    """The point of a quality row in JSON (`QualityRow.as_record`); None if it has no figure or time, or was told.

    ms: of a frame. pictures: how many there are; a row that was judged on fewer says so.
    """
    if record["psnr_db"] is None or ms is None or record["told_sigma_255"] is not None:
        return None
    name, family = record["contender"], "ours"
    if record["method"]:
        family = "textbook" if name.endswith("textbook") else "classical"
    elif name.startswith("FFDNet"):
        family = "network"
    name = name.removesuffix(".tflite").removesuffix(", best setting").replace(".", " ")
    partly = record["every"] > 1
    if partly:
        name += f" ({record['images']} of {pictures} images)"
    return Point(name, ms, record["psnr_db"], family, partly)


def _draw_panel(axes: Any, panel: Panel) -> None:
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
    axes.set_xlim(min(times) / 4, max(times) * 4)  # room for names
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


def _draw_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", marker=style.marker, color=style.colour, label=style.title)
        for style in _STYLES.values()
    ]
    handles.append(Line2D([], [], color="#9aa5b1", label="front: nothing is both quicker and better"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=8.5)


def _label(axes: Any, panel: Panel) -> None:
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
