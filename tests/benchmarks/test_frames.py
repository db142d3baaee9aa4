from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quietframe.errors import SourceError
from quietframe_bench.frames import NOISE_SIGMA_255, FrameFeed, open_feed


@pytest.mark.parametrize("gray", [False, True])
def test_every_frame_is_another_one(gray):
    feed = open_feed(None, (64, 48), gray=gray)
    frames = [feed.frame(index) for index in range(400)]
    assert {frame.shape for frame in frames} == {(48, 64) if gray else (48, 64, 3)}
    assert len({frame.tobytes() for frame in frames}) == 400


def test_frames_without_noise_move():
    ramp = np.arange(200 * 300 * 3, dtype=np.uint32).reshape(200, 300, 3).astype(np.uint8)
    feed = FrameFeed([np.random.default_rng(0).permutation(ramp)], (100, 80))
    assert len({feed.frame(index).tobytes() for index in range(1000)}) == 1000


def test_of_a_video_each_frame_is_the_one_before_moved_by_two_pixels():
    feed = open_feed(None, (64, 48), video=True)
    assert len({feed.frame(index).tobytes() for index in range(200)}) == 200
    feed = FrameFeed([np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)], (100, 80), video=True)
    frames = [feed.frame(index) for index in range(200)]
    for now, then in zip(frames[1:], frames, strict=False):
        assert np.array_equal(now[:, 2:], then[:, :-2]) or np.array_equal(now[:, :-2], then[:, 2:])


def test_the_photograph_is_seen_through_noise_of_the_stated_level():
    flat = np.full((50, 50, 3), 128, np.uint8)
    frame = FrameFeed([flat], (320, 240), sigma_255=NOISE_SIGMA_255).frame(5)
    assert frame.std() == pytest.approx(NOISE_SIGMA_255, rel=0.02)
    assert frame.mean() == pytest.approx(128, abs=0.5)


def test_a_feed_is_the_same_every_time_and_frames_are_the_callers_own():
    first, second = (open_feed(None, (40, 30)) for _ in range(2))
    frame = first.frame(3)
    assert (frame == second.frame(3)).all()
    frame[:] = 0
    assert (first.frame(3) == second.frame(3)).all()


@settings(max_examples=20, deadline=None)
@given(
    size_wh=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    shape_hw=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    index=st.integers(0, 10**9),
)
def test_any_picture_gives_frames_of_any_size(size_wh, shape_hw, index):
    picture = np.full((*shape_hw, 3), 90, np.uint8)
    frame = FrameFeed([picture], size_wh).frame(index)
    assert frame.shape == (size_wh[1], size_wh[0], 3)
    assert frame.dtype == np.uint8
    assert frame.flags.c_contiguous
    assert (frame == 90).all()


def test_a_users_own_frames_are_taken_as_they_are(tmp_path):
    for index, level in enumerate((10, 200)):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((60, 80, 3), level, np.uint8))
    feed = open_feed(str(tmp_path), (32, 24))
    assert [set(np.unique(feed.frame(index))) for index in range(4)] == [{10}, {200}, {10}, {200}]


def test_a_source_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="nowhere"):
        open_feed(str(tmp_path / "nowhere"), (32, 24))
