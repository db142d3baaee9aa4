from __future__ import annotations

import http.client
import io
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from chromium import wait_for
from preview_loop import Loop, blend, numbered_frames

from quietframe.controls import Controls, Settings
from quietframe.errors import OutputError, UsageError
from quietframe.preview import Preview, frames
from quietframe.sources import Frame
from support.process import run_python

PATHS = [
    "/", "/preview.css", "/preview.js", "/connection.js", "/icon.svg",
    "/stats.json", "/snapshot.jpg", "/snapshot.zip", "/healthz",
]  # fmt: skip
TOKEN = "a-token-for-tests"


def same(frame: Frame, settings: Settings) -> np.ndarray:
    return frame.pixels


@contextmanager
def running(**options: Any) -> Iterator[Loop]:
    with Loop(numbered_frames(), blend, **options) as loop:
        wait_for(lambda: loop.processed)
        yield loop


@pytest.fixture
def loop(serve: None) -> Iterator[Loop]:
    with running() as loop:
        yield loop


@pytest.fixture(scope="module")
def standing(serve: None) -> Iterator[Loop]:
    """One for all tests that change nothing."""
    with running() as loop:
        yield loop


@pytest.fixture(scope="module")
def locked(serve: None) -> Iterator[Loop]:
    """One for all, with a token."""
    with running(token=TOKEN) as loop:
        yield loop


def port_of(loop: Loop) -> int:
    port = urlsplit(loop.preview.url).port
    assert port
    return port


def ask(
    loop: Loop, path: str, method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(loop), timeout=10)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def post(loop: Loop, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = ask(loop, "/controls", "POST", data, **({"Content_Type": "application/json"} | headers))
    return status, json.loads(answer)


def clients(loop: Loop) -> int:
    return int(json.loads(ask(loop, "/stats.json")[2])["clients"])


def watch(loop: Loop, query: str = "", **options: Any) -> Any:
    from websockets.sync.client import connect

    return connect(f"ws://127.0.0.1:{port_of(loop)}/live{query}", compression=None, max_size=None, **options)


def closing_code(client: Any) -> int:
    """The code that a WebSocket is closed with; pictures on the way are passed over."""
    from websockets.exceptions import ConnectionClosed

    with pytest.raises(ConnectionClosed) as caught:
        for _ in range(9):
            client.recv(10)
    assert caught.value.rcvd is not None
    return int(caught.value.rcvd.code)


def refused(loop: Loop, query: str = "", **options: Any) -> int:
    """The status that a WebSocket was refused with."""
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as caught, watch(loop, query, **options):
        pass
    return int(caught.value.response.status_code)


def decoded(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def next_images(client: Any, timeout_s: float = 10, *, answer: bool = True) -> tuple[int, np.ndarray, np.ndarray]:
    """The next frame's index, before and after, answered as a page does; the state meanwhile is left out."""
    while isinstance(message := client.recv(timeout_s), str):
        pass
    if answer:
        client.send("shown")
    index, length = struct.unpack(">II", message[:8])
    return index, decoded(message[8 : 8 + length]), decoded(message[8 + length :])


def next_state(client: Any, timeout_s: float = 10) -> dict[str, Any]:
    """The next state; frames on the way are answered."""
    while not isinstance(message := client.recv(timeout_s), str):
        client.send("shown")
    return dict(json.loads(message))


class Stream:
    """A client of /stream.mjpg."""

    def __init__(self, loop: Loop, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port_of(loop)))
        self.socket.sendall(b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n")
        self._file = self.socket.makefile("rb")

    def head(self) -> bytes:
        return b"".join(iter(self._file.readline, b"\r\n"))

    def part(self) -> tuple[int, bytes]:
        """A frame's index and JPEG."""
        head = self.head()
        size, index = (int(re.search(rb"%s: (\d+)" % name, head)[1]) for name in (b"Content-Length", b"X-Frame"))  # type: ignore[index]
        jpeg = self._file.read(size)
        assert self._file.readline() == b"\r\n"
        return index, jpeg

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def begin(preview: Preview) -> None:
    preview.begin(dict, Controls(Settings(), ["a"]))


# ---- The address


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/"),
        ("9000", "http://127.0.0.1:9000/"),
        (":9000", "http://127.0.0.1:9000/"),
        ("localhost", "http://127.0.0.1:8080/"),
        ("LocalHost:81", "http://127.0.0.1:81/"),
        ("127.3.2.1", "http://127.3.2.1:8080/"),
        ("[::1]:8080", "http://[::1]:8080/"),
        ("[::1]", "http://[::1]:8080/"),
    ],
)
def test_the_loopback_needs_no_token(address, url):
    assert Preview(address).url == url


