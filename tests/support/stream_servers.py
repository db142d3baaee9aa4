"""Servers for tests of streams: Python's own, which a test scripts, and programs in processes of their own."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.sources import Frame, Source

SECRET = "hunter2secret"
PERIOD_S = 0.02


def jpeg(level: int, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    """A picture of one level."""
    return cv2.imencode(".jpg", np.full((size_wh[1], size_wh[0], 3), level, np.uint8))[1].tobytes()


def level_of(frame: Frame) -> int:
    """The level that a picture was made with, give or take one."""
    return round(float(frame.pixels.mean()))


class Answer:
    """What a test's server sends to one request."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self.headers, self.path = handler.headers, handler.path
        self._handler = handler

    def begin(self, kind: str = "multipart/x-mixed-replace; boundary=frame", status: int = 200, **headers: str) -> None:
        """Send the status and the headers."""
        self._handler.send_response(status)
        self._handler.send_header("Content-Type", kind)
        for key, value in headers.items():
            self._handler.send_header(key.replace("_", "-"), value)
        self._handler.end_headers()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def part(self, picture: bytes) -> None:
        """Send a part, and give the reader time to take it."""
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        self.send(head.encode() + picture + b"\r\n")
        time.sleep(PERIOD_S)

    def parts_for_ever(self, first: int = 0) -> None:
        """Send pictures whose levels go up from `first` and start again at 240."""
        for level in range(first, 10**6):
            self.part(jpeg(level % 240))


class Server:
    """An HTTP server whose answers a test scripts: one function a request, the last for all that follow."""

    def __init__(self) -> None:
        self.scripts: list[Callable[[Answer], None]] = []
        self.requests: list[Answer] = []
        self.times_s: list[float] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = Answer(self)
                outer.requests.append(answer)
                outer.times_s.append(time.monotonic())
                with suppress(OSError):  # the other side hung up
                    outer.scripts[min(len(outer.requests), len(outer.scripts)) - 1](answer)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/video"

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server to script."""
    server = Server()
    yield server
    server.close()
    assert wait_until(lambda: not readers(), 5)  # whoever read it has hung up


def readers() -> list[threading.Thread]:
    """The threads that read streams."""
    return [thread for thread in threading.enumerate() if thread.name == "quietframe-stream"]


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition. Returns whether it came."""
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return condition()


def take(source: Source, count: int) -> list[Frame]:
    """The next frames."""
    return [frame for _, frame in zip(range(count), source, strict=False)]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def endless(answer: Answer, first: int = 0) -> None:
    """A server's answer that is a stream without end."""
    answer.begin()
    answer.parts_for_ever(first)


def sends_file(path: Path, kind: str) -> Callable[[Answer], None]:
    """A server's answer that is a file."""

    def script(answer: Answer) -> None:
        answer.begin(kind, Content_Length=str(path.stat().st_size))
        answer.send(path.read_bytes())

    return script


class Program:
    """A server in a process of its own, killed at the end."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.communicate()


def wait_for_port(port: int) -> None:
    """Wait until somebody listens there, without saying anything to them (ffmpeg hears one client only)."""
    listening = f":{port:04X} 00000000:0000 0A"
    assert wait_until(lambda: listening in Path("/proc/net/tcp").read_text(), 8)


@pytest.fixture(scope="module")
def gstreamer() -> str:
    """A Python that can run GStreamer's RTSP server."""
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    for python in filter(None, ("/usr/bin/python3", shutil.which("python3"))):
        if Path(python).exists() and not subprocess.call([python, "-c", code], stderr=subprocess.DEVNULL):
            return python
    pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, python3-gi)")


def rtsp_server(python: str, port: int, *options: str) -> Program:
    """GStreamer's RTSP server at /live; see `rtsp_server.py`."""
    program = Program([python, str(Path(__file__).with_name("rtsp_server.py")), str(port), *options])
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "ready\n"
    return program


def ffmpeg_server(port: int) -> Program:
    """ffmpeg's MJPEG over HTTP: 160×120 at 20 frames a second."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is not installed")
    scene = (ffmpeg, "-v", "quiet", "-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=20")
    program = Program([*scene, "-f", "mpjpeg", "-listen", "1", f"http://127.0.0.1:{port}/"])
    wait_for_port(port)
    return program


@pytest.fixture(params=["http", "rtsp"])
def served(request: pytest.FixtureRequest) -> tuple[str, Callable[[], Program]]:
    """(address, what starts the server there): ffmpeg's and GStreamer's."""
    port = free_port()
    if request.param == "rtsp":
        python = request.getfixturevalue("gstreamer")
        return f"rtsp://127.0.0.1:{port}/live?token={SECRET}", lambda: rtsp_server(python, port)
    return f"http://me:{SECRET}@127.0.0.1:{port}/?token={SECRET}", lambda: ffmpeg_server(port)
