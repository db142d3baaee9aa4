"""Coverage-guided fuzzing of the parsers written here: `python -m campaign.guided PARSER [libFuzzer's options]`.

It needs Atheris, which is no dependency: pip install atheris. Without a parser's name it lists them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["quietframe"]):
    from quietframe.card import parse_card
    from quietframe.decoding import has_all_scans, jpeg_shape_hwc
    from quietframe.errors import QuietFrameError
    from quietframe.sources.address import is_network, split_login, without_password
    from quietframe.sources.mjpeg import JpegSplitter
    from quietframe.sources.stdin import STDIN

from campaign.mutate import MODELS, images


def card(data: bytes) -> None:
    parse_card(data.decode(errors="surrogateescape"), origin="card")


def jpegs(data: bytes) -> None:
    """Whatever the pieces, the same JPEGs are found."""
    splitters = JpegSplitter(), JpegSplitter()
    whole = splitters[0].feed(data) + splitters[0].finish()
    pieces = [jpeg for byte in data for jpeg in splitters[1].feed(bytes([byte]))] + splitters[1].finish()
    assert all(jpeg in data for jpeg in pieces if b"\xff\xd8\xff\xd8" not in data)
    assert len(whole) >= len(pieces) - 1
    for jpeg in whole:
        has_all_scans(jpeg)
        jpeg_shape_hwc(jpeg)


def address(data: bytes) -> None:
    text = "rtsp://" + data.decode(errors="surrogateescape")
    if is_network(text):
        without_password(text)
        with suppress(ValueError):
            split_login(text)


def settings(data: bytes) -> None:
    text = "-?" + data.decode(errors="surrogateescape")
    if STDIN.matches(text):
        STDIN.read(text)


PARSERS: dict[str, Callable[[bytes], None]] = {
    "card": card,
    "jpegs": jpegs,
    "address": address,
    "settings": settings,
}


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "card": lambda: [model.card().to_json().encode() for model in MODELS],
    "jpegs": lambda: [2 * data for suffix, data in images() if suffix == "jpg"],
    "address": lambda: [b"me:secret@host:554/live?token=secret#part", b"[::1]:80/?password=a&b=c"],
    "settings": lambda: [b"size=640x480&format=bgr&fps=30"],
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in PARSERS:
        sys.exit(f"expected one of {', '.join(PARSERS)}, and libFuzzer's options, as in card -runs=100000")
    name = sys.argv.pop(1)
    parser, seeds = PARSERS[name], Path(tempfile.mkdtemp())
    for index, data in enumerate(SEEDS[name]()):
        (seeds / str(index)).write_bytes(data)
    sys.argv.append(str(seeds))

    def once(data: bytes) -> None:
        with suppress(QuietFrameError):
            parser(data)

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