@pytest.mark.parametrize("address", ["192.168.7.9:8080", "camera.example", "[2001:db8::5]:80", "0.0.0.0:0", "[::]"])
def test_every_other_address_has_a_token_of_its_own(address):
    tokens = {parse_qs(urlsplit(Preview(address).url).query)["token"][0] for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 20 for token in tokens)
    assert urlsplit(Preview(address).url).hostname not in (None, "0.0.0.0", "::"), "a link that can be opened"


@pytest.mark.parametrize(
    "address",
    ["", "host:port", "host:", "host:70000", "::1", "[::1", "a b:80", "host/path", "me@host", "1:2:3", "h?x", "-1"],
)
def test_an_address_that_cannot_be_understood_is_refused(address):
    with pytest.raises(UsageError, match=r"Expected an address as in 127\.0\.0\.1:8080") as caught:
        Preview(address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("token", ["", "short", "with blanks in it", "ümlaut-token", "a;b;c;d;e;f", "line\nbreak-12"])
def test_a_token_that_fits_into_no_link_is_refused(token):
    with pytest.raises(UsageError, match="token of at least 8 letters"):
        Preview("127.0.0.1:0", token=token)


def test_an_address_that_cannot_be_bound_is_one_line(standing):
    taken = f"127.0.0.1:{port_of(standing)}"
    for address, reason in [
        (taken, f"^{re.escape(taken)}: the port is in use: choose another$"),
        ("192.0.2.1:0", "not an address of this machine"),
        ("nowhere.invalid:0", "no such address"),
        ("a..b:0", "no such address"),
    ]:
        with pytest.raises(OutputError, match=reason) as caught:
            begin(Preview(address))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["uvicorn", "starlette", "websockets"])
def test_a_missing_extra_is_named(serve, package):
    code = f"import sys; sys.modules[{package!r}] = None; from quietframe.controls import *; "
    code += "from quietframe.preview import Preview; Preview('127.0.0.1:0').begin(dict, Controls(Settings(), []))"
    done = run_python("-c", code, check=False)
    assert "MissingExtraError" in done.stderr
    assert "is not installed: pip install 'quietframe[serve]'" in done.stderr


def test_without_a_start_nothing_of_the_server_is_imported():
    code = "import sys; from quietframe.preview import Preview; print(*sys.modules)"
    done = run_python("-c", code)
    assert not {"starlette", "uvicorn", "websockets", "anyio", "h11"} & set(done.stdout.split())


def test_the_page_is_part_of_the_package():
    folder = files("quietframe.preview").joinpath("page")
    text = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
    assert {"index.html", "wall.html", "preview.css", "preview.js", "wall.js", "connection.js"} <= text.keys()
    namespace = 'xmlns="http://www.w3.org/2000/svg"'
    outside = [
        name for name, content in text.items() if re.search(r"(https?:)?//[a-z]", content.replace(namespace, ""))
    ]
    assert outside == [], "the page asks no other host for anything"


# ---- What it costs the loop


