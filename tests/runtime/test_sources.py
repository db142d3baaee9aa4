"""Sources: what they give, and what they say of input that is no use."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe.sources import Frame, open_source
from support.images import write_image

FPS = 12.5


def video(path: Path, frames: int = 30, fourcc: str = "MJPG") -> Path:
    """Write a 64x48 video at FPS whose frames grow brighter by 8 levels each."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*fourcc), FPS, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 8 * index, np.uint8))
    writer.release()
    return path


def frames_of(spec: str | Path) -> list[Frame]:
    """All frames of a source."""
    with open_source(spec) as source:
        return list(source)


# Pictures


def test_a_picture_is_one_frame(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", 42)
    with open_source(path) as source:
        frames = list(source)
        assert (source.moving, source.endless, source.frame_count, source.failures) == (False, False, 1, [])
        assert (source.path, list(source.files), list(source.names)) == (path, [path], ["a.png"])
    (frame,) = frames
    assert frame.pixels.shape == (48, 64, 3) and frame.pixels.dtype == np.uint8 and (frame.pixels == 42).all()
    assert frame.bgr is frame.pixels
    (gray,) = frames_of(write_image(tmp_path / "gray.png", 42, (6, 8)))
    assert gray.pixels.shape == (6, 8) and gray.bgr.shape == (6, 8, 3)
    assert (frame.name, frame.index, frame.alpha, frame.clean) == ("a.png", 0, None, None)
    assert frame.captured_ns > 0


def test_transparency_is_given_apart(tmp_path: Path) -> None:
    pixels = np.dstack([np.full((6, 8, 3), 42, np.uint8), np.arange(48, dtype=np.uint8).reshape(6, 8)])
    (frame,) = frames_of(write_image(tmp_path / "a.png", pixels))
    assert frame.pixels.shape == (6, 8, 3)
    np.testing.assert_array_equal(frame.alpha, pixels[:, :, 3])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
def test_a_picture_is_known_by_its_content(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"a{suffix}").rename(tmp_path / "renamed.mp4")
    with open_source(path) as source:
        assert not source.moving
        assert next(iter(source)).pixels.shape == (48, 64, 3)


def test_a_folder_gives_all_pictures_below_it_sorted(tmp_path: Path) -> None:
    for index, name in enumerate(["b.png", "a/z.JPG", "a/deep/er/x.bmp", "c.webp"]):
        write_image(tmp_path / "shots" / name, index)
    (tmp_path / "shots/notes.txt").write_text("not an image")
    write_image(tmp_path / "shots/.hidden.png")
    write_image(tmp_path / "shots/.cache/x.png")
    with open_source(tmp_path / "shots") as source:
        names = [frame.name for frame in source]
        assert source.frame_count == 4
        assert source.path == tmp_path / "shots"
    assert names == list(source.names) == ["a/deep/er/x.bmp", "a/z.JPG", "b.png", "c.webp"]


def test_a_glob_gives_what_it_matches_with_names_below_its_fixed_part(tmp_path: Path) -> None:
    for name in ["a/1.png", "a/2.jpg", "b/1.png", "b/c/1.png", "1.png"]:
        write_image(tmp_path / "shots" / name)
    assert [frame.name for frame in frames_of(f"{tmp_path}/shots/*/1.png")] == ["a/1.png", "b/1.png"]
    assert len(frames_of(f"{tmp_path}/shots/**/*.png")) == 4
    assert len(frames_of(f"{tmp_path}/shots/[ab]/?.*")) == 3


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    assert len(frames_of(write_image(tmp_path / "shot[1].png"))) == 1


def test_broken_pictures_in_a_folder_are_named_and_passed_over(tmp_path: Path) -> None:
    for index in range(20):
        write_image(tmp_path / f"{index:02}.png", index)
    (tmp_path / "07.png").write_bytes((tmp_path / "07.png").read_bytes()[:40])
    (tmp_path / "11.jpg").write_bytes(b"")
    with open_source(tmp_path) as source:
        frames = list(source)
    assert len(frames) == 19 and len(source.failures) == 2
    assert "07.png" in source.failures[0] and "11.jpg" in source.failures[1] and "empty" in source.failures[1]
    assert [frame.index for frame in frames] == list(range(19))


# Videos


@pytest.mark.parametrize(("suffix", "fourcc"), [(".mp4", "mp4v"), (".mkv", "FFV1"), (".avi", "MJPG")])
def test_a_video_gives_its_frames_rate_size_and_count(tmp_path: Path, suffix: str, fourcc: str) -> None:
    path = video(tmp_path / f"a{suffix}", fourcc=fourcc)
    with open_source(path) as source:
        assert (source.moving, source.endless, source.path) == (True, False, path)
        assert (source.fps, source.size_wh, source.frame_count) == (FPS, (64, 48), 30)
        frames = list(source)
    assert source.failures == []
    assert [frame.index for frame in frames] == list(range(30))
    for frame in frames:
        assert frame.pixels.shape == (48, 64, 3) and frame.name == ""
        assert abs(float(frame.pixels.mean()) - 8 * frame.index) < 5
    assert len({id(frame.pixels) for frame in frames}) == 30  # frames belong to the caller


@pytest.mark.parametrize(("suffix", "fourcc"), [(".mkv", "FFV1"), (".avi", "MJPG")])
def test_a_video_that_is_cut_short_gives_what_is_there_and_says_so(tmp_path: Path, suffix: str, fourcc: str) -> None:
    path = video(tmp_path / f"a{suffix}", fourcc=fourcc)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(path) as source:
        frames = list(source)
    assert 0 < len(frames) < 25
    assert len(source.failures) == 1
    assert re.search(r"cut short or damaged: ends after [\d.]+ of [\d.]+ s$", source.failures[0])


def test_a_video_cut_before_its_index_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", fourcc="mp4v")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.mp4: not an image or video"):
        open_source(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.mp4", b"", "empty"),
        ("a.mp4", b"hello there\n" * 500, "a text file"),
        ("a.txt", b"hello there\n" * 500, "a text file"),
        ("a.txt", "grüße\n".encode() * 2000, "a text file"),
        # FFmpeg would follow a playlist to the network
        ("a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n", "a text file"),
        ("a.mkv", bytes(range(256)) * 40, "not an image or video"),
        ("a.tflite", b"\x1c\x00\x00\x00TFL3" + bytes(3000), "not an image or video"),
        ("a.png", b"hello there\n" * 500, "not an image"),
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=f"{name}: .*{says}"):
        frames_of(tmp_path / name)


