"""Clients without access, silent, slow or many: the owner is served, and cameras and files find descriptors."""

from __future__ import annotations

import json
import re
import resource
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium import wait_for
from preview_loop import Loop, blend, numbered_frames

pytest.importorskip("uvicorn", reason="the preview needs pip install 'quietframe[serve]'")

from quietframe.preview import app, connections, frames

TOKEN = "a-token-for-tests"
REQUEST = f"GET /stats.json?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
KINDS = {
    "idle": b"",
    "half a request": b"GET / HTTP/1.1\r\nHost: localh",
    "no token": b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a body that does not come": b"POST /controls HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{",
    "a WebSocket without a token": b"GET /live HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
}


@contextmanager
def running() -> Iterator[Loop]:
    with Loop(numbered_frames(), blend, token=TOKEN) as loop:
        wait_for(lambda: loop.processed)
        yield loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    with running() as loop:
        yield loop


def call(loop: Loop, sent: bytes, source: str = "127.0.0.2") -> socket.socket:
    port = urlsplit(loop.preview.url).port
    client = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    client.sendall(sent)
    return client


def is_served(loop: Loop, source: str = "127.0.0.1") -> bool:
    with closing(call(loop, REQUEST, source)) as client:
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    return answer.startswith(b"HTTP/1.1 200 ") and "clients" in json.loads(answer.partition(b"\r\n\r\n")[2])


def descriptors() -> int:
    """How many this process holds, its own clients' included."""
    return len(list(Path("/proc/self/fd").iterdir()))


def is_closed(client: socket.socket) -> bool:
    """Whether the server has closed it, whatever it answered before."""
    while select.select([client], [], [], 0)[0]:
        try:
            if not client.recv(65536):
                return True
        except ConnectionResetError:
            return True
    return False


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"], ids=["the owner's address", "another address"])
@pytest.mark.parametrize("kind", KINDS)
def test_strangers_cannot_keep_the_owner_out(loop: Loop, kind: str, source: str) -> None:
    before = descriptors()
    with ExitStack() as stack:
        strangers = [stack.enter_context(closing(call(loop, KINDS[kind], source))) for _ in range(150)]
        for _ in range(3):
            assert is_served(loop)
        assert descriptors() - before - len(strangers) <= 2 * connections.MAX_CONNECTIONS
        assert sum(map(is_closed, strangers)) >= 150 - connections.MAX_CONNECTIONS
    wait_for(lambda: descriptors() <= before + 1)


def test_whoever_watches_stays_however_many_come(loop: Loop) -> None:
    watching = call(loop, f"GET /stream.mjpg?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    with ExitStack() as stack:
        stack.enter_context(closing(watching))
        wait_for(lambda: b"--frame" in watching.recv(65536))
        for _ in range(100):
            stack.enter_context(closing(call(loop, b"")))
        assert is_served(loop)
        for _ in range(20):
            assert watching.recv(65536)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_ends(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(connections, "SILENT_S", 0.5)
    with running() as loop, closing(call(loop, KINDS[kind])) as client:
        start_s = time.monotonic()
        wait_for(lambda: is_closed(client))
        assert time.monotonic() - start_s < 3
        slow = call(loop, REQUEST[:20])
        with closing(slow), pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(30):  # a header that comes byte by byte is no answer to that
                slow.sendall(b"x")
                time.sleep(0.1)
        with closing(
            call(loop, f"GET /stream.mjpg?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        ) as good:
            end_s = time.monotonic() + 1.5
            while time.monotonic() < end_s:
                assert good.recv(65536)


def test_a_body_that_does_not_come_is_an_error_of_who_may_send_it(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MAX_BODY_S", 0.3)
    head = f"POST /controls?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with closing(call(loop, head.encode() + b"Content-Length: 900\r\n\r\n{")) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_refusals_are_counted_in_a_line_a_second(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(40):
        call(loop, KINDS["no token"]).close()
    wait_for(lambda: caplog.messages)
    time.sleep(1.2)
    assert 1 <= len(caplog.messages) <= 3
    numbers = [re.fullmatch(r"preview: requests refused, .*: (\d+)", line) for line in caplog.messages]
    assert 30 <= sum(int(number[1]) for number in numbers if number) <= 40


BAD = [
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /%ff%fe?token=%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nCookie: quietframe=\xc3\x28\r\n\r\n",
    f"POST /controls?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    + b'Content-Length: 13\r\n\r\n{"model": "\xff"}',
    KINDS["a WebSocket without a token"].replace(b"/live", f"/live?token={TOKEN}".encode()),
    KINDS["a WebSocket without a token"].replace(b"13", b"\xff"),
]


@pytest.mark.parametrize("sent", BAD, ids=["path", "query", "headers", "body", "WebSocket", "WebSocket header"])
def test_bad_utf8_leaves_no_traceback(
    loop: Loop, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], sent: bytes
) -> None:
    with closing(call(loop, sent)) as client:
        answer = client.recv(65536)
        if answer.startswith(b"HTTP/1.1 101 "):
            client.sendall(b"\x81\x82\0\0\0\0\xff\xfe")  # a message of text
            wait_for(lambda: is_closed(client))
        else:
            assert answer.startswith(b"HTTP/1.1 4")
    assert is_served(loop)
    assert not [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_websocket_that_is_left_before_it_stands_leaves_no_line(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    upgrade = KINDS["a WebSocket without a token"].replace(b"/live", f"/live?token={TOKEN}".encode())
    for sent in (upgrade, KINDS["a WebSocket without a token"]) * 20:
        client = call(loop, sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, at once
        client.close()
    assert is_served(loop)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_frames_come_where_a_niceness_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(_by: int) -> int:
        raise PermissionError

    monkeypatch.setattr(frames.os, "nice", forbid)
    with running() as loop:
        assert is_served(loop)
        with closing(
            call(loop, f"GET /snapshot.jpg?token={TOKEN} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        ) as client:
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("descriptors", "limit"), [(1024, 64), (64, 16), (8, 4)])
def test_most_descriptors_are_left_to_sources_and_sinks(descriptors: int, limit: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    try:
        assert connections.Connections().limit == limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