def test_writing_costs_microseconds_and_encodes_nothing(loop):
    frame = Frame(np.zeros((1080, 1920, 3), np.uint8), 0, 0)
    preview = Preview("127.0.0.1:0")
    start_s = time.thread_time()
    for _ in range(2000):
        preview.write(frame, frame.pixels)
    assert (time.thread_time() - start_s) / 2000 < 100e-6
    assert not {"after_jpeg", "message", "png_pair"} & vars(loop.preview.stream.frames.newest).keys()


def test_every_frame_is_encoded_once_for_all_and_never_in_the_loop_s_thread(loop, monkeypatch):
    seen: list[tuple[str, np.ndarray]] = []  # the arrays are kept: no other one can take their place in memory
    threads = set()
    encode = frames._encode

    def spy(suffix: str, pixels: np.ndarray) -> bytes:
        seen.append((suffix, pixels))
        threads.add(threading.current_thread().name)
        return encode(suffix, pixels)

    monkeypatch.setattr(frames, "_encode", spy)
    stream = Stream(loop)
    stream.head()
    with ExitStack() as stack:
        pages = [stack.enter_context(watch(loop)) for _ in range(3)]
        for _ in range(10):
            stream.part()
            for client in pages:
                next_images(client)
    stream.close()
    assert len(seen) >= 20
    assert len({(suffix, id(pixels)) for suffix, pixels in seen}) == len(seen)
    assert threads == {"preview-encoder_0"}
    wait_for(lambda: clients(loop) == 0)
    time.sleep(0.1)
    count = len(seen)
    time.sleep(0.3)
    assert len(seen) == count, "nobody looks, and it goes on encoding"


# ---- Pictures


def test_both_halves_belong_to_the_same_frame(serve):
    with Loop(numbered_frames(), same, period_s=0.002) as loop, watch(loop) as client:
        indices = []
        for _ in range(40):
            index, before, after = next_images(client)
            assert np.all(before == 255 * (index % 2))
            assert np.all(after == before)
            indices.append(index)
    assert indices == sorted(set(indices))


def test_no_more_than_thirty_pictures_a_second(serve):
    with Loop(numbered_frames(), same, period_s=0.002) as loop, watch(loop) as client:
        next_images(client)
        start_s, count = time.monotonic(), 0
        while time.monotonic() < start_s + 1:
            next_images(client)
            count += 1
            assert count <= 32


def test_a_page_that_does_not_answer_gets_two_pictures_and_then_the_newest(loop):
    with watch(loop) as slow, watch(loop) as quick:
        first = [next_images(slow, answer=False)[0] for _ in range(2)]
        start = loop.processed
        quick_indices = []
        while loop.processed < start + 30 or len(quick_indices) < 10:  # each would fail if it waited for the slow page
            quick_indices.append(next_images(quick)[0])
        with pytest.raises(TimeoutError):
            next_images(slow, 0.2)
        newest = loop.processed
        slow.send("shown")
        index = next_images(slow)[0]
    assert index >= newest - 1 > first[1] + 20, "an old picture waited for the slow page"


@pytest.mark.parametrize(
    ("words", "code"),
    [(["shown"] * 5, 1008), (["bring"], 1008), ([b"shown"], 1008), ([b"\x00" * 9], 1008), (["x" * 100_000], 1009)],
    ids=["too often", "unknown", "bytes", "zeros", "too large"],
)
def test_a_page_that_talks_out_of_turn_is_shown_the_door(loop, words, code):
    from websockets.exceptions import ConnectionClosed

    loop.controls.change(paused=True)
    with watch(loop) as client:
        with suppress(ConnectionClosed):  # perhaps before the last word
            for word in words:
                client.send(word)
        assert closing_code(client) == code


def test_motion_jpeg_for_other_programs(standing):
    stream = Stream(standing)
    head = stream.head()
    assert b" 200 " in head
    assert b"content-type: multipart/x-mixed-replace; boundary=frame" in head.lower()
    parts = [stream.part() for _ in range(8)]
    stream.close()
    assert [index for index, _ in parts] == sorted({index for index, _ in parts})
    pixels = decoded(parts[-1][1])
    assert pixels.shape == (48, 64, 3)
    assert np.all(np.abs(pixels.astype(int) - 63) <= 2), "it is the clean picture"


