"""Streams over the network, from real servers on loopback: Python's own, ffmpeg's and GStreamer's.

The servers that a test needs to be exact about (a cut picture, silence, a login) are Python's `http.server`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.errors import SourceError, UsageError
from quietframe.sources import Frame, Source, open_source, stream

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


def readers() -> list[threading.Thread]:
    """The threads that read streams."""
    return [thread for thread in threading.enumerate() if thread.name == "quietframe-stream"]


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition. Returns whether it came."""
    deadline_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return condition()


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """Every test ends with the threads of its sources gone, at the latest when their patience is over."""
    yield
    assert wait_until(lambda: not readers(), 5)


def take(source: Source, count: int) -> list[Frame]:
    """The next frames."""
    return [frame for _, frame in zip(range(count), source, strict=False)]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# MJPEG over HTTP


@pytest.mark.parametrize(
    "kind", ["multipart/x-mixed-replace; boundary=frame", "multipart/x-mixed-replace", "application/octet-stream"]
)
def test_jpegs_over_http_are_frames(server: Server, kind: str) -> None:
    def script(answer: Answer) -> None:
        answer.begin(kind)
        answer.parts_for_ever()

    server.scripts = [script]
    with open_source(server.url) as source:
        assert (source.moving, source.endless, source.size_wh, source.fps) == (True, True, (64, 48), None)
        assert (source.path, list(source.files), list(source.names), source.frame_count) == (None, [], [], None)
        frames = take(source, 20)
        assert (source.damaged, source.reconnects, source.trouble, source.failures) == (0, 0, None, [])
    assert [frame.index for frame in frames] == list(range(20))
    levels = [level_of(frame) for frame in frames]
    assert levels == sorted(set(levels))
    times_ns = [frame.captured_ns for frame in frames]
    assert times_ns == sorted(times_ns) and 0 < time.monotonic_ns() - times_ns[-1] < 10**9
    assert frames[0].pixels.shape == (48, 64, 3) and frames[0].name == ""


def test_chunked_answers_and_bare_jpegs_are_read(server: Server) -> None:
    def script(answer: Answer) -> None:
        answer._handler.protocol_version = "HTTP/1.1"
        answer.begin("video/x-motion-jpeg", Transfer_Encoding="chunked")
        for level in range(200):
            picture = jpeg(level)
            for piece in (picture[:100], picture[100:]):
                answer.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            time.sleep(PERIOD_S)

    server.scripts = [script]
    with open_source(server.url) as source:
        assert len(take(source, 5)) == 5
        assert source.damaged == 0


def test_a_slow_reader_gets_the_newest_frames(server: Server) -> None:
    def script(answer: Answer) -> None:
        answer.begin()
        answer.parts_for_ever()

    server.scripts = [script]
    with open_source(server.url) as source:
        time.sleep(0.3)  # as a model loads
        ages_s, levels = [], []
        for _, frame in zip(range(6), source, strict=False):
            ages_s.append((time.monotonic_ns() - frame.captured_ns) / 1e9)
            levels.append(level_of(frame))
            time.sleep(0.15)
    assert max(ages_s) < 0.12
    assert levels[0] > 5 and min(np.diff(levels)) >= 3


def test_damaged_pictures_are_counted_and_passed_over(server: Server) -> None:
    def script(answer: Answer) -> None:
        answer.begin()
        answer.part(jpeg(10))
        answer.part(jpeg(20)[:400])  # cut short
        answer.part(jpeg(30))
        answer.part(b"")
        answer.part(b"\xff\xd8\xff\xd9")  # holds nothing
        answer.parts_for_ever(100)

    server.scripts = [script]
    with open_source(server.url) as source:
        frames = take(source, 10)
        assert source.damaged == 3
        assert (source.reconnects, source.trouble) == (0, None)
    assert [frame.index for frame in frames] == list(range(10))
    assert not {20} & {level_of(frame) for frame in frames}


