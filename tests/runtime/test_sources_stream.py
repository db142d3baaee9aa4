"""Streams over the network: frames, breaks and what is reported of them. The servers are real ones on loopback."""

from __future__ import annotations

import re
import socket
import threading
import time
from functools import partial

import numpy as np
import pytest

from quietframe.errors import SourceError, UsageError
from quietframe.sources import Source, open_source, stream
from support.stream_servers import SECRET, Answer, Server, endless, free_port, jpeg, level_of, readers, take, wait_until


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


def test_a_slow_reader_gets_the_newest_frames(server: Server) -> None:
    server.scripts = [endless]
    with open_source(server.url) as source:
        time.sleep(0.3)  # as a model loads
        ages_s, levels = [], []
        for _, frame in zip(range(6), source, strict=False):
            ages_s.append((time.monotonic_ns() - frame.captured_ns) / 1e9)
            levels.append(level_of(frame))
            time.sleep(0.15)
    assert max(ages_s) < 0.25
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


@pytest.mark.parametrize("hangs_up", ["the server", "the reader"])
def test_a_picture_that_never_ends_is_damaged_unless_nobody_wants_it(server: Server, hangs_up: str) -> None:
    released = threading.Event()

    def script(answer: Answer) -> None:
        answer.begin()
        answer.part(jpeg(50))
        answer.part(jpeg(60)[:400])
        if hangs_up == "the reader":
            released.wait(5)
            answer.send(b"more of it")

    server.scripts = [script]
    with open_source(server.url) as source:
        assert len(take(source, 1)) == 1
        if hangs_up == "the server":
            assert wait_until(lambda: source.damaged == 1, 2)
        else:
            source.cancel()
            released.set()
            assert wait_until(lambda: not readers(), 2)
    assert source.damaged == (hangs_up == "the server")


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

    server.scripts = [breaks, partial(endless, first=100)]
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
    assert all(gap_s >= least_s for gap_s, least_s in zip(gaps_s, (0.05, 0.2, 0.4, 0.4, 0.05), strict=True)), gaps_s
    assert gaps_s[-1] < 0.4


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
        assert time.monotonic() - ended_s[0] < 0.5
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
    "spec",
    [
        f"ftp://me:{SECRET}@host/x",
        f"rtmp://host/x?key={SECRET}",
        f"rtsp://:{SECRET}@/x",
        f" rtsp://me:{SECRET}@127.0.0.1:9/x",
        f"\t http://me:{SECRET}@127.0.0.1:9/x ",
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


def test_frames_beyond_the_rate_are_not_decoded(server, monkeypatch):
    """Fifty a second come, five are taken, and no JPEG is decoded for the others."""
    server.scripts = [endless]
    with open_source(server.url) as source:
        decoded = []
        decode = source._jpegs.decode
        monkeypatch.setattr(source._jpegs, "decode", lambda data: decoded.append(1) or decode(data))
        source.max_fps = 5
        start = time.monotonic()
        frames = take(source, 8)
        seconds = time.monotonic() - start
    assert [frame.index for frame in frames] == list(range(8))
    assert 1.0 < seconds < 3
    assert len(decoded) <= 9
    steps_s = np.diff([frame.captured_ns for frame in frames[2:]]) / 1e9
    assert min(steps_s) > 0.1


def test_a_rate_below_the_timeouts_is_no_silence(server):
    server.scripts = [endless]
    with open_source(server.url, timeout_s=0.5) as source:
        source.max_fps = 1
        take(source, 3)
        assert (source.trouble, source.reconnects, len(server.requests)) == (None, 0, 1)