def test_opencv_plays_the_stream(standing):
    capture = cv2.VideoCapture(f"{standing.preview.url}stream.mjpg", cv2.CAP_FFMPEG)
    try:
        shapes = {capture.read()[1].shape for _ in range(5)}
    finally:
        capture.release()
    assert shapes == {(48, 64, 3)}


def test_a_program_that_reads_slowly_gets_fewer_pictures_not_old_ones(serve):
    with Loop(numbered_frames((640, 480), noisy=True), same, period_s=0.01) as loop:
        stream = Stream(loop, receive_buffer=32 * 1024)
        stream.head()
        wait_for(lambda: loop.processed > 60)
        newest = loop.processed - 1
        indices = [stream.part()[0] for _ in range(12)]
        stream.close()
    old = [index for index in indices if index < newest - 1]
    assert len(old) <= 4, f"{indices} at {newest}: that much lay waiting"


def test_the_stream_s_head_is_there_without_its_body(standing):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(standing), timeout=10)
    connection.request("HEAD", "/stream.mjpg")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"")
    assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
    connection.request("GET", "/stats.json")  # on the same connection: it is free again
    assert json.loads(connection.getresponse().read())["clients"] == 0
    connection.close()


def test_snapshot_jpg_is_the_clean_picture(standing):
    status, headers, body = ask(standing, "/snapshot.jpg")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert np.all(np.abs(decoded(body).astype(int) - 63) <= 2)


@pytest.mark.parametrize("shape", [(40, 50, 3), (8, 10)])
def test_a_snapshot_holds_both_pictures_of_one_frame_without_loss(serve, shape):
    rng = np.random.default_rng(1)
    given: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def note(frame: Frame, settings: Settings) -> np.ndarray:
        after = 255 - frame.pixels
        given[frame.index] = frame.pixels, after
        return after

    frames = (Frame(rng.integers(0, 256, shape, np.uint8), index, 0) for index in range(10**9))
    with Loop(frames, note) as loop:
        wait_for(lambda: loop.processed > 3)
        _, headers, body = ask(loop, "/snapshot.zip")
    archive = zipfile.ZipFile(io.BytesIO(body))
    found = re.fullmatch(r'attachment; filename="quietframe-(\d{6})\.zip"', headers["Content-Disposition"])
    assert found
    assert archive.namelist() == [f"frame-{found[1]}-before.png", f"frame-{found[1]}-after.png"]
    for name, pixels in zip(archive.namelist(), given[int(found[1])], strict=True):
        assert np.array_equal(decoded(archive.read(name)), pixels)


def test_before_the_first_frame_there_is_no_snapshot(serve):
    with Loop(iter(()), same) as loop:
        answers = [ask(loop, path) for path in ("/snapshot.jpg", "/snapshot.zip")]
    assert [(status, json.loads(body)["error"]) for status, _, body in answers] == [(503, "no frame has come yet")] * 2


# ---- Figures and controls


def test_stats_are_the_loop_s_with_the_settings(serve):
    more = {"fps": 29.9, "temperature_c": None, "what_is_new": [1, "ü"]}
    with Loop(numbered_frames(), blend, more_stats=lambda: more) as loop:
        stats = json.loads(ask(loop, "/stats.json")[2])
    assert more.items() <= stats.items()
    assert stats["settings"] == {"strength": 1.0, "model": "camera-nano", "paused": False}
    assert stats["models"] == ["camera-nano", "none"]
    assert stats["max_strength"] == 2
    assert stats["clients"] == 0


def test_the_loop_is_asked_twice_a_second_at_most(serve):
    asked: list[float] = []

    def stats() -> dict[str, Any]:
        asked.append(time.monotonic())
        return {}

    with Loop(numbered_frames(), blend, more_stats=stats) as loop:
        for _ in range(30):
            ask(loop, "/stats.json")
    assert np.all(np.diff(asked) >= 0.5)
    assert asked


