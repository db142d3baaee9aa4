"""Streams that FFmpeg reads, and streams of ffmpeg and GStreamer that are killed and started again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe.sources import Frame, open_source
from support.process import run_python
from support.stream_servers import (
    SECRET,
    Answer,
    Program,
    Server,
    free_port,
    level_of,
    rtsp_server,
    sends_file,
    take,
    wait_until,
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A video of 30 frames, each 8 levels brighter than the one before."""
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for level in range(0, 240, 8):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return path


def test_a_recording_over_http_is_read_whole_and_ends(server: Server, recording: Path) -> None:
    server.scripts = [sends_file(recording, "video/x-msvideo")]
    with open_source(f"http://me:{SECRET}@127.0.0.1:{server.port}/a.avi") as source:
        assert (source.endless, source.frame_count, source.fps, source.size_wh) == (False, 30, 12.5, (64, 48))
        frames = []
        for frame in source:
            time.sleep(0.005)  # slower than it is read
            frames.append(frame)
    assert [round(level_of(frame) / 8) for frame in frames] == list(range(30))
    assert (source.failures, source.reconnects, source.trouble) == ([], 0, None)


def test_a_recording_that_is_cut_short_says_so_and_one_may_be_left_early(server: Server, recording: Path) -> None:
    recording.write_bytes(recording.read_bytes()[: recording.stat().st_size // 2])
    server.scripts = [sends_file(recording, "video/x-msvideo")]
    with open_source(f"http://me:{SECRET}@127.0.0.1:{server.port}/a.avi") as source:
        frames = list(source)
    assert 0 < len(frames) < 25
    (line,) = source.failures
    assert re.fullmatch(
        rf"http://\*\*\*@127.0.0.1:{server.port}/a.avi: cut short or damaged: ends after [\d.]+ of [\d.]+ s", line
    )
    with open_source(f"http://127.0.0.1:{server.port}/a.avi") as source:
        assert len(take(source, 2)) == 2


def test_ffmpeg_prints_nothing_of_an_address(server: Server, tmp_path: Path) -> None:
    """In a process of its own and without the command line: FFmpeg writes to the real descriptors."""
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nmissing.ts\n#EXTINF:1,\nmissing2.ts\n"
    (tmp_path / "a.m3u8").write_text(playlist)

    def script(answer: Answer) -> None:
        if ".ts" in answer.path:
            answer.begin("text/plain", 404, Content_Length="0")
        else:
            sends_file(tmp_path / "a.m3u8", "application/vnd.apple.mpegurl")(answer)

    server.scripts = [script]
    code = (
        "import sys, quietframe as qf\n"
        "for spec in sys.argv[1:]:\n"
        "    try: qf.open_source(spec, timeout_s=3)\n"
        "    except qf.SourceError as exc: print(exc)\n"
    )
    address = f"//me:{SECRET}@127.0.0.1:{server.port}/a.m3u8?token={SECRET}"
    done = subprocess.run(
        [sys.executable, "-c", code, f"rtsp:{address}", f"http:{address}"],
        capture_output=True,
        text=True,
        timeout=14,
        check=True,  # Python ends while FFmpeg still waits: that must not abort it
        env={key: value for key, value in os.environ.items() if not key.startswith("OPENCV_")},
    )
    assert len(done.stdout.splitlines()) == 2, done
    assert SECRET not in done.stdout + done.stderr
    assert len(server.requests) > 2  # FFmpeg was there


# ffmpeg and GStreamer as servers


def test_a_stream_is_read_through_a_restart_of_its_server(served: tuple[str, Callable[[], Program]]) -> None:
    spec, start = served
    program = start()
    killed_ns: list[int] = []
    started_ns: list[int] = []
    try:
        with open_source(spec, timeout_s=5) as source:
            assert (source.endless, source.size_wh) == (True, (160, 120))
            frames = []
            for frame in source:
                frames.append(frame)
                if len(frames) == 10:
                    program.kill()
                    killed_ns.append(time.monotonic_ns())

                    def restart() -> None:
                        nonlocal program
                        while not source.trouble:
                            time.sleep(0.01)
                        assert SECRET not in source.trouble
                        started_ns.append(time.monotonic_ns())
                        program = start()

                    restarter = threading.Thread(target=restart)
                    restarter.start()
                if source.reconnects and len(frames) >= 20:
                    break
            restarter.join(5)
            assert (source.reconnects, source.trouble) == (1, None)
    finally:
        program.kill()
    assert [frame.index for frame in frames] == list(range(len(frames)))
    # What was under way when the server died may still come; then there is nothing until it is back.
    after = [frame for frame in frames if frame.captured_ns > started_ns[0]]
    between = [frame for frame in frames if killed_ns[0] + 5e8 < frame.captured_ns < started_ns[0]]
    assert between == [] and 5 <= len(after) < len(frames)


def test_rtsp_frames_come_as_they_are_sent(gstreamer: str) -> None:
    port = free_port()
    program = rtsp_server(gstreamer, port)
    try:
        with open_source(f"rtsp://127.0.0.1:{port}/live") as source:
            assert source.fps == 20
            frames = take(source, 20)
            with pytest.raises(SourceError, match=rf"^rtsp://127.0.0.1:{port}/other: answers 404 Not Found$"):
                open_source(f"rtsp://127.0.0.1:{port}/other")
    finally:
        program.kill()
    gaps_s = np.diff([frame.captured_ns for frame in frames]) / 1e9
    # What FFmpeg kept while it looked at the stream would come all at once.
    assert np.median(gaps_s) > 0.03 and np.count_nonzero(gaps_s < 0.01) < 5


def test_python_ends_in_peace_while_a_stream_is_open(gstreamer: str) -> None:
    port = free_port()
    program = rtsp_server(gstreamer, port)
    code = "import sys, quietframe as qf\nfor frame in qf.open_source(sys.argv[1]):\n    if frame.index == 2: break"
    try:
        done = run_python("-c", code, f"rtsp://127.0.0.1:{port}/live", check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    finally:
        program.kill()


def test_rtsp_takes_a_login(gstreamer: str) -> None:
    port = free_port()
    program = rtsp_server(gstreamer, port, "--login", "me", SECRET)
    try:
        with open_source(f"rtsp://me:{SECRET}@127.0.0.1:{port}/live") as source:
            assert len(take(source, 3)) == 3
        with pytest.raises(SourceError, match="refuses this user or password") as raised:
            open_source(f"rtsp://me:wrong{SECRET}@127.0.0.1:{port}/live")
        assert SECRET not in str(raised.value)
        with pytest.raises(SourceError, match="asks for a user and a password"):
            open_source(f"rtsp://127.0.0.1:{port}/live")
    finally:
        program.kill()


def ball_of(frame: Frame) -> tuple[int, int]:
    """How many pixels of the scene's white ball there are, and how many that are neither white nor black."""
    gray = frame.pixels if frame.pixels.ndim == 2 else frame.pixels[..., 1]
    return int((gray > 128).sum()), int(((gray > 70) & (gray < 180)).sum())


@pytest.mark.parametrize(
    ("codec", "query", "lost"),
    [("h264", "", 0), ("h265", "", 0), ("h264", "?udp", 0.03), ("h265", "?udp", 0.03), ("jpeg", "?udp", 0.05)],
)
def test_no_frame_is_gray_or_smeared(gstreamer: str, codec: str, query: str, lost: float) -> None:
    port = free_port()
    program = rtsp_server(gstreamer, port, "--codec", codec, "--drop", str(lost))
    try:
        with open_source(f"rtsp://127.0.0.1:{port}/live{query}", timeout_s=30) as source:
            assert (source.size_wh, source.endless) == ((160, 120), True)
            frames = take(source, 60)
            assert (source.damaged > 0) == (lost > 0)
    finally:
        program.kill()
    for frame in frames:
        white, between = ball_of(frame)
        assert 1100 < white < 1170 and between < 140, frame.index  # one whole ball


def started(source: str, stats: Path, model: Path) -> subprocess.Popen[str]:
    """`quietframe denoise`, once it has denoised frames."""
    command = [sys.executable, "-m", "quietframe", "denoise", source, "-o", "null", "--json-stats", str(stats)]
    process = subprocess.Popen([*command, "-m", str(model)], stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: stats.exists() and '"size_wh": [' in stats.read_text(), 60)
    return process


def seconds_to_end(process: subprocess.Popen[str]) -> tuple[float, str]:
    """Send Ctrl-C; how long the process takes to end, and what it says."""
    began_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    return time.monotonic() - began_s, errors


@pytest.fixture
def exit_s(tmp_path: Path, denoiser_file: Path) -> float:
    """How long the end takes here and now where a source answers."""
    seconds, _ = seconds_to_end(started("test:?size=64x48&frames=0", tmp_path / "exit", denoiser_file))
    return seconds


@pytest.mark.parametrize("gone", [False, True], ids=["silent", "gone"])
def test_ctrl_c_ends_at_once_while_no_frames_come(
    gstreamer: str, tmp_path: Path, denoiser_file: Path, exit_s: float, gone: bool
) -> None:
    port, stats = free_port(), tmp_path / "stats"
    program = rtsp_server(gstreamer, port, "--codec", "h264")
    try:
        with started(f"rtsp://127.0.0.1:{port}/live", stats, denoiser_file) as process:
            if gone:  # it waits for a while, then tries again
                program.process.kill()
                assert wait_until(lambda: "rtsp://" in stats.read_text(), 30)
            else:
                program.process.send_signal(signal.SIGSTOP)
                time.sleep(2)
            seconds, errors = seconds_to_end(process)
    finally:
        program.process.send_signal(signal.SIGCONT)
        program.kill()
    assert process.returncode == 0, errors
    *said, line = errors.splitlines()  # FFmpeg says nothing
    assert " frames" in line and bool(said) == gone
    assert all(text.startswith("quietframe: warning: rtsp://") for text in said)
    assert seconds < 1 + exit_s


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp"])
@pytest.mark.parametrize("connects", [False, True], ids=["no connection", "no answer"])
def test_ctrl_c_ends_at_once_while_an_address_does_not_answer(exit_s: float, scheme: str, connects: bool) -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for client in () if connects else (first, second):  # the queue is full: whoever comes next hears nothing
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        state = "01" if connects else "02"  # of TCP: connected, or trying to
        trying = f"0100007F:{port:04X} {state}"
        before = Path("/proc/net/tcp").read_text().count(trying)
        command = [sys.executable, "-m", "quietframe", "denoise", f"{scheme}://127.0.0.1:{port}/live", "-o", "null"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert wait_until(lambda: Path("/proc/net/tcp").read_text().count(trying) > before, 30)
            time.sleep(0.5)
            seconds, errors = seconds_to_end(process)
    assert (process.returncode, errors.strip()) == (130, "quietframe: interrupted")
    assert seconds < 1 + exit_s