# The test scene


def test_the_scene_moves_has_noise_and_knows_its_clean_version() -> None:
    with open_source("test:") as source:
        assert (source.moving, source.endless) == (True, False)
        assert (source.size_wh, source.fps, source.frame_count) == ((640, 480), 30.0, 90)
        first, *_, last = (frame for frame, _ in zip(source, range(20), strict=False))
    assert first.pixels.shape == (480, 640, 3) and first.pixels.dtype == np.uint8
    assert first.clean is not None and last.clean is not None
    noise = first.pixels.astype(float) - first.clean
    assert 23 < noise[(first.clean > 80) & (first.clean < 175)].std() < 26
    assert np.count_nonzero(first.clean != last.clean) > first.clean.size / 10
    assert not np.array_equal(first.pixels - first.clean, last.pixels - last.clean)


def test_the_scene_is_the_same_for_one_seed_and_not_for_another() -> None:
    def pixels(seed: int) -> np.ndarray:
        return np.stack([frame.pixels for frame in frames_of(f"test:?size=64x48&frames=3&seed={seed}")])

    np.testing.assert_array_equal(pixels(4), pixels(4))
    assert not np.array_equal(pixels(4), pixels(5))


def test_the_scene_heeds_its_settings() -> None:
    with open_source("test:?size=33x21&fps=12.5&frames=4&sigma=0") as source:
        frames = list(source)
        assert (source.size_wh, source.fps, source.frame_count) == ((33, 21), 12.5, 4)
    assert [frame.pixels.shape for frame in frames] == [(21, 33, 3)] * 4
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, frame.clean)


def test_the_scene_can_go_on_for_ever() -> None:
    with open_source("test:?frames=0&size=1x1") as source:
        assert source.endless and source.frame_count is None
        assert sum(1 for _ in zip(source, range(500), strict=False)) == 500


@pytest.mark.parametrize(
    "spec",
    [
        "test:?colour=red",
        "test:?size=640",
        "test:?size=0x3",
        "test:?fps=0",
        "test:?frames=-1",
        "test:?sigma=x",
        "test:x",
    ],
)
def test_the_scene_refuses_settings_it_does_not_know(spec: str) -> None:
    with pytest.raises(SourceError, match=r"test:\?size=640x480&fps=30"):
        open_source(spec)


# Everything else


@pytest.mark.parametrize("spec", ["nothing.png", "no/such/folder/", "", "front door", "x" * 5000, "a\0b"])
def test_a_name_that_fits_nothing_says_what_would(spec: str) -> None:
    with pytest.raises(SourceError, match=r"expected an image|cannot be read"):
        open_source(spec)


def test_an_empty_folder_and_an_empty_glob_say_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    for spec in (str(tmp_path), f"{tmp_path}/*.png", f"{tmp_path}/*"):
        with pytest.raises(SourceError, match=r"no images there \(\.avif"):
            open_source(spec)


@pytest.mark.parametrize("spec", ["7431", "/dev/video7431"])
def test_a_camera_that_is_not_there_is_named(spec: str) -> None:
    with pytest.raises(SourceError, match=r"camera 7431: no such camera"):
        open_source(spec)


def test_a_device_that_is_no_camera_is_refused() -> None:
    device = Path("/dev/video7432")
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero by another name
    except (OSError, AttributeError) as exc:
        pytest.skip(f"making a device file needs root ({exc})")
    try:
        with pytest.raises(SourceError, match=r"camera 7432: cannot be opened"):
            open_source(str(device))
    finally:
        device.unlink()


def test_what_may_not_be_read_is_named(open_tmp_path: Path, without_rights: Callable[[], None]) -> None:
    shots = open_tmp_path / "shots"
    write_image(shots / "a.png")
    write_image(shots / "locked/b.png")
    (shots / "locked").chmod(0)
    without_rights()
    with open_source(shots) as source:
        assert [frame.name for frame in source] == ["a.png"]
        assert source.failures == [f"{shots}/locked: cannot be read (Permission denied)"]
    for spec in (shots / "locked", shots / "locked/b.png", shots / "locked/*.png"):
        with pytest.raises(SourceError, match="locked"):
            open_source(spec)


def test_a_frame_is_its_pixels_to_numpy_and_equal_to_itself_alone() -> None:
    frame, other = (Frame(np.zeros((4, 6, 3), np.uint8), 3, 12_000, time_s=0.12) for _ in range(2))
    assert frame == frame
    assert len({frame, other}) == 2
    assert np.asarray(frame) is frame.pixels
    assert repr(frame) == "Frame(pixels=(4, 6, 3), index=3, captured_ns=12000, time_s=0.12)"
