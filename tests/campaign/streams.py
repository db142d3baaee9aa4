"""Break streams over HTTP on loopback: every frame shown is one that was sent, all come back, no password is shown."""

from __future__ import annotations

import base64
import io
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from campaign.mutate import Random, pick
from quietframe.errors import QuietFrameError
from quietframe.log import log
from quietframe.sources import Source, open_source, stream
from support.stream_servers import SECRET, Answer, Server, jpeg, level_of

stream.PAUSES_S = (0.02, 0.05)  # in place of seconds
FIRST, AFTER = range(20, 100), range(140, 220)
"""The levels of the frames before the fault and after it."""
_DEADLINE_S = 8
_TIMEOUT_S = 0.5


def cut(answer: Answer, rng: Random) -> None:
    answer.send(part(jpeg(1))[: int(rng.integers(20, 600))])


def stall(answer: Answer, rng: Random) -> None:
    cut(answer, rng)
    time.sleep(_TIMEOUT_S * 1.4)


def lose(answer: Answer, rng: Random) -> None:
    """The ends of frames are missing, or their beginnings; they differ in every block, so that nothing fits."""
    for _ in range(5):
        data = part(jpeg_of(rng))
        at = int(rng.integers(60, len(data) - 40))
        answer.send(pick(rng, [data[:at], data[-at:]]))


def garbage(answer: Answer, rng: Random) -> None:
    for _ in range(3):
        answer.send(rng.bytes(int(rng.integers(1, 5000))))
        answer.send(pick(rng, [b"\xff\xd8\xff", b"--frame\r\n", b"Content-Length: 99999999\r\n\r\n", b"\xff\xd9", b""]))


def other_size(answer: Answer, rng: Random) -> None:
    for level in AFTER[:3]:
        answer.part(jpeg(level, (int(rng.integers(2, 20)) * 8, int(rng.integers(2, 20)) * 8)))


def too_large(answer: Answer, rng: Random) -> None:
    data = bytearray(jpeg(1))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\x3e\x80\x3e\x80"  # 16000x16000
    answer.part(bytes(data))


def part(picture: bytes) -> bytes:
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(picture), picture)


def jpeg_of(rng: Random) -> bytes:
    import PIL.Image

    file = io.BytesIO()
    PIL.Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


FAULTS: dict[str, Callable[[Answer, Random], None]] = {
    "kill": cut,
    "stall": stall,
    "loss": lose,
    "garbage": garbage,
    "another size": other_size,
    "above the limit": too_large,
    "redirect": lambda answer, rng: None,
    "login": lambda answer, rng: None,
    "server error": lambda answer, rng: None,
}


def script(server: Server, name: str, rng: Random) -> Callable[[Answer], None]:
    """What a server sends: frames, the fault, and from the second connection on the frames after it."""

    def frames(answer: Answer, levels: range) -> None:
        for level in levels:
            answer.part(jpeg(level))

    def first(answer: Answer) -> None:
        answer.begin()
        frames(answer, FIRST[: int(rng.integers(2, 6))])
        FAULTS[name](answer, rng)
        if name in ("loss", "garbage", "another size", "above the limit"):  # the connection stays
            frames(answer, AFTER)

    def answered(answer: Answer) -> None:
        """Later connections, with a refusal first by some faults."""
        number = len(server.requests)
        if name == "redirect" and not answer.path.endswith("moved"):
            answer.begin("text/plain", 302, Location=f"http://127.0.0.1:{server.port}/moved")
        elif name == "server error" and number == 2:
            answer.begin("text/plain", 503)
        elif number == 1:
            first(answer)
        else:
            answer.begin()
            frames(answer, AFTER)

    def behind_a_login(answer: Answer) -> None:
        right = base64.b64encode(f"me:{SECRET}".encode()).decode()
        if answer.headers.get("Authorization") != f"Basic {right}":
            answer.begin("text/plain", 401, WWW_Authenticate='Basic realm="camera"')
        else:
            answered(answer)

    return behind_a_login if name == "login" else answered


def break_a_stream(seed: int) -> dict[str, Any]:
    """One trial: a stream with a login in its address, and a fault by the seed."""
    rng = np.random.default_rng(seed)
    name = list(FAULTS)[seed % len(FAULTS)]
    server = Server()
    server.scripts = [script(server, name, rng)]
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    log.addHandler(handler)
    try:
        outcome, text = watch(f"http://me:{SECRET}@127.0.0.1:{server.port}/video?token={SECRET}", said)
    finally:
        log.removeHandler(handler)
        server.close()
    if SECRET in said.getvalue() or SECRET in text:
        outcome, text = "wrong", f"the password is shown: {text} {said.getvalue()}"
    return {"outcome": outcome, "text": f"{name}: {text}"}


def watch(address: str, said: io.StringIO) -> tuple[str, str]:
    deadline_s = time.monotonic() + _DEADLINE_S
    recovered = 0
    try:
        with open_source(address, timeout_s=_TIMEOUT_S) as source:
            for frame in source:
                pixels = frame.pixels
                if int(pixels.max()) - int(pixels.min()) > 3 or level_of(frame) not in (*FIRST, *AFTER):
                    return "wrong", f"a frame that was not sent, {frame.pixels.shape}, level {level_of(frame)}"
                recovered += level_of(frame) in AFTER
                note(source, said)
                if recovered >= 5:
                    return "recovered", f"{source.damaged} damaged, {source.reconnects} reconnects"
                if time.monotonic() > deadline_s:
                    break
    except QuietFrameError as exc:
        return "wrong", f"not opened: {exc}"
    return "wrong", f"not recovered after {_DEADLINE_S} s"


def note(source: Source, said: io.StringIO) -> None:
    """Write down what the source says of itself."""
    said.write(f"{source.trouble} {source.notes} {source.failures} {source.limit if source.limit.count else ''}\n")
