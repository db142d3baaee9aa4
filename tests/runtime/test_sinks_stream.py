"""Results for other programs: standard output, RTSP, RTMP and UDP, taken by programs of others over loopback."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.errors import OutputError
from quietframe.pipeline import Pipeline
from quietframe.sinks import open_sink
from quietframe.sources import Frame, Source, open_source
from support.stream_servers import SECRET, Program, free_port, rtsp_server
from support.videos import ffmpeg, make, probe

SCENE = "test:?size=64x48&fps=25&frames=50&sigma=0"
BITS = 16


class Stamped(Source):
    """A camera of 320x240 whose frames show when they were taken, in milliseconds, as bars for the bits."""

    endless = real_time = True

    def __init__(self, fps: float = 25.0) -> None:
        super().__init__()
        self.fps, self.size_wh = fps, (320, 240)

    def __iter__(self) -> Iterator[Frame]:
        start_s, index = time.monotonic(), 0
        while not self._cancelled.wait(max(0.0, start_s + index / self.fps - time.monotonic())):
            now_ns = time.monotonic_ns()
            stamp = np.array([220 if (now_ns // 10**6) >> bit & 1 else 30 for bit in range(BITS)], np.uint8)
            yield Frame(cv2.merge([np.tile(np.repeat(stamp, 20), (240, 1))] * 3), index, now_ns)
            index += 1


def latency_ms(frame: Frame) -> int:
    """How long ago a frame of `Stamped` was taken."""
    bars = frame.pixels[110:130, :, 0].reshape(20, BITS, 20)[:, :, 5:15].mean((0, 2)) > 125
    stamp = sum(1 << bit for bit in range(BITS) if bars[bit])
    return (time.monotonic_ns() // 10**6 - stamp) % (1 << BITS)


def denoise_to_stdout(source: str, *options: object, model: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "quietframe", "denoise", source, "-o", "-", "-m", str(model)]
    return subprocess.run([*command, *map(str, options)], capture_output=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("shape", "reads"),
    [
        ("bgr", ("-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "64x48")),
        ("i420", ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x48")),
        ("mjpeg", ("-f", "mjpeg")),
        ("mpegts", ("-f", "mpegts")),
    ],
)
def test_standard_output_is_what_others_read(tmp_path: Path, denoiser_file: Path, shape: str, reads: tuple) -> None:
    done = denoise_to_stdout(SCENE, "--format", shape, "--sigma", 0, model=denoiser_file)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1  # what is said goes elsewhere
    (tmp_path / "out").write_bytes(done.stdout)
    data = ffmpeg(*reads, "-i", tmp_path / "out", "-f", "rawvideo", "-pix_fmt", "bgr24", "-")
    frames = np.frombuffer(data, np.uint8).reshape(-1, 48, 64, 3)
    with open_source(SCENE) as source:
        scene = [frame.pixels for frame in source]
    assert len(frames) == 50
    for theirs, ours in zip(frames, scene, strict=True):
        assert cv2.PSNR(theirs, ours) > (60 if shape == "bgr" else 24)


def test_sound_goes_along_in_a_transport_stream(tmp_path: Path, denoiser_file: Path) -> None:
    sound = ("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac")
    clip = make(tmp_path / "a.mp4", *sound)
    done = denoise_to_stdout(str(clip), model=denoiser_file)
    (tmp_path / "b.ts").write_bytes(done.stdout)
    assert [stream["codec_name"] for stream in probe(tmp_path / "b.ts")["streams"]] == ["h264", "aac"]


def test_a_reader_that_goes_away_ends_it(denoiser_file: Path) -> None:
    scene = "test:?size=64x48&frames=0"
    command = [sys.executable, "-m", "quietframe", "denoise", scene, "-o", "-", "--format", "bgr", "-m", denoiser_file]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert len(process.stdout.read(64 * 48 * 3)) == 64 * 48 * 3
        process.stdout.close()
        errors = process.stderr.read().decode()
        assert process.wait(60) == 2
    assert errors.splitlines() == ["quietframe: error: -: cannot be written (Broken pipe)"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-o", "-", "--json"), "--json and -o - would both write to standard output"),
        (
            ("-o", "a.mp4", "--format", "bgr"),
            "--format is for images named after their source or for standard output",
        ),
        (("-o", "-", "--format", "png"), "-: --format png is for images: expected mpegts mjpeg bgr i420"),
        (("-o", "srt://127.0.0.1:9"), "expected rtsp://, rtmp://, rtmps://, udp://"),
        (
            ("-o", f"rtsp://me:{SECRET}@127.0.0.1:9/in"),
            r"rtsp://***@127.0.0.1:9/in: cannot be written (Connection refused)",
        ),
        (("-o", "udp://127.0.0.1:9", "--encoder", "h266"), "no encoder h266"),
    ],
)
def test_what_cannot_be_sent_is_one_line(cli, denoiser_file, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    result = cli("denoise", SCENE, *arguments, "-m", denoiser_file)
    assert (result.code, bool(result.out), len(result.error_lines)) == (2, "--json" in arguments, 1), result
    assert says in result.error_lines[0]
    assert SECRET not in result.err
    assert list(tmp_path.glob("*.mp4")) == []


def test_images_are_no_stream(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    for out in ("-", "udp://127.0.0.1:9"):
        with open_source(tmp_path / "a.png") as source, pytest.raises(OutputError, match="images go to a file"):
            open_sink(out, source)


# Servers


@pytest.fixture
def published(gstreamer: str) -> Iterator[tuple[int, int, list[Program]]]:
    """A real RTSP server that takes a video: its port, the port where it sends it on, and the program."""
    port, relay = free_port(), free_port()
    programs = [rtsp_server(gstreamer, port, "--relay", str(relay))]
    yield port, relay, programs
    for program in programs:
        program.kill()


@pytest.fixture
def running(denoiser_file: Path) -> Iterator[list[Pipeline]]:
    """Pipelines to start in threads; all are stopped at the end."""
    pipelines: list[Pipeline] = []
    yield pipelines
    for pipeline in pipelines:
        pipeline.stop()


def start(pipeline: Pipeline, running: list[Pipeline]) -> threading.Thread:
    running.append(pipeline)
    thread = threading.Thread(target=pipeline.run, daemon=True)
    thread.start()
    return thread


def test_a_stream_is_published_and_pulled_back(published, running, denoiser_file: Path) -> None:
    port, relay, _ = published
    pipeline = Pipeline(Stamped(), denoiser_file, [f"rtsp://127.0.0.1:{port}/in"])
    thread = start(pipeline, running)
    with open_source(f"udp://127.0.0.1:{relay}", timeout_s=40) as back:
        assert back.size_wh == (320, 240)
        latencies_ms = [latency_ms(frame) for _, frame in zip(range(75), back, strict=False)]
    assert np.median(latencies_ms[25:]) < 1500  # 110 ms in a quiet moment: docs/restream.md
    stopped_s = time.monotonic()
    pipeline.stop()
    thread.join(20)
    assert not thread.is_alive() and time.monotonic() - stopped_s < 5


def test_a_server_that_goes_away_is_called_again(published, running, gstreamer: str, denoiser_file: Path) -> None:
    port, relay, programs = published
    start(Pipeline(Stamped(), denoiser_file, [f"rtsp://127.0.0.1:{port}/in"]), running)
    with open_source(f"udp://127.0.0.1:{relay}", timeout_s=40) as back:
        frames = iter(back)
        next(frames)
        programs.pop().kill()
        time.sleep(1.5)
        programs.append(rtsp_server(gstreamer, port, "--relay", str(relay)))
        began_ns = time.monotonic_ns()
        assert any(frame.captured_ns > began_ns and latency_ms(frame) < 5000 for frame in frames)


def test_rtmp_reaches_its_server(tmp_path: Path, running, denoiser_file: Path) -> None:
    port, out = free_port(), tmp_path / "a.mkv"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-listen", "1", "-i", f"rtmp://127.0.0.1:{port}/live/x"]
    with subprocess.Popen([*command, "-c", "copy", "-frames:v", "40", out], stderr=subprocess.PIPE) as server:
        try:
            time.sleep(2)
            start(Pipeline(Stamped(), denoiser_file, [f"rtmp://127.0.0.1:{port}/live/x"]), running)
            assert server.wait(60) == 0
        finally:
            server.kill()
    written = probe(out)
    assert (written["codec_name"], written["width"], written["height"]) == ("h264", 320, 240)
    assert len(written["times_s"]) == 40
