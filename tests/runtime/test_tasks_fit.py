"""Placements on their own, with a stand-in for a model that sees exactly as far as its halo says."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from quietframe.card import Spatial
from quietframe.tasks.fit import TILE_PIXELS, least_tile_pixels, place

lengths = st.integers(1, 400)
spatials = st.builds(
    lambda multiple, halo: Spatial("any", multiple=multiple, halo=halo),
    multiple=st.sampled_from([1, 2, 3, 4, 8, 16]),
    halo=st.integers(1, 40),
)


def random_plane(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width), dtype=np.uint8)


def stand_in(spatial: Spatial) -> Callable[[np.ndarray], np.ndarray]:
    """What a model is to a placement: each pixel depends on all within the halo, on zeros beyond the picture's edge,
    and on its place within the multiple. Whole numbers, so that results are equal or not."""

    def run(part: np.ndarray) -> np.ndarray:
        rows, columns = (np.arange(size) % spatial.multiple + 1 for size in part.shape)
        phased = part * (rows[:, None] * 31.0 + columns)
        side = 2 * spatial.halo + 1
        return cv2.boxFilter(phased, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)

    return run


def differing(height: int, width: int, spatial: Spatial, tile_pixels: int, sees: Spatial) -> int:
    """How many pixels of a frame differ between tiles and the whole."""
    plane, run = random_plane(height, width), stand_in(sees)
    whole, tiles = place(height, width, spatial), place(height, width, spatial, tile_pixels)
    results = [placement.join(map(run, placement.cut(plane))) for placement in (whole, tiles)]
    assert results[0].shape == results[1].shape == (height, width)
    return int(np.count_nonzero(results[0] != results[1]))


@given(height=lengths, width=lengths, spatial=spatials, factor=st.floats(1, 8))
@example(height=400, width=400, spatial=Spatial("any", multiple=16, halo=1), factor=1)
@example(height=1, width=400, spatial=Spatial("any", multiple=16, halo=40), factor=1)
@settings(deadline=None, max_examples=300)
def test_tiles_give_what_the_whole_frame_gives(height, width, spatial, factor):
    tile_pixels = int(least_tile_pixels(spatial) * factor)  # type: ignore[operator]
    assert differing(height, width, spatial, tile_pixels, sees=spatial) == 0


@given(height=lengths, width=lengths, spatial=spatials, more=st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(deadline=None, max_examples=100)
def test_tiles_of_a_model_of_one_size_give_what_the_whole_frame_gives(height, width, spatial, more):
    overlap = 2 * spatial.halo + -2 * spatial.halo % spatial.multiple
    size_hw = overlap + more[0] * spatial.multiple, overlap + more[1] * spatial.multiple
    assume(height >= size_hw[0] and width >= size_hw[1])  # a smaller frame is padded, and the model sees it
    run = stand_in(spatial)
    placements = (
        place(height, width, spatial),
        place(height, width, replace(spatial, kind="fixed", size_hw=size_hw, fit="tile")),
    )
    plane = random_plane(height, width)
    whole, tiles = (placement.join(map(run, placement.cut(plane))) for placement in placements)
    np.testing.assert_array_equal(tiles, whole)


def test_tiles_that_overlap_too_little_do_not():
    """The test above can fail, by one pixel of halo."""
    stated = Spatial("any", multiple=4, halo=18)
    for seen, differs in ((18, False), (19, True)):
        sees = replace(stated, halo=seen)
        assert bool(differing(300, 400, stated, least_tile_pixels(stated) or 0, sees)) == differs


@given(height=lengths, width=lengths, spatial=spatials, factor=st.floats(1, 8))
@settings(deadline=None, max_examples=300)
def test_tiles_are_of_one_size_that_the_model_takes(height, width, spatial, factor):
    tile_pixels = int(least_tile_pixels(spatial) * factor)  # type: ignore[operator]
    placement = place(height, width, spatial, tile_pixels)
    parts = list(placement.cut(random_plane(height, width)))
    assert len(parts) == placement.count
    assert {part.shape for part in parts} == {placement.part_hw}
    assert all(part.flags.c_contiguous for part in parts)
    assert all(size % spatial.multiple == 0 for size in placement.part_hw)
    assert placement.part_hw[0] * placement.part_hw[1] <= tile_pixels


@given(height=lengths, width=lengths, spatial=spatials)
@settings(deadline=None)
def test_frames_that_fit_are_not_cut(height, width, spatial):
    padded_h, padded_w = place(height, width, spatial).part_hw
    least = least_tile_pixels(spatial) or 0
    assume(padded_h * padded_w > least)
    assert place(height, width, spatial, padded_h * padded_w).count == 1
    assert place(height, width, spatial, padded_h * padded_w - 1).count > 1


@pytest.mark.parametrize(
    ("size_wh", "multiple", "halo", "tiles", "most_work"),
    [
        ((3840, 2160), 16, 87, 2, 1.05),
        ((4096, 2304), 16, 87, 2, 1.05),
        ((3840, 2160), 16, 115, 2, 1.07),
        ((3840, 2160), 4, 19, 2, 1.011),
        ((8192, 6144), 16, 87, 12, 1.16),
        ((8192, 6144), 4, 19, 10, 1.04),
        ((2592, 1944), 16, 87, 1, 1.01),
    ],
)
def test_the_work_of_tiles(size_wh, multiple, halo, tiles, most_work):
    """At the default: 4K video goes in halves."""
    width, height = size_wh
    placement = place(height, width, Spatial("any", multiple=multiple, halo=halo), TILE_PIXELS)
    assert placement.count <= tiles
    assert placement.count * placement.part_hw[0] * placement.part_hw[1] / (width * height) <= most_work


@pytest.mark.parametrize("spatial", [Spatial("any", multiple=2, halo=3), Spatial("fixed", (20, 30), "tile", halo=3)])
def test_parts_are_cut_and_joined_one_by_one(spatial):
    placement = place(90, 110, spatial, 400)
    parts: list[weakref.ref[np.ndarray]] = []
    alive = []

    def run(part: np.ndarray) -> np.ndarray:
        parts.append(weakref.ref(part))
        alive.append(sum(ref() is not None for ref in parts))
        return part.copy()

    plane = random_plane(90, 110)
    assert np.array_equal(placement.join(map(run, placement.cut(plane))), plane)
    assert len(alive) == placement.count > 10
    assert max(alive) <= 2  # the last one, until the next is bound to its name
