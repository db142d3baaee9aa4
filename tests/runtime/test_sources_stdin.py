"""Standard input as a source: a real pipe on descriptor 0."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe.pipeline import Pipeline, PipelineConfig
from quietframe.sources import open_source
from quietframe.sources.stdin import STDIN
from support.stream_servers import jpeg
from support.videos import make

RAW = "-?size=64x48&format=bgr&fps=25"


def frame(level: int) -> np.ndarray:
    """(48, 64, 3) of one level."""
    return np.full((48, 64, 3), level, np.uint8)


@pytest.fixture
def as_stdin() -> Iterator[Callable[[int], None]]:
    """A function that puts an open descriptor in the place of standard input."""
    kept = os.dup(0)

    def put(descriptor: int) -> None:
        os.dup2(descriptor, 0)
        os.close(descriptor)

    yield put
    os.dup2(kept, 0)
    os.close(kept)


@pytest.fixture
def feed(as_stdin: Callable[[int], None]) -> Iterator[Callable[[bytes], None]]:
    """A function that has a thread write bytes to standard input, in small pieces, and end it."""
    writers = []

    def start(data: bytes) -> None:
        reading, writing = os.pipe()
        as_stdin(reading)

        def write() -> None:
            # a test may have seen enough before all is written
            with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb", buffering=0) as pipe:
                for at in range(0, len(data), 1000):
                    pipe.write(data[at : at + 1000])

        writers.append(threading.Thread(target=write))
        writers[-1].start()

    yield start
    for writer in writers:
        writer.join(5)
        assert not writer.is_alive()


def test_raw_frames_come_all_and_in_order(feed: Callable[[bytes], None]) -> None:
    feed(b"".join(frame(level).tobytes() for level in range(40)))
    with open_source(RAW) as source:
        assert (source.moving, source.endless, source.size_wh, source.fps) == (True, True, (64, 48), 25.0)
        frames = list(source)
    assert [it.index for it in frames] == list(range(40))
    for it in frames:
        np.testing.assert_array_equal(it.pixels, frame(it.index))
    assert len({id(it.pixels) for it in frames}) == 40  # frames belong to the caller
    assert (source.damaged, source.reconnects, source.trouble) == (0, 0, None)


@pytest.mark.parametrize("missing", [1, 9215])
def test_a_last_raw_frame_that_is_cut_is_damaged(feed: Callable[[bytes], None], missing: int) -> None:
    feed((frame(1).tobytes() + frame(2).tobytes())[:-missing])
    with open_source(RAW) as source:
        assert len(list(source)) == 1
    assert source.damaged == 1


def test_jpegs_come_all_and_in_order_and_damaged_ones_are_counted(feed: Callable[[bytes], None]) -> None:
    no_picture = b"\xff\xd8\xff\xd9"
    feed(b"noise" + jpeg(10) + no_picture + jpeg(20)[:300] + b"\n\n" + jpeg(30) + jpeg(40)[:-2])
    with open_source("-?format=mjpeg") as source:
        assert (source.size_wh, source.fps) == (None, None)
        levels = [round(float(it.pixels.mean())) for it in source]
        assert source.size_wh == (64, 48)
    assert levels == [10, 30, 40]  # of the last one the end marker alone is missing
    assert source.damaged == 2


def test_frames_above_the_limit_are_said_in_one_line(
    feed: Callable[[bytes], None], denoiser_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = jpeg(10, (128, 96))
    feed(jpeg(1) + large + jpeg(3) + large)
    config = PipelineConfig(max_pixels=64 * 48, drop_frames=False)
    result = Pipeline("-?format=mjpeg", denoiser_file, "null", config).run()
    assert (result.frames, result.damaged) == (2, 2)
    assert [record.message for record in caplog.records if "left out" in record.message] == [
        "2 frames left out: 128x96 pixels, above the limit of 3,072: scale it down, or raise max_pixels"
    ]
    feed(large)
    with pytest.raises(SourceError, match=r"^-\?format=mjpeg: 1 frame left out: 128x96 pixels, above the limit"):
        Pipeline("-?format=mjpeg", denoiser_file, "null", config).run()


def test_cancelling_ends_a_wait_for_input(as_stdin: Callable[[int], None]) -> None:
    reading, writing = os.pipe()
    as_stdin(reading)
    os.write(writing, frame(7).tobytes())
    with open_source(RAW) as source:
        frames = iter(source)
        assert next(frames).pixels[0, 0, 0] == 7
        canceller = threading.Timer(0.2, source.cancel)
        canceller.start()
        start_s = time.monotonic()
        assert list(frames) == []
        assert time.monotonic() - start_s < 1
        canceller.join()
    os.close(writing)


def test_input_without_a_frame_is_refused(
    feed: Callable[[bytes], None], as_stdin: Callable[[int], None], tmp_path: Path
) -> None:
    feed(b"not a picture\n" * 100)
    with pytest.raises(SourceError, match=r"^-: not an image or video that can be read"):
        open_source("-")
    feed(b"not a picture\n" * 100)
    with open_source("-?format=mjpeg") as source, pytest.raises(SourceError, match="ended without a frame: expected"):
        list(source)
    as_stdin(os.open(os.devnull, os.O_RDONLY))
    with open_source("-") as source, pytest.raises(SourceError, match="ended without a frame: expected"):
        list(source)
    as_stdin(os.open(tmp_path, os.O_RDONLY))
    with pytest.raises(SourceError, match="Is a directory"):
        open_source("-")
    master, terminal = pty.openpty()
    as_stdin(terminal)
    with pytest.raises(SourceError, match=r"^-: standard input is a terminal: pipe"):
        open_source("-")
    os.close(master)


def test_an_mp4_whose_index_comes_last_says_how_to_pass_it(feed: Callable[[bytes], None], tmp_path: Path) -> None:
    clip = make(tmp_path / "clip.mp4", "-c:v", "libx264")
    feed(clip.read_bytes())
    with pytest.raises(SourceError, match=r"^-: an MP4 .*give the file, or make its index come first .*faststart"):
        open_source("-")
    feed(make(tmp_path / "fast.mp4", "-c:v", "libx264", "-movflags", "+faststart").read_bytes())
    with open_source("-") as source:
        assert len(list(source)) == 25


def test_no_standard_input_is_said() -> None:
    code = "import quietframe as qf\ntry: qf.open_source('-')\nexcept qf.SourceError as exc: print(exc)"
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" <&-', "-", sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("-: there is no standard input"), done


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("-?format=bgr", "raw frames need a size"),
        ("-?size=64x48", "others have theirs"),
        ("-?format=h266", "format cannot be 'h266'"),
        ("-?width=64", "unknown setting 'width'"),
        ("-?size=64x0&format=bgr", "size cannot be"),
        ("-?size", "expected settings"),
    ],
)
def test_settings_it_does_not_know_are_refused(spec: str, says: str) -> None:
    assert STDIN.matches(spec)
    with pytest.raises(SourceError, match=says) as raised:
        open_source(spec)
    assert "-?size=640x480&format=bgr&fps=30" in str(raised.value)


def test_other_names_are_not_standard_input() -> None:
    assert not STDIN.matches("-o") and not STDIN.matches("--") and not STDIN.matches("a-b.png")


def test_a_pipe_is_live_and_a_file_waits(
    feed: Callable[[bytes], None], as_stdin: Callable[[int], None], tmp_path: Path
) -> None:
    feed(jpeg(10))
    with open_source("-") as source:
        assert source.real_time
    (tmp_path / "clip.mjpeg").write_bytes(jpeg(10) + jpeg(20))
    as_stdin(os.open(tmp_path / "clip.mjpeg", os.O_RDONLY))
    with open_source("-") as source:
        assert not source.real_time
        assert len(list(source)) == 2


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mp4", ".h264"])
@pytest.mark.parametrize("piped", [True, False])
def test_any_video_comes_in_whole(
    feed: Callable[[bytes], None], as_stdin: Callable[[int], None], tmp_path: Path, suffix: str, piped: bool
) -> None:
    movable = ("-movflags", "faststart") if suffix == ".mp4" else ()  # its index first: a pipe cannot go back
    clip = make(tmp_path / f"a{suffix}", "-c:v", "libx264", "-g", 10, *movable)
    if piped:
        feed(clip.read_bytes())
    else:
        as_stdin(os.open(clip, os.O_RDONLY))
    with open_source("-") as source:
        assert (source.real_time, source.endless, source.size_wh, source.fps) == (piped, piped, (320, 240), 25)
        frames = list(source)
    assert (len(frames), source.damaged, source.failures) == (25, 0, [])
    if suffix != ".h264":
        assert [it.time_s for it in frames] == pytest.approx([index / 25 for index in range(25)], abs=2e-3)
    with open_source(clip) as file:
        for theirs, ours in zip(file, frames, strict=True):
            np.testing.assert_array_equal(theirs.pixels, ours.pixels)


@pytest.mark.parametrize("name", ["stream_no_eoi.mjpeg", "stream_double_soi.mjpeg"])
def test_markers_that_cameras_get_wrong_cost_nothing(as_stdin: Callable[[int], None], name: str) -> None:
    folder = os.environ.get("QUIETFRAME_CASES")
    if not folder:
        pytest.skip("QUIETFRAME_CASES is not set")
    path = Path(folder, "streams", name)
    as_stdin(os.open(path, os.O_RDONLY))
    for spec in ("-", path):
        with open_source(spec, input_fps=12.5) as source:
            assert len(list(source)) == 6
        assert (source.damaged, source.failures, source.fps) == (0, [], 12.5)
