"""Addresses: what of them is shown, and never a password."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quietframe.sources.address import as_shown, is_network, split_login, without_password

# Secrets as they may stand in an address, and as people write them who do not quote.
proper = st.text(st.characters(codec="utf-8", exclude_characters="/?#&;@=%:\r\n"), min_size=6, max_size=30)
anything = st.text(min_size=6, max_size=30)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://10.0.0.9/live", "rtsp://10.0.0.9/live"),
        ("rtsp://me:hunter2@10.0.0.9:554/live", "rtsp://***@10.0.0.9:554/live"),
        ("rtsp://me@10.0.0.9/live", "rtsp://***@10.0.0.9/live"),
        ("RTSPS://me:hunter2@[fe80::1]/live", "RTSPS://***@[fe80::1]/live"),
        ("http://cam/x.cgi?channel=2&Token=abc&size=640x480", "http://cam/x.cgi?channel=2&Token=***&size=640x480"),
        ("http://cam/x?loginuse=me;loginpas=abc", "http://cam/x?loginuse=***&loginpas=***"),
        ("http://cam/x?c2VjcmV0Cg==", "http://cam/x?***"),
        ("http://cam/x?secretword", "http://cam/x?***"),
        ("http://cam/x?", "http://cam/x?"),
        ("http://cam/x#secret", "http://cam/x"),
        ("rtsp://dvr:554/user=admin_password=abc_channel=1_stream=0.sdp", "rtsp://dvr:554/user=***"),
        ("rtsp://me:a/b@10.0.0.9/live", "rtsp://***"),
        ("rtsp://me:a#b@10.0.0.9/live", "rtsp://***"),
        ("http://cam/x?to=me@home", "http://***"),
        ("rtsp://cam/a\nb", "rtsp://cam/a?b"),
        ("no address", "***"),
    ],
)
def test_what_is_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


@given(secret=proper)
@pytest.mark.parametrize(
    "template",
    [
        "rtsp://{}:x@host:554/live?channel=1",
        "rtsp://user:{}@host:554/live?channel=1",
        "http://user:{}@[::1]/a/b",
        "http://host/x?token={}",
        "http://host/x?channel=1;password={}&size=1",
        "https://host/x?anything={}#part",
        "http://host/x?{}",
        "http://host/x?{}=",
        "http://host/x#{}",
        "rtsp://host/user=me&password={}&channel=1.sdp?",
    ],
)
def test_no_secret_is_in_what_is_shown(template: str, secret: str) -> None:
    without = without_password(template.format("PLACEHOLDER"))
    assume(secret not in without)
    assert secret not in without_password(template.format(secret))
    assert "PLACEHOLDER" not in without


@given(secret=anything)
@pytest.mark.parametrize("template", ["rtsp://user:{}@host:554/live?channel=1", "http://{}:pw@host/x"])
def test_no_part_of_a_login_is_shown_that_was_not_quoted(template: str, secret: str) -> None:
    shown = without_password(template.format(secret))
    for part in re.split("[/?#&;@=:]", secret):
        assert len(part) < 4 or part in without_password(template.format("")) or part not in shown


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("rtsp://x", True), ("HTTPS://x/y", True), ("test:", False), ("a.mp4", False), ("C://x", True), ("0", False)],
)
def test_what_is_an_address(spec: str, expected: bool) -> None:
    assert is_network(spec) is expected


def test_the_login_is_taken_out_and_unquoted() -> None:
    assert split_login("http://me%40home:a%2Fb%3A@cam:8080/x?y=1") == ("http://cam:8080/x?y=1", "me@home", "a/b:")
    assert split_login("http://cam/x") == ("http://cam/x", None, "")
    assert split_login("http://me@cam/x") == ("http://cam/x", "me", "")


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("rtsp://me:pw@host/live", "rtsp://***@host/live"),
        ("a/b@c.png", "a/b@c.png"),
        ("-?fps=30", "-?fps=30"),
        ("0", "0"),
    ],
)
def test_of_sources_only_addresses_lose_anything(spec: str, shown: str) -> None:
    assert as_shown(spec) == shown
