"""Where the results of a live source go: videos in real time, numbered pictures, several places at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quietframe.errors import OutputError
from quietframe.images import read_image
from quietframe.sinks import Sink, open_sink
from quietframe.sources import Frame, open_source
from support.images import files_below

SIZE = (48, 64, 3)


def shade(level: int, second: float, shape: tuple[int, ...] = SIZE) -> Frame:
    """A frame of one level, captured so many seconds after the first."""
    return Frame(np.full(shape, level, np.uint8), level, 5 * 10**9 + round(second * 1e9))


def send(sink: Sink, *frames: Frame) -> None:
    for frame in frames:
        sink.write(frame, frame.pixels)


def levels(path: Path) -> list[int]:
    """The level of each frame of a video, in tens."""
    with open_source(path) as source:
        return [10 * round(float(frame.pixels.mean()) / 10) for frame in source]


def times_s(path: Path) -> list[float]:
    """The time of each frame of a video."""
    with open_source(path) as source:
        return [frame.time_s for frame in source]


@pytest.fixture
def scene():
    """A source of 10 frames a second."""
    with open_source("test:?size=64x48&fps=10&frames=0") as source:
        yield source


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_each_frame_stands_at_its_time(tmp_path, scene, name):
    at_s = {10: 0, 20: 0.11, 30: 0.48, 40: 0.5, 50: 0.52, 60: 3.7}
    with open_sink(tmp_path / name, scene, live=True) as sink:
        send(sink, *(shade(level, second) for level, second in at_s.items()))
    assert levels(tmp_path / name) == list(at_s)
    assert times_s(tmp_path / name) == pytest.approx(list(at_s.values()), abs=1e-3)


def test_frames_of_one_time_follow_each_other(tmp_path, scene):
    with open_sink(tmp_path / "a.mp4", scene, live=True) as sink:
        send(sink, shade(10, 0), shade(20, 0), shade(30, -0.1))
    assert levels(tmp_path / "a.mp4") == [10, 20, 30]


def test_a_source_without_a_rate_has_a_video_in_real_time(tmp_path, scene):
    scene.fps = None
    with open_sink(tmp_path / "a.mkv", scene, live=True) as sink:
        send(sink, shade(10, 0), shade(20, 0.5), shade(30, 1.0))
    assert times_s(tmp_path / "a.mkv") == pytest.approx([0, 0.5, 1.0], abs=1e-3)
    with pytest.raises(OutputError, match="does not tell its frame rate"):
        open_sink(tmp_path / "b.mkv", scene)


def test_a_live_video_keeps_its_size_when_the_source_changes_it(tmp_path, scene):
    with open_sink(tmp_path / "a.mkv", scene, live=True) as sink:
        send(sink, shade(10, 0), shade(90, 0.1, (96, 128, 3)))
    with open_source(tmp_path / "a.mkv") as written:
        assert [frame.pixels.shape for frame in written] == [SIZE] * 2


def test_frames_go_to_numbered_pictures(tmp_path, scene):
    with open_sink(tmp_path / "new/%04d.png", scene) as sink:
        send(sink, *(shade(index, index) for index in (3, 5, 9)))
    assert files_below(tmp_path / "new") == ["0000.png", "0001.png", "0002.png"]
    assert read_image(tmp_path / "new/0002.png").pixels[0, 0, 0] == 9


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("%d%d.png", "one place for the number"),
        ("%d%s.png", "one place for the number"),
        ("%d.xyz", "needs a file name"),
    ],
)
def test_names_for_numbered_pictures_that_do_not_do(tmp_path, scene, name, says):
    with pytest.raises(OutputError, match=says):
        open_sink(tmp_path / name, scene)


def test_numbered_pictures_that_are_there_are_kept(tmp_path, scene):
    (tmp_path / "0.png").write_text("precious")
    with pytest.raises(OutputError, match=r"0\.png: exists already"):
        open_sink(tmp_path / "%d.png", scene)
    (tmp_path / "0.png").rename(tmp_path / "1.png")
    with pytest.raises(OutputError, match=r"1\.png: exists already"), open_sink(tmp_path / "%d.png", scene) as sink:
        send(sink, shade(0, 0), shade(1, 1))
    assert (tmp_path / "1.png").read_text() == "precious"


def test_several_places_at_once(tmp_path, scene):
    places = [tmp_path / "a.mkv", tmp_path / "%d.png", "null"]
    with open_sink(places, scene) as sink:
        send(sink, *(shade(10 * index, index / 10) for index in range(3)))
    assert levels(tmp_path / "a.mkv") == [0, 10, 20]
    assert len(list(tmp_path.glob("*.png"))) == 3
    with pytest.raises(OutputError, match="given twice"):
        open_sink(["null", "null"], scene)


def test_one_place_in_two_spellings_is_refused_before_any_work(tmp_path, scene):
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for other in (f"{tmp_path}/./a.mkv", tmp_path / "link" / "a.mkv"):
        with pytest.raises(OutputError, match=r"a\.mkv: given twice"):
            open_sink([tmp_path / "a.mkv", other], scene)
    with pytest.raises(OutputError, match=r"^rtsp://\*\*\*@127\.0\.0\.1:9/x: given twice"):
        open_sink(2 * ["rtsp://me:secret@127.0.0.1:9/x"], scene)