def test_the_state_comes_by_itself_and_at_once_when_something_changes(loop, monkeypatch):
    with watch(loop) as client:
        next_state(client)
        start_s = time.monotonic()
        next_state(client)
        assert time.monotonic() - start_s > 0.5
        monkeypatch.setattr("quietframe.preview.app._STATE_PERIOD_S", 100)
        assert loop.controls.settings.strength == 1
        post(loop, {"strength": 1.5})
        start_s = time.monotonic()
        while next_state(client)["settings"]["strength"] != 1.5:  # one more may have been on its way
            pass
        assert time.monotonic() - start_s < 10


def test_a_change_shows_in_the_next_frames(loop):
    with watch(loop) as client:
        for strength in (2.0, 0.0, 1.5):
            assert post(loop, {"strength": strength})[0] == 200
            for _ in range(4):  # two were on their way
                after = next_images(client)[2]
            assert np.all(np.abs(after.astype(int) - 63 * strength) <= 2)
    everything = {"strength": 2.0, "model": "none", "paused": True}
    assert post(loop, everything) == (200, everything)
    assert loop.controls.settings == Settings(**everything)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"strength": 2.1}, r"Expected strength in \[0, 2\]"),
        ({"strength": "2"}, "Expected strength to be a number"),
        ({"strength": None}, "Expected a JSON object with any of"),
        (b'{"strength": NaN}', "Expected strength in"),
        (b'{"strength": %s}' % (b"9" * 900), "Expected strength in"),
        ({"model": "../../etc/passwd"}, "Expected model to be one of"),
        ({"model": ["camera-nano"]}, "Expected model to be one of"),
        ({"paused": 1}, "Expected paused to be true or false"),
        ({"strength": 2, "paused": "yes"}, "Expected paused"),
        ({"strength": 2, "frames": 9}, "Expected a JSON object with any of strength, model, paused"),
        ({}, "Expected a JSON object"),
        ([], "Expected a JSON object"),
        (b"", "Expected a JSON object"),
        (b"\xff\xfe", "Expected a JSON object"),
        (b"[" * 1024, "Expected a JSON object"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_changes_nothing(standing, body, reason):
    before = standing.controls.settings
    status, answer = post(standing, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert re.search(reason, answer["error"])
    assert "\n" not in answer["error"]
    assert standing.controls.settings == before


def test_a_body_has_a_bound_with_its_length_stated_and_without(standing):
    body = b'{"strength": 2, "model": "' + b"x" * 2000 + b'"}'
    assert post(standing, body)[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", port_of(standing), timeout=10)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/controls", iter([body[:700], body[700:]]), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken_as_no_foreign_form_can_send_it(standing, content_type):
    assert post(standing, {"strength": 2}, Content_Type=content_type)[0] == 415
    assert standing.controls.settings.strength == 1


def test_changes_have_a_greatest_rate(loop):
    start_s = time.monotonic()
    answers = [post(loop, {"strength": 1 + number / 100}) for number in range(31)]
    if time.monotonic() - start_s > 1:
        pytest.skip("this machine is too slow to ask too fast")
    assert [status for status, _ in answers] == [200] * 30 + [429]
    assert "at most 30 changes a second" in answers[-1][1]["error"]
    assert loop.controls.settings.strength == 1.29
    time.sleep(1.1)
    assert post(loop, {"strength": 2})[0] == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_controls_are_changed_by_post_alone(standing, method):
    status, _, body = ask(standing, "/controls", method, b'{"strength": 2}', Content_Type="application/json")
    assert status == 405
    assert json.loads(body)["error"]
    assert standing.controls.settings.strength == 1


# ---- Who may come in


@pytest.mark.parametrize("path", [*PATHS, "/stream.mjpg", "/controls", "/nothing"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.1.2.3", "", "[::1", "a@localhost@b"],
)
def test_another_host_name_is_refused_everywhere(standing, path, host):
    status, _, body = ask(standing, path, "POST" if path == "/controls" else "GET", Host=host)
    assert status in (400, 403)  # 400: not even HTTP
    if status == 403:
        assert "not a name or address of this machine" in json.loads(body)["error"]


def test_this_machine_s_own_names_are_let_in(standing):
    name = socket.gethostname()
    local = f"{name.partition('.')[0]}.local:1"
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", name, local):
        assert ask(standing, "/stats.json", Host=host)[0] == 200, host


def test_the_address_that_was_asked_for_is_let_in(serve):
    with Loop(numbered_frames(), blend, address="0.0.0.0:0", token=TOKEN) as loop:
        assert ask(loop, "/healthz", Host="127.0.0.1")[0] == 200
        connection = http.client.HTTPConnection("127.0.0.2", port_of(loop), timeout=10)  # so it says itself in Host
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
        assert ask(loop, "/healthz", Host="127.0.0.2")[0] == 403  # that is not where this one came in


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "ftp://{host}", "http://{host}.evil.example"]
)
def test_a_foreign_page_can_neither_change_nor_watch(standing, origin):
    origin = origin.format(host=f"127.0.0.1:{port_of(standing)}")
    assert post(standing, {"strength": 2}, Origin=origin) == (403, {"error": "asked for by a page of another site"})
    assert standing.controls.settings.strength == 1
    assert refused(standing, origin=origin) == 403
    assert refused(standing, additional_headers={"Host": "evil.example"}) in (400, 403)


def test_its_own_page_can(loop):
    origin = f"http://127.0.0.1:{port_of(loop)}"
    assert post(loop, {"strength": 2}, Origin=origin)[0] == 200
    with watch(loop, origin=origin) as client:
        assert next_state(client)["settings"]["strength"] == 2


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong-token", f"?token={TOKEN}x", "?token=%C3%BC%00", "?x=1"])
@pytest.mark.parametrize("path", [*PATHS[:-1], "/stream.mjpg", "/controls", "/nothing"])
def test_without_the_token_nothing_is_given(locked, path, query):
    status, headers, body = ask(locked, path + query, "POST" if path == "/controls" else "GET")
    assert status == 401
    assert "open the link" in json.loads(body)["error"]
    assert "Set-Cookie" not in headers


def test_without_the_token_no_websocket_opens_and_health_is_given_to_all(locked):
    for query in ("", "?token=wrong"):
        assert refused(locked, query) == 401
        assert refused(locked, query, additional_headers={"Cookie": f"quietframe-{port_of(locked)}=wrong"}) == 401
    status, _, body = ask(locked, "/healthz")
    assert (status, json.loads(body)) == (200, {"ok": True})


def test_the_link_is_answered_with_a_cookie_that_opens_everything(locked):
    parts = urlsplit(locked.preview.url)
    assert parts.query == f"token={TOKEN}"
    status, headers, _ = ask(locked, f"{parts.path}?{parts.query}")
    assert status == 200
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict"}
    for path in PATHS:
        status, headers, _ = ask(locked, path, Cookie=cookie)
        assert status == 200
        assert "Set-Cookie" not in headers
    assert post(locked, {"strength": 2}, Cookie=cookie)[0] == 200
    with watch(locked, additional_headers={"Cookie": f"other=1; {cookie}"}) as client:
        next_images(client)
    with watch(locked, f"?token={TOKEN}") as client:
        next_images(client)


def test_a_cookie_is_of_one_preview_and_a_link_serves_other_sites(locked):
    assert ask(locked, "/", Cookie=f"quietframe-{port_of(locked) + 1}={TOKEN}")[0] == 401
    cookie = f"quietframe-{port_of(locked)}={TOKEN}"
    for path, policy in [("/snapshot.jpg", "same-origin"), (f"/snapshot.jpg?token={TOKEN}", "cross-origin")]:
        assert ask(locked, path, Cookie=cookie)[1]["Cross-Origin-Resource-Policy"] == policy


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/controls"])
def test_every_answer_carries_the_security_headers(standing, locked, path):
    for _, headers, _ in (ask(standing, path), ask(locked, path), ask(standing, path, Host="evil.example")):
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        expected = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
        assert {name: headers[name] for name in expected} == expected
        assert "Access-Control-Allow-Origin" not in headers and "Server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/page/index.html", "/index.html", "/server.py",
        "//etc/passwd", "/preview.css/../server.py", "/..%2fserver.py", "/snapshot.zip/etc/passwd", "/\x00",
    ],
)  # fmt: skip
def test_no_file_of_the_device_can_be_reached(standing, path):
    with socket.create_connection(("127.0.0.1", port_of(standing)), timeout=10) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert re.match(rb"HTTP/1\.1 40[04] ", answer)
    assert b"root:" not in answer
    assert b"import" not in answer


# ---- Limits


def test_eight_clients_and_no_more(loop):
    stream = Stream(loop)
    stream.head()
    with ExitStack() as stack:
        pages = [stack.enter_context(watch(loop)) for _ in range(7)]
        assert refused(loop) == 503
        status, headers, body = ask(loop, "/stream.mjpg")
        assert (status, headers["Retry-After"]) == (503, "5")
        assert json.loads(body) == {"error": "8 clients watch already: close one"}
        assert ask(loop, "/stats.json")[0] == 200
        pages.pop().close()
        wait_for(lambda: clients(loop) == 7)
        next_images(stack.enter_context(watch(loop)))
    stream.close()


def test_whoever_leaves_gives_the_place_back_though_no_frame_comes(loop):
    stream = Stream(loop)
    stream.head()
    with watch(loop) as page:
        next_images(page)
        loop.trouble = "the camera is gone"
        stream.close()
        page.socket.shutdown(socket.SHUT_RDWR)  # without a word
        wait_for(lambda: clients(loop) == 0)


def test_a_request_that_breaks_off_harms_nobody(loop, caplog):
    port = port_of(loop)
    for text in (
        "POST /controls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
        "GET / HTTP/1.1\r\nHost: localh",
        "\x16\x03\x01 no HTTP at all\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            raw.sendall(text.encode())
            time.sleep(0.1)
    time.sleep(0.2)
    assert ask(loop, "/healthz")[0] == 200
    assert loop.controls.settings.strength == 1
    others = [line for line in caplog.messages if "requests refused" not in line]  # which the tests before had
    assert others == [], "they come up in the terminal, where the loop's own lines belong"


# ---- The end


def test_closing_sends_all_away_and_gives_the_port_back(loop, caplog):
    port = port_of(loop)
    stream = Stream(loop)
    stream.head()
    stream.part()
    with watch(loop) as page, watch(loop):
        next_images(page)
        start_s = time.monotonic()
        loop.preview.close()
        assert time.monotonic() - start_s < 3
        thread = loop.preview._server._thread
        assert thread is not None and not thread.is_alive()
        closing_code(page)
    stream.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    again = Preview(f"127.0.0.1:{port}")
    begin(again)
    again.close()
    assert caplog.messages == []


@pytest.mark.parametrize("end", [Preview.close, Preview.discard])
def test_ending_what_was_never_started_or_has_ended_does_nothing(serve, end):
    end(Preview("127.0.0.1:0"))
    begin(preview := Preview("127.0.0.1:0"))
    end(preview)
    end(preview)


def test_a_loop_that_writes_on_after_the_end_is_not_harmed(loop):
    with watch(loop) as client:
        next_images(client)
        loop.preview.close()
        count = loop.processed
        wait_for(lambda: loop.processed > count + 5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have a niceness of their own on Linux alone")
def test_the_encoder_gives_way_to_the_model(loop):
    ask(loop, "/snapshot.jpg")
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    (encoder,) = loop.preview.stream.frames._encoder._threads
    assert encoder.native_id is not None
    assert os.getpriority(os.PRIO_PROCESS, encoder.native_id) > own
