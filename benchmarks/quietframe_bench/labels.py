"""Names beside the points of a plot, each where it covers the least of what is there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_PLACES = (
    *((8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center")),
    *((7, 8, "left"), (7, -8, "left"), (-7, 8, "right"), (-7, -8, "right")),
    *((12, 16, "left"), (12, -16, "left"), (-12, 16, "right"), (-12, -16, "right")),
    *((0, 20, "center"), (0, -21, "center"), (16, 26, "left"), (16, -26, "left")),
)
"""Where a name may stand: (right, up) of its point in typographic points, and which end of it is there."""


def box_around(axes: Any, corners: Sequence[tuple[float, float]], margin: float) -> Any:
    """What points in data coordinates span on the canvas, and a margin in pixels."""
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
    """The area that a box shares with others, in pixels."""
    total = 0.0
    for other in others:
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        total += width * height if width > 0 and height > 0 else 0.0
    return total


def _outside(box: Any, frame: Any) -> float:
    """The area of a box that leaves the frame, and as much again: a name that is cut is worse than one on another."""
    return 2 * (box.width * box.height - _covered(box, [frame]))
