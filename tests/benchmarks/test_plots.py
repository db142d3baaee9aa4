from __future__ import annotations

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("matplotlib", reason="the plot needs the extra 'bench'")

from quietframe.errors import OutputError
from quietframe_bench.options import write_png
from quietframe_bench.plots import FrontPanel, Point, front, front_figure


def test_the_front_leaves_out_what_is_beaten():
    points = [Point(10, 30), Point(5, 29), Point(20, 30), Point(8, 28), Point(100, 33)]
    assert [(one.ms, one.psnr_db) for one in front(points)] == [(5, 29), (10, 30), (100, 33)]


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(20, 40)), min_size=1))
def test_nothing_on_the_front_is_beaten_and_all_else_is(pairs):
    points = [Point(ms, psnr_db) for ms, psnr_db in pairs]
    best = front(points)
    assert [one.ms for one in best] == sorted({one.ms for one in best})
    for one in points:
        beaten = any(
            other.ms <= one.ms and other.psnr_db >= one.psnr_db and (other.ms, other.psnr_db) != (one.ms, one.psnr_db)
            for other in points
        )
        assert beaten != any((one.ms, one.psnr_db) == (other.ms, other.psnr_db) for other in best)


def test_a_panel_for_each_level_is_drawn(tmp_path):
    points = [
        Point(4, 30, "camera"),
        Point(300, 32, "other network"),
        Point(0.5, 25, "filter", "classical"),
        Point(0.5, 25, "same place", "textbook"),
        Point(40000, 29, "slow", "classical"),
    ]
    sizes = []
    for count in (1, 2):
        path = tmp_path / f"{count}.png"
        write_png(front_figure([FrontPanel(sigma, 20, points) for sigma in (15.0, 25.0)[:count]], "640×480"), path)
        picture = cv2.imread(str(path))
        sizes.append(picture.shape)
        assert picture.std() > 10
    assert sizes[1][0] > 1.5 * sizes[0][0]
    assert sizes[1][1] == sizes[0][1]


def test_a_plot_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        write_png(front_figure([FrontPanel(25.0, 20, [Point(4, 30)])], ""), tmp_path / "nowhere" / "plot.png")
