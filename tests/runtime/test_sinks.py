"""Sinks: results are in their place whole, or nothing is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from quietframe.errors import OutputError, UsageError
from quietframe.images import read_image
from quietframe.sinks import default_output, open_sink
from quietframe.sources import open_source
from support.images import files_below, random_frame, write_image

SCENE = "test:?size=64x48&fps=12.5&frames=20&sigma=0"


def picture(path: Path, shape: tuple[int, ...] = (6, 8, 3)) -> Path:
    """Write an image of random pixels."""
    return write_image(path, random_frame(*shape, seed=len(str(path))))


def copy(
    spec: str | Path, out: Path | None, *, overwrite: bool = False, frames: int | None = None, **options: Any
) -> None:
    """Send a source's frames to a sink as they are."""
    with open_source(spec) as source, open_sink(out, source, overwrite=overwrite, **options) as sink:
        for frame in itertools.islice(source, frames):
            sink.write(frame, frame.pixels)


# Pictures


@pytest.mark.parametrize("name", ["b.png", "b.bmp", "b.tiff", "b.webp", "new/folder/b.png"])
def test_a_picture_is_written_as_it_is(tmp_path: Path, name: str) -> None:
    copy(picture(tmp_path / "in/a.png"), tmp_path / "out" / name)
    assert files_below(tmp_path / "out") == [name]
    np.testing.assert_array_equal(read_image(tmp_path / "out" / name).pixels, read_image(tmp_path / "in/a.png").pixels)


def test_gray_stays_gray_and_transparency_goes_along(tmp_path: Path) -> None:
    copy(picture(tmp_path / "gray.png", (6, 8)), tmp_path / "out-gray.png")
    assert read_image(tmp_path / "out-gray.png").pixels.shape == (6, 8)
    copy(picture(tmp_path / "alpha.png", (6, 8, 4)), tmp_path / "out-alpha.png")
    before, after = read_image(tmp_path / "alpha.png"), read_image(tmp_path / "out-alpha.png")
    assert before.alpha is not None
    np.testing.assert_array_equal(after.alpha, before.alpha)
    np.testing.assert_array_equal(after.pixels, before.pixels)


def test_a_format_without_transparency_refuses_it_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"transparency: write \.png or \.webp"):
        copy(picture(tmp_path / "alpha.png", (6, 8, 4)), tmp_path / "out" / "a.jpg")
    assert files_below(tmp_path / "out") == []


def test_a_folder_keeps_names_and_structure(tmp_path: Path) -> None:
    names = ["1.png", "a/2.jpg", "a/b/3.webp"]
    for name in names:
        picture(tmp_path / "in" / name)
    copy(tmp_path / "in", tmp_path / "out")
    assert files_below(tmp_path / "out") == names
    copy(f"{tmp_path}/in/a/**/*", tmp_path / "glob")
    assert files_below(tmp_path / "glob") == ["2.jpg", "b/3.webp"]


def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    name = "n" * 251 + ".png"
    copy(picture(tmp_path / "a.png"), tmp_path / "out" / name)
    assert files_below(tmp_path / "out") == [name]
    with pytest.raises(OutputError, match="File name too long"):
        copy(tmp_path / "a.png", tmp_path / "out" / f"n{name}")