def test_a_change_of_size_is_given_as_it_comes(server: Server) -> None:
    def script(answer: Answer) -> None:
        answer.begin()
        for level in range(5):
            answer.part(jpeg(level))
        for level in range(5, 240):
            answer.part(jpeg(level, (96, 80)))

    server.scripts = [script]
    with open_source(server.url) as source:
        shapes = [frame.pixels.shape for frame in take(source, 15)]
    assert shapes[-1] == (80, 96, 3) and set(shapes) <= {(48, 64, 3), (80, 96, 3)}


@pytest.mark.parametrize("ending", ["an end", "silence"])
def test_a_broken_stream_is_opened_again(server: Server, ending: str) -> None:
    released = threading.Event()

    def breaks(answer: Answer) -> None:
        answer.begin()
        for level in range(1, 11):
            answer.part(jpeg(level))
        if ending == "silence":
            released.wait(10)

    def works(answer: Answer) -> None:
        answer.begin()
        answer.parts_for_ever(100)

    server.scripts = [breaks, works]
    troubles = []

    def watch(source: Source) -> None:
        while not source.trouble:
            time.sleep(0.01)
        troubles.append(source.trouble)

    with open_source(f"{server.url}?token={SECRET}&channel=3", timeout_s=0.6) as source:
        watcher = threading.Thread(target=watch, args=(source,))
        watcher.start()
        frames = []
        for frame in source:
            assert source.trouble is None
            frames.append(frame)
            if len(frames) > 3 and level_of(frame) > 105:
                break
        assert (source.reconnects, source.trouble, source.damaged) == (1, None, 0)
    released.set()
    watcher.join(2)
    reason = "the stream ended" if ending == "an end" else "no frame for 0.6 s"
    # The thread that reads and the one that waits notice silence at the same time.
    assert re.fullmatch(
        rf"http://127.0.0.1:\d+/video\?token=\*\*\*&channel=3: ({reason}|silent for 0.6 s)", troubles[0]
    )
    assert [frame.index for frame in frames] == list(range(len(frames)))
    (gap,) = [at for at in range(1, len(frames)) if level_of(frames[at]) >= 99 > level_of(frames[at - 1])]
    pause_s = (frames[gap].captured_ns - frames[gap - 1].captured_ns) / 1e9
    assert pause_s >= 0.5 + (0.6 if ending == "silence" else 0) - 0.05
    assert all(np.diff([frame.captured_ns for frame in frames]) > 0)
    assert all(1 <= level_of(frame) <= 11 for frame in frames[:gap])


