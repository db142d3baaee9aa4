"""Streams over HTTP: what a server may answer, logins and certificates."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from quietframe.errors import SourceError
from quietframe.sources import open_source
from support.stream_servers import PERIOD_S, SECRET, Answer, Server, endless, jpeg, take


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
        ("application/json", 200, b"{}", "no video that can be read"),
    ],
)
def test_answers_without_a_stream_are_reported(server: Server, kind: str, status: int, body: bytes, says: str) -> None:
    def script(answer: Answer) -> None:
        answer.begin(kind, status, Content_Length=str(len(body)))
        answer.send(body)

    server.scripts = [script]
    with pytest.raises(SourceError, match=says) as raised:
        open_source(f"{server.url}?sig={SECRET}", timeout_s=3)
    assert str(raised.value).startswith(f"{server.url}?sig=***: ")


# Logins


def asks_for_basic(answer: Answer, login: str = f"me:{SECRET}") -> None:
    """A camera with a login, HTTP's simple one."""
    expected = base64.b64encode(login.encode()).decode()
    if answer.headers.get("Authorization") != f"Basic {expected}":
        answer.begin("text/plain", 401, WWW_Authenticate='Basic realm="camera"', Content_Length="0")
        return
    endless(answer)


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
    endless(answer)


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
    server.scripts = [partial(asks_for_basic, login="m@e:p/?#:ü")]
    with open_source(f"http://m%40e:p%2F%3F%23%3A%C3%BC@127.0.0.1:{server.port}/") as source:
        assert len(take(source, 1)) == 1


@pytest.mark.parametrize("script", [asks_for_basic, asks_for_digest])
def test_a_wrong_password_is_reported_and_not_repeated(server: Server, script: Callable[[Answer], None]) -> None:
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

    server.scripts = [endless]
    with pytest.raises(SourceError, match=r"its certificate is not trusted \(self.signed certificate\)"):
        open_source(f"https://127.0.0.1:{server.port}/video")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with open_source(f"https://127.0.0.1:{server.port}/video") as source:
        assert len(take(source, 3)) == 3


def test_a_stream_of_frames_above_the_limit_says_so(server: Server) -> None:
    def script(answer: Answer) -> None:
        answer.begin()
        while True:
            answer.part(jpeg(1, (128, 96)))

    server.scripts = [script]
    with pytest.raises(SourceError, match=r"\d+ frames? left out: 128x96 pixels, above the limit of 3,072: "):
        open_source(server.url, timeout_s=0.5, max_pixels=64 * 48)