def test_files_that_exist_are_kept_unless_asked(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/2.png").write_text("precious")
    with pytest.raises(OutputError, match=r"out/2\.png: exists already: pass --overwrite"):
        copy(tmp_path / "in", tmp_path / "out")
    assert files_below(tmp_path / "out") == ["2.png"]  # found out before any work
    assert (tmp_path / "out/2.png").read_text() == "precious"
    copy(tmp_path / "in", tmp_path / "out", overwrite=True)
    assert read_image(tmp_path / "out/2.png").pixels.shape == (6, 8, 3)
    with pytest.raises(OutputError, match=r"1\.png: exists already \(and 2 more\)"):
        copy(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
def test_a_source_is_never_replaced(tmp_path: Path, link: str | None) -> None:
    source, out = picture(tmp_path / "a.png"), tmp_path / "b.png"
    before = source.read_bytes()
    if link == "symbolic":
        out.symlink_to(source)
    elif link == "hard":
        out.hardlink_to(source)
    else:
        out = tmp_path / "." / "a.png"
    with pytest.raises(OutputError, match="is the source itself"):
        copy(source, out, overwrite=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize("out", [".", "in", "in/clean", "in/../in/clean"])
def test_results_of_a_folder_do_not_go_into_it(tmp_path: Path, out: str) -> None:
    picture(tmp_path / "in/a.png")
    with pytest.raises(OutputError, match=r"lies inside the folder that is read|is the source itself"):
        copy(tmp_path / "in", tmp_path / "in" if out == "." else tmp_path / out, overwrite=True)
    assert files_below(tmp_path / "in") == ["a.png"]


@pytest.mark.parametrize(
    ("source", "out", "says"),
    [
        *(("in/a.png", name, "needs a file name") for name in ("b", "b.xyz", "b.mp4")),
        ("in/a.png", "file/b.png", "is a file"),
        *(("in", name, "several images need a folder") for name in ("b.png", "b.mp4")),
        ("in", "file", "is a file, expected a folder"),
    ],
)
def test_places_that_do_not_fit_the_source(tmp_path: Path, source: str, out: str, says: str) -> None:
    picture(tmp_path / "in/a.png")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=says):
        copy(tmp_path / source, tmp_path / out)
    assert files_below(tmp_path) == ["file", "in/a.png"]


# Videos


@pytest.mark.parametrize(
    ("suffix", "codec", "least_db"),
    [
        (".mp4", None, 33),
        (".mkv", None, 33),
        (".avi", None, 33),
        (".mp4", "hevc", 33),
        (".mkv", "mjpeg", 33),
        (".mkv", "ffv1", 100),
    ],
)
def test_a_video_keeps_size_rate_count_and_pictures(
    tmp_path: Path, suffix: str, codec: str | None, least_db: float
) -> None:
    scene = "test:?size=320x240&fps=12.5&frames=20&sigma=0"
    out = tmp_path / f"new/a{suffix}"
    copy(scene, out, codec=codec)
    assert files_below(tmp_path) == [f"new/a{suffix}"]
    with open_source(out) as written, open_source(scene) as source:
        assert (written.size_wh, written.fps, written.frame_count) == ((320, 240), 12.5, 20)
        levels_db = [cv2.PSNR(after.pixels, before.pixels) for after, before in zip(written, source, strict=True)]
    assert min(levels_db) > least_db


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
@pytest.mark.parametrize("fps", [30000 / 1001, 24000 / 1001, 7.3, 60.0])
def test_frame_rates_that_are_not_whole_are_kept(tmp_path: Path, suffix: str, fps: float) -> None:
    copy(f"test:?size=32x32&frames=7&fps={fps!r}", tmp_path / f"a{suffix}")
    with open_source(tmp_path / f"a{suffix}") as written:
        assert written.fps == pytest.approx(fps, abs=1e-3)
        assert len(list(written)) == 7


def test_gray_frames_make_a_video(tmp_path: Path) -> None:
    with open_source(SCENE) as source, open_sink(tmp_path / "a.mkv", source) as sink:
        for frame in source:
            sink.write(frame, frame.pixels[:, :, 1].copy())
    with open_source(tmp_path / "a.mkv") as written:
        first = next(iter(written)).pixels
    np.testing.assert_array_equal(first[:, :, 0], first[:, :, 2])


@pytest.mark.parametrize("size", ["65x48", "64x47", "1x1"])
def test_odd_sizes_are_refused_not_cropped(tmp_path: Path, size: str) -> None:
    with pytest.raises(OutputError, match=f"frames are {size}, a video needs an even width and height: --codec ffv1"):
        copy(f"test:?size={size}", tmp_path / "a.mp4")
    assert files_below(tmp_path) == []
    copy(f"test:?size={size}&frames=2", tmp_path / "a.mkv", codec="ffv1")
    with open_source(tmp_path / "a.mkv") as written:
        assert written.size_wh == tuple(map(int, size.split("x")))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_an_interrupted_video_leaves_what_was_there(tmp_path: Path, suffix: str, error: type[BaseException]) -> None:
    new, old = tmp_path / f"new{suffix}", tmp_path / f"old{suffix}"
    old.write_text("precious")
    for out in (new, old):
        with (
            pytest.raises(error),
            open_source(SCENE) as source,
            open_sink(out, source, overwrite=True) as sink,
        ):
            for frame in source:
                sink.write(frame, frame.pixels)
                if frame.index == 10:
                    assert len(files_below(tmp_path)) == 2 and not new.exists()
                    raise error
    assert old.read_text() == "precious" and files_below(tmp_path) == [old.name]


def test_a_video_that_exists_is_kept_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("precious")
    with pytest.raises(OutputError, match=r"a\.mp4: exists already: pass --overwrite"):
        copy(SCENE, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_text() == "precious"
    copy(SCENE, tmp_path / "a.mp4", overwrite=True)
    with pytest.raises(OutputError, match="is the source itself"):
        copy(tmp_path / "a.mp4", tmp_path / "a.mp4", overwrite=True)


def test_a_video_needs_a_suffix_that_can_be_written(tmp_path: Path) -> None:
    for name in ("a", "a.png", "a.webm"):
        with pytest.raises(OutputError, match=r"a video needs a file name with one of \.mp4 \.mkv \.avi"):
            copy(SCENE, tmp_path / name)


def test_what_goes_into_an_existing_folder_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    copy(SCENE, tmp_path / "a.mkv")
    copy(tmp_path / "a.mkv", tmp_path / "out")
    copy(picture(tmp_path / "a.png"), tmp_path / "out")
    assert files_below(tmp_path / "out") == ["a.mkv", "a.png"]


def test_a_video_whose_frames_change_their_size_says_what_to_do(tmp_path: Path) -> None:
    frames = [np.full((height, 64, 3), 99, np.uint8) for height in (48, 48, 32)]
    (tmp_path / "in.mjpeg").write_bytes(b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames))
    says = r"frame 2 is 64x32, those before were 64x48, .* \(-o NAME-%06d\.png\), or .* \(ffmpeg -i IN -s 64x48 OUT\)"
    with pytest.raises(OutputError, match=says):
        copy(tmp_path / "in.mjpeg", tmp_path / "a.mp4")
    assert files_below(tmp_path) == ["in.mjpeg"]
    copy(tmp_path / "in.mjpeg", tmp_path / "shots-%06d.png")
    assert [read_image(tmp_path / f"shots-00000{index}.png").pixels.shape[0] for index in range(3)] == [48, 48, 32]


def test_a_video_without_a_frame_is_not_written(tmp_path: Path) -> None:
    copy(SCENE, tmp_path / "a.mp4", frames=0)
    assert files_below(tmp_path) == []


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.mp4: no encoder h266 in this PyAV: name another"):
        copy(SCENE, tmp_path / "a.mp4", encoder="h266")
    with pytest.raises(OutputError, match=r"a\.mp4: h264_v4l2m2m cannot encode 64x48 at 12\.5 fps here"):
        copy(SCENE, tmp_path / "a.mp4", encoder="h264_v4l2m2m")
    with pytest.raises(OutputError, match=r"a\.avi: ffv1 has no constant rate factor: leave --crf out"):
        copy(SCENE, tmp_path / "a.avi", codec="ffv1", crf=20)
    with pytest.raises(OutputError, match=r"a\.avi: avi does not hold hevc: name another"):
        copy(SCENE, tmp_path / "a.avi", codec="hevc")
    with pytest.raises(OutputError, match=r"a\.mp4: frames are 48x64, libx265 needs a width of 64"):
        copy("test:?size=48x64&frames=1", tmp_path / "a.mp4", codec="hevc")
    with pytest.raises(UsageError, match="codec and encoder exclude each other"):
        copy(SCENE, tmp_path / "a.mp4", codec="hevc", encoder="libx264")
    assert files_below(tmp_path) == []


# Places that take no file


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_a_full_disk_leaves_no_half_picture(small_disk: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=rf"{name}: cannot be written \(No space left on device\)"):
        copy(picture(tmp_path / "big.png", (400, 400, 3)), small_disk / name)
    assert files_below(small_disk) == []


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
@pytest.mark.parametrize("frames", [10, 90])
def test_a_full_disk_leaves_no_half_video(small_disk: Path, suffix: str, frames: int) -> None:
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\)"):
        copy(f"test:?size=320x240&frames={frames}&sigma=80", small_disk / f"a{suffix}")
    assert files_below(small_disk) == []


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_disk_that_fails_leaves_no_half_video(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match=r"cannot be written \(File too large\)"):
        copy("test:?size=320x240&frames=30&sigma=80", tmp_path / f"a{suffix}")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("spec", ["picture", SCENE])
def test_a_folder_without_permission_is_found_out_before_any_work(
    open_tmp_path: Path, without_rights: Callable[[], None], spec: str
) -> None:
    if spec == "picture":
        spec = str(picture(open_tmp_path / "a.png"))
    locked = open_tmp_path / "locked"
    locked.mkdir(mode=0o555)
    without_rights()
    suffix = ".mp4" if spec == SCENE else ".png"
    for out in (locked / f"b{suffix}", locked / "new" / f"b{suffix}"):
        with open_source(spec) as source, pytest.raises(OutputError, match=r"locked.*no permission"):
            open_sink(out, source)


@pytest.mark.parametrize("spec", ["picture", SCENE])
def test_a_place_that_takes_no_files_at_all(tmp_path: Path, spec: str) -> None:
    suffix = ".mp4" if spec == SCENE else ".png"
    spec = str(picture(tmp_path / "a.png")) if spec == "picture" else spec
    with pytest.raises(OutputError, match=r"/proc/.*(cannot be written|no permission)"):
        copy(spec, Path(f"/proc/b{suffix}"))


# No file at all, and what is done if nothing is said


def test_nothing_is_written_to_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copy(SCENE, None)
    assert files_below(tmp_path) == []


def test_a_window_without_a_screen_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with (
        open_source(SCENE) as source,
        pytest.raises(OutputError, match=r"pip install opencv-python$|no window can be opened here"),
    ):
        open_sink(None, source, show=True)


def test_default_places(tmp_path: Path) -> None:
    def default(spec: str | Path) -> Path | None:
        with open_source(spec) as source:
            return default_output(source)

    assert default(picture(tmp_path / "photo.jpg")) == tmp_path / "photo.denoised.jpg"
    assert default((tmp_path / "photo.jpg").rename(tmp_path / "photo.dat")) == tmp_path / "photo.denoised.png"
    picture(tmp_path / "in.d/a.png")
    assert default(tmp_path / "in.d") == tmp_path / "in.d-denoised"
    copy(SCENE, tmp_path / "clip.mkv")
    assert default(tmp_path / "clip.mkv") == tmp_path / "clip.denoised.mkv"
    (tmp_path / "clip.mkv").rename(tmp_path / "clip.webm")
    assert default(tmp_path / "clip.webm") == tmp_path / "clip.denoised.mp4"
    assert default("test:") is None
    assert default(f"{tmp_path}/in.d/*.png") is None