def test_pauses_grow_and_begin_anew_after_a_frame(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PAUSES_S", (0.05, 0.2, 0.4))

    def one_frame(answer: Answer) -> None:
        answer.begin()
        answer.part(jpeg(50))

    def refuses(answer: Answer) -> None:
        answer.begin("text/plain", 503)

    server.scripts = [one_frame, refuses, refuses, refuses, one_frame, one_frame]
    with open_source(server.url) as source:
        frames = take(source, 3)
        assert source.reconnects == 2
    assert [frame.index for frame in frames] == [0, 1, 2]
    gaps_s = np.diff(server.times_s[:6])
    assert all(low <= gap_s < low + 0.19 for gap_s, low in zip(gaps_s, (0.05, 0.2, 0.4, 0.4, 0.05), strict=True)), (
        gaps_s
    )


def test_the_pauses_are_as_documented() -> None:
    assert stream.PAUSES_S == (0.5, 1, 2, 4, 8, 10)


@pytest.mark.parametrize("state", ["silent", "pausing", "connecting"])
def test_cancelling_ends_the_iteration_at_once(server: Server, state: str) -> None:
    released = threading.Event()

    def first(answer: Answer) -> None:
        answer.begin()
        answer.part(jpeg(50))
        if state == "silent":
            released.wait(10)

    def later(answer: Answer) -> None:
        released.wait(10)

    server.scripts = [first, later]
    with open_source(server.url, timeout_s=3) as source:
        frames = iter(source)
        next(frames)
        wait_s = {"silent": 0.3, "pausing": 0.2, "connecting": 0.9}[state]
        ended_s = []

        def cancel() -> None:
            time.sleep(wait_s)
            ended_s.append(time.monotonic())
            source.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        assert list(frames) == []
        assert time.monotonic() - ended_s[0] < 0.3
        assert (source.trouble is None) == (state == "silent")
        canceller.join()
        released.set()


# What cannot be opened


@pytest.mark.parametrize("state", ["accepts", "headers", "pieces", "garbage"])
@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_gives_no_frame_is_an_error_in_time(server: Server, scheme: str, state: str) -> None:
    released = threading.Event()

    def script(answer: Answer) -> None:
        if state != "accepts":
            answer.begin()
        while not released.wait(0.05):
            if state == "pieces":
                answer.send(b"--frame\r\n")
            if state == "garbage":
                answer.part(b"\xff\xd8\xff\xd9")

    server.scripts = [script]
    start_s = time.monotonic()
    with pytest.raises(SourceError) as raised:
        open_source(f"{scheme}://me:{SECRET}@127.0.0.1:{server.port}/x?token={SECRET}", timeout_s=0.6)
    assert time.monotonic() - start_s < 1.6
    if scheme == "http" and state in ("pieces", "garbage"):  # whoever reads these hangs up, though they go on
        assert wait_until(lambda: not readers(), 1)
    released.set()
    message = str(raised.value)
    assert message.startswith(f"{scheme}://***@127.0.0.1:{server.port}/x?token=***: ") and "\n" not in message
    if scheme == "http":
        assert re.search(r"(no frame for|silent for) 0\.6 s$", message)
    assert SECRET not in message


def test_a_silent_port_is_an_error_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=5) as listener:
        for scheme in ("http", "https", "rtsp"):
            start_s = time.monotonic()
            with pytest.raises(SourceError, match=r"(no frame for|silent for) 0\.4 s|no video"):
                open_source(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/", timeout_s=0.4)
            assert time.monotonic() - start_s < 1.4


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_refused(timeout_s: float) -> None:
    with pytest.raises(UsageError, match=r"Expected timeout_s in \(0, 86400\]\. Received"):
        open_source("test:", timeout_s=timeout_s)


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp", "rtsps"])
def test_nobody_there_is_an_error_at_once(scheme: str) -> None:
    start_s = time.monotonic()
    with pytest.raises(SourceError, match=rf"^{scheme}://\*\*\*@127\.0\.0\.1:\d+/live: Connection refused$"):
        open_source(f"{scheme}://me:{SECRET}@127.0.0.1:{free_port()}/live")
    assert time.monotonic() - start_s < 2


@pytest.mark.parametrize(
    ("kind", "status", "body", "says"),
    [
        ("text/plain", 404, b"", "answers 404 Not Found"),
        ("text/plain", 503, b"", "answers 503 Service Unavailable"),
        ("text/plain", 401, b"", "asks for a user and a password"),
        ("image/jpeg", 200, jpeg(50), "is a single picture"),
        ("image/png", 200, b"\x89PNG", "is a single picture"),
        ("text/html; charset=utf-8", 200, b"<html></html>", "is a web page"),
        ("multipart/x-mixed-replace", 200, b"", "the stream ended"),
        ("application/json", 200, b"{}", "no video that FFmpeg can read"),
    ],
)
def test_answers_that_are_no_stream_are_told(server: Server, kind: str, status: int, body: bytes, says: str) -> None:
    def script(answer: Answer) -> None:
        answer.begin(kind, status, Content_Length=str(len(body)))
        answer.send(body)

    server.scripts = [script]
    with pytest.raises(SourceError, match=says) as raised:
        open_source(f"{server.url}?sig={SECRET}", timeout_s=3)
    assert str(raised.value).startswith(f"{server.url}?sig=***: ")


@pytest.mark.parametrize(
    "spec",
    [
        f"ftp://me:{SECRET}@host/x",
        f"rtmp://host/x?key={SECRET}",
        f"rtsp://:{SECRET}@/x",
        f"http://me:{SECRET}@127.0.0.1:99999/",
        f"http://me:{SECRET}@[::1/x",
        f"rtsp://me:{SECRET}@[::1/x",
        f"http://me:{SECRET}@127.0.0.1:9/ö \n",
        f"http://me:{SECRET}@no-such-host.invalid/{'x' * 9000}",
        f"rtsp://me:{SECRET}/@127.0.0.1:9/live",
        f"https://{SECRET}\0@127.0.0.1:9/",
    ],
)
def test_addresses_that_are_none_are_refused_without_their_password(spec: str) -> None:
    with pytest.raises(SourceError) as raised:
        open_source(spec, timeout_s=2)
    error: BaseException | None = raised.value
    assert error is not None and "\n" not in str(error)
    while error is not None:  # a traceback shows these too
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


# Logins


def asks_for_basic(answer: Answer) -> None:
    """A camera with a login, HTTP's simple one."""
    expected = base64.b64encode(f"me:{SECRET}".encode()).decode()
    if answer.headers.get("Authorization") != f"Basic {expected}":
        answer.begin("text/plain", 401, WWW_Authenticate='Basic realm="camera"', Content_Length="0")
        return
    answer.begin()
    answer.parts_for_ever()


def asks_for_digest(answer: Answer) -> None:
    """A camera with a login by digest (RFC 7616)."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    sent = dict(re.findall(r'(\w+)="?([^",]*)"?', answer.headers.get("Authorization", "")))
    parts = (sent.get("nonce", ""), sent.get("nc", ""), sent.get("cnonce", ""), "auth", md5(f"GET:{answer.path}"))
    if sent.get("response") != md5(":".join((md5(f"me:camera:{SECRET}"), *parts))):
        ask = 'Digest realm="camera", qop="auth", nonce="abc123", algorithm=MD5'
        answer.begin("text/plain", 401, WWW_Authenticate=ask, Content_Length="0")
        return
    answer.begin()
    answer.parts_for_ever()


@pytest.mark.parametrize("script", [asks_for_basic, asks_for_digest])
def test_a_login_is_sent_as_a_header_when_it_is_asked_for(server: Server, script: Callable[[Answer], None]) -> None:
    server.scripts = [script]
    with open_source(f"http://me:{SECRET}@127.0.0.1:{server.port}/video?channel=1") as source:
        assert len(take(source, 2)) == 2
        assert SECRET not in repr((source.path, source.names, source.failures, source.trouble))
    first, second = server.requests
    assert "Authorization" not in first.headers and "Authorization" in second.headers
    for request in (first, second):
        assert request.path == "/video?channel=1" and request.headers["Host"] == f"127.0.0.1:{server.port}"
    if script is asks_for_digest:
        assert SECRET not in str(second.headers) and base64.b64encode(SECRET.encode()).decode() not in str(
            second.headers
        )


def test_a_login_may_hold_any_character(server: Server) -> None:
    def script(answer: Answer) -> None:
        expected = base64.b64encode("m@e:p/?#:ü".encode()).decode()
        if answer.headers.get("Authorization") != f"Basic {expected}":
            answer.begin("text/plain", 401, WWW_Authenticate='Basic realm="camera"', Content_Length="0")
            return
        answer.begin()
        answer.parts_for_ever()

    server.scripts = [script]
    with open_source(f"http://m%40e:p%2F%3F%23%3A%C3%BC@127.0.0.1:{server.port}/") as source:
        assert len(take(source, 1)) == 1


@pytest.mark.parametrize("script", [asks_for_basic, asks_for_digest])
def test_a_wrong_password_is_told_and_not_repeated(server: Server, script: Callable[[Answer], None]) -> None:
    server.scripts = [script]
    with pytest.raises(SourceError, match=r"refuses this user or password \(401\)$") as raised:
        open_source(f"http://me:wrong{SECRET}@127.0.0.1:{server.port}/video")
    assert SECRET not in str(raised.value)


def test_a_login_stays_with_its_server(server: Server) -> None:
    other = Server()
    other.scripts = [asks_for_basic]
    server.scripts = [lambda answer: answer.begin("text/plain", 302, Location=other.url, Content_Length="0")]
    try:
        with pytest.raises(SourceError, match="401"):
            open_source(f"http://me:{SECRET}@127.0.0.1:{server.port}/video")
        assert [request.headers.get("Authorization") for request in other.requests] == [None]
    finally:
        other.close()


def test_https_wants_a_certificate_that_is_trusted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", "/CN=camera", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.wrap(context)

    def script(answer: Answer) -> None:
        answer.begin()
        answer.parts_for_ever()

    server.scripts = [script]
    with pytest.raises(SourceError, match=r"its certificate is not trusted \(self.signed certificate\)"):
        open_source(f"https://127.0.0.1:{server.port}/video")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with open_source(f"https://127.0.0.1:{server.port}/video") as source:
        assert len(take(source, 3)) == 3


# FFmpeg over HTTP


def sends_file(path: Path, kind: str) -> Callable[[Answer], None]:
    """A server's answer that is a file."""

    def script(answer: Answer) -> None:
        answer.begin(kind, Content_Length=str(path.stat().st_size))
        answer.send(path.read_bytes())

    return script


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
    assert source.failures == [
        f"http://***@127.0.0.1:{server.port}/a.avi: cut short or damaged: {len(frames)} of 30 frames could be read"
    ]
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


def check_restart(spec: str, start: Callable[[], Program], size_wh: tuple[int, int]) -> None:
    """Kill and restart a server while its stream is read."""
    program = start()
    killed_ns: list[int] = []
    started_ns: list[int] = []
    try:
        with open_source(spec, timeout_s=5) as source:
            assert (source.endless, source.size_wh) == (True, size_wh)
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


def test_ffmpegs_mjpeg_is_read_through_a_restart() -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is not installed")
    port = free_port()

    def start() -> Program:
        program = Program(
            [
                *(ffmpeg, "-v", "quiet", "-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=20"),
                *("-f", "mpjpeg", "-listen", "1", f"http://127.0.0.1:{port}/"),
            ]
        )
        wait_for_port(port)
        return program

    check_restart(f"http://me:{SECRET}@127.0.0.1:{port}/?token={SECRET}", start, (160, 120))


@pytest.fixture(scope="module")
def gstreamer() -> str:
    """A Python that can run GStreamer's RTSP server."""
    code = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    for python in filter(None, ("/usr/bin/python3", shutil.which("python3"))):
        if Path(python).exists() and not subprocess.call([python, "-c", code], stderr=subprocess.DEVNULL):
            return python
    pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0, python3-gi)")


def rtsp_server(python: str, port: int, *login: str) -> Program:
    """GStreamer's RTSP server at /live."""
    program = Program([python, str(Path(__file__).with_name("rtsp_server.py")), str(port), *login])
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "ready\n"
    return program


def test_rtsp_is_read_through_a_restart(gstreamer: str) -> None:
    port = free_port()
    check_restart(f"rtsp://127.0.0.1:{port}/live?token={SECRET}", lambda: rtsp_server(gstreamer, port), (160, 120))


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
        done = subprocess.run(
            [sys.executable, "-c", code, f"rtsp://127.0.0.1:{port}/live"],
            capture_output=True,
            text=True,
            timeout=14,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    finally:
        program.kill()


def test_rtsp_takes_a_login(gstreamer: str) -> None:
    port = free_port()
    program = rtsp_server(gstreamer, port, "me", SECRET)
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
