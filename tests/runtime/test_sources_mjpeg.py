"""The JPEG splitter: whole pictures out of any stream of bytes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quietframe
from quietframe.sources import mjpeg, open_source
from quietframe.sources.mjpeg import JpegDecoder, JpegSplitter
from support.process import run_python


def jpeg(seed: int = 0, size_hw: tuple[int, int] = (40, 56), *options: int) -> bytes:
    """A noisy picture: its scan holds many FF bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), np.uint8)
    return cv2.imencode(".jpg", pixels, list(options))[1].tobytes()


def segment(marker: int, data: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


def with_thumbnail(picture: bytes) -> bytes:
    """A picture with a whole small JPEG in its Exif segment, as cameras write them."""
    return (
        picture[:2] + segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + bytes(90) + jpeg(99, (12, 16)) + b"pad") + picture[2:]
    )


def multipart(*pictures: bytes) -> bytes:
    """As IP cameras send them."""
    return b"".join(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + picture + b"\r\n" for picture in pictures)


def split(stream: bytes, piece: int = 4096) -> tuple[list[bytes], JpegSplitter]:
    """What a splitter finds when the stream comes in pieces of a length."""
    splitter, found = JpegSplitter(), []
    for at in range(0, len(stream), piece):
        found += splitter.feed(stream[at : at + piece])
    return found, splitter


EXIF_TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
PICTURES = [
    jpeg(1),
    jpeg(2, (40, 56), cv2.IMWRITE_JPEG_PROGRESSIVE, 1),  # several scans
    jpeg(3, (40, 56), cv2.IMWRITE_JPEG_RST_INTERVAL, 1),  # restart markers in the scan
    with_thumbnail(jpeg(4)),
    with_thumbnail(jpeg(5, (40, 56), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
    jpeg(6, (1, 1)),
]


@pytest.mark.parametrize("piece", [1, 2, 3, 100, 4096, 1 << 20])
@pytest.mark.parametrize("wrap", [multipart, lambda *pictures: b"".join(pictures)], ids=["multipart", "bare"])
def test_every_picture_is_found_whole_however_the_bytes_come(piece: int, wrap: object) -> None:
    found, splitter = split(wrap(*PICTURES), piece)  # type: ignore[operator]
    assert found == PICTURES
    assert (splitter.damaged, splitter.finish()) == (0, [])
    assert all(JpegDecoder().decode(picture) is not None for picture in found)


@settings(deadline=None, max_examples=60)
@given(between=st.lists(st.binary(max_size=300), min_size=7, max_size=7), piece=st.integers(1, 3000))
def test_whatever_lies_between_is_skipped(between: list[bytes], piece: int) -> None:
    between = [garbage.replace(b"\xff", b"\xfe") for garbage in between]
    stream = b"".join(garbage + picture for garbage, picture in zip(between, PICTURES, strict=False)) + between[-1]
    found, splitter = split(stream, piece)
    assert found == PICTURES
    assert splitter.damaged == 0


@pytest.mark.parametrize("number", range(len(PICTURES)))
def test_a_picture_cut_anywhere_is_damaged_and_costs_no_other(number: int) -> None:
    decoder = JpegDecoder()
    before, after = PICTURES[:number], [*PICTURES[number + 1 :], PICTURES[0]]
    for cut in range(3, len(PICTURES[number]) - 20, 1 if number == 5 else 7):
        found, splitter = split(multipart(*before, PICTURES[number][:cut], *after))
        broken = [picture for picture in found if picture not in PICTURES]
        assert [picture for picture in found if picture in PICTURES] == before + after, cut
        assert splitter.damaged + len(broken) == 1, cut
        assert all(decoder.decode(picture) is None for picture in broken), cut


@pytest.mark.parametrize("number", range(len(PICTURES)))
@pytest.mark.parametrize("wrap", [multipart, lambda *pictures: b"".join(pictures)], ids=["multipart", "bare"])
def test_a_missing_end_marker_costs_nothing(number: int, wrap: Callable[..., bytes]) -> None:
    decoder, picture = JpegDecoder(), PICTURES[number]
    found, splitter = split(wrap(picture[:-2], PICTURES[0], picture[:-2]))
    found += splitter.finish()
    assert (len(found), splitter.damaged) == (3, 0)
    for cut in (found[0], found[2]):
        np.testing.assert_array_equal(decoder.decode(cut), decoder.decode(picture))


def test_a_start_marker_that_comes_twice_costs_nothing() -> None:
    found, splitter = split(b"".join(b"\xff\xd8" + picture for picture in PICTURES), 100)
    assert (found, splitter.damaged) == (PICTURES, 0)


def test_a_picture_that_is_cut_where_the_stream_ends_is_damaged() -> None:
    found, splitter = split(PICTURES[0] + PICTURES[0][:300])
    assert (found, splitter.finish(), splitter.damaged) == ([PICTURES[0]], [], 1)
    found, splitter = split(PICTURES[0] + PICTURES[0][:-200])
    (cut,) = splitter.finish()
    assert JpegDecoder().decode(cut) is None


@pytest.mark.parametrize("number", [0, 1], ids=["baseline", "progressive"])
def test_a_file_of_pictures_without_end_markers_is_whole(tmp_path: Path, number: int) -> None:
    (tmp_path / "a.mjpeg").write_bytes(3 * PICTURES[number][:-2])
    with open_source(tmp_path / "a.mjpeg") as source:
        frames = list(source)
    (tmp_path / "b.mjpeg").write_bytes(PICTURES[number])
    with open_source(tmp_path / "b.mjpeg") as source:
        (whole,) = source
    assert len(frames) == 3 and all(np.array_equal(frame.pixels, whole.pixels) for frame in frames)


def test_a_progressive_picture_that_lacks_scans_is_left_out() -> None:
    picture, decoder = PICTURES[1], JpegDecoder()
    scans = [at for at in range(len(picture)) if picture[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    assert [at for at in scans if decoder.decode(picture[:at]) is not None] == []


DAMAGE = {  # to a coded scan, at a place in it
    "lacks-200-bytes": lambda data, at, rng: data[:at] + data[at + 200 :],
    "200-zeros": lambda data, at, rng: data[:at] + bytes(200) + data[at + 200 :],
    "20-random-bytes": lambda data, at, rng: data[:at] + rng.bytes(20) + data[at + 20 :],
    "a-flipped-bit": lambda data, at, rng: data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :],
}


@pytest.mark.parametrize(
    ("quality", "damage", "least"),
    [
        *((60, "lacks-200-bytes", 99), (60, "200-zeros", 84), (60, "20-random-bytes", 40), (60, "a-flipped-bit", 12)),
        *((90, "lacks-200-bytes", 85), (90, "200-zeros", 65), (90, "20-random-bytes", 60), (90, "a-flipped-bit", 18)),
    ],
)
def test_pictures_that_are_damaged_inside_are_left_out_as_often_as_their_code_tells(
    quality: int, damage: str, least: int
) -> None:
    photo = cv2.resize(cv2.imread(str(Path(quietframe.__file__).parent / "assets/astronaut.jpg")), (320, 320))
    picture = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    rng, decoder, start = np.random.default_rng(3), JpegDecoder(), picture.index(b"\xff\xda") + 20
    places = rng.integers(start, len(picture) - 220, 100)
    left_out = sum(decoder.decode(DAMAGE[damage](picture, int(at), rng)) is None for at in places)
    assert left_out >= least  # FFmpeg's decoder reaches one of these eight
    assert decoder.decode(picture) is not None


@pytest.mark.parametrize("subsampling", [0x411111, 0x221111, 0x211111, 0x121111, 0x111111])
@pytest.mark.parametrize("progressive", [0, 1])
def test_pixels_are_those_of_opencv(subsampling: int, progressive: int) -> None:
    options = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, subsampling, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive
    for size_hw in ((33, 47), (64, 64)):
        picture = jpeg(8, size_hw, *options)
        turned = picture[:2] + segment(0xE1, EXIF_TURNED) + picture[2:]
        expected = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(JpegDecoder().decode(picture), expected)
        np.testing.assert_array_equal(JpegDecoder().decode(turned), expected)  # as players show it


def test_what_cameras_write_is_whole() -> None:
    picture, decoder = PICTURES[0], JpegDecoder()
    pixels = decoder.decode(picture)
    for count in range(17):  # webcams append bytes to the pixels
        np.testing.assert_array_equal(decoder.decode(picture[:-2] + bytes(range(1, count + 1)) + picture[-2:]), pixels)
    assert decoder.decode(picture[:-2] + bytes(300) + picture[-2:]) is None
    bare = picture
    while (at := bare.find(b"\xff\xc4")) >= 0:  # Motion JPEG may leave the standard's tables out
        bare = bare[:at] + bare[at + 2 + int.from_bytes(bare[at + 2 : at + 4], "big") :]
    assert len(bare) < len(picture) - 400
    np.testing.assert_array_equal(decoder.decode(bare), pixels)


def test_cmyk_is_left_out() -> None:
    file = BytesIO()
    PIL.Image.new("CMYK", (16, 16)).save(file, "JPEG")
    assert JpegDecoder().decode(file.getvalue()) is None


def test_an_empty_part_is_damaged() -> None:
    empty = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 0\r\n\r\n\r\n"
    found, splitter = split(multipart(PICTURES[0]) + empty + empty + multipart(PICTURES[1]))
    assert found == PICTURES[:2]
    assert splitter.damaged == 2


@settings(deadline=None, max_examples=100)
@given(stream=st.binary(max_size=3000), start=st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xda\0\2"]))
def test_any_bytes_are_taken_and_pictures_are_found_after_them(stream: bytes, start: bytes) -> None:
    found, _ = split(start + stream + bytes(1 << 17) + multipart(*PICTURES), 997)
    assert found[-5:] == PICTURES[1:]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjpeg, "MOST_BYTES", 1 << 20)
    splitter = JpegSplitter()
    assert splitter.feed(PICTURES[0][:-2]) == []
    for _ in range(64):
        assert splitter.feed(bytes(1 << 16)) == []
        assert len(splitter._data) < (1 << 20) + (1 << 17)
    assert splitter.damaged == 1
    assert splitter.feed(PICTURES[1]) == [PICTURES[1]]


HUGE = """
import sys
from pathlib import Path
from quietframe.cpu import peak_rss_mb
from quietframe.sources import open_source
from quietframe.sources.mjpeg import JpegDecoder
good, huge = Path("good.mjpeg").read_bytes(), Path("huge.mjpeg").read_bytes()
assert JpegDecoder().decode(good) is not None
with open_source("good.mjpeg") as source:
    list(source)
before = peak_rss_mb()
assert JpegDecoder().decode(huge) is None and JpegDecoder().decode(Path("small.mjpeg").read_bytes()) is None
with open_source("mixed.mjpeg") as source:
    print(len(list(source)), source.damaged, source.limit)
print(peak_rss_mb() - before)
"""


def test_a_header_of_many_pixels_takes_no_memory(tmp_path: Path) -> None:
    good = jpeg(1)
    at = good.index(b"\xff\xc0") + 5
    huge = good[:at] + b"\x3e\x80\x3e\x80" + good[at + 4 : -2] + bytes(2 << 20) + good[-2:]  # 16000x16000
    small = good[:at] + b"\x22\xc0\x22\xc0" + good[at + 4 :]  # 8896x8896, more than its bytes can hold
    files = ("good", 3 * good), ("huge", huge), ("small", small), ("mixed", 3 * good + huge + 3 * good)
    for name, data in files:
        (tmp_path / f"{name}.mjpeg").write_bytes(data)
    counts, grown_mb = run_python("-c", HUGE, cwd=tmp_path).stdout.splitlines()
    assert counts.startswith("6 1 1 frame left out: 16000x16000 pixels, above the limit of 80,000,000: ")
    assert float(grown_mb) < 50


def test_what_is_no_jpeg_decodes_to_nothing() -> None:
    decoder = JpegDecoder()
    assert decoder.decode(b"\xff\xd8\xff\xd9") is None
    assert decoder.decode(b"") is None
    pixels = decoder.decode(cv2.imencode(".jpg", np.full((8, 8), 77, np.uint8))[1].tobytes())
    assert pixels is not None and pixels.shape == (8, 8) and abs(int(pixels.mean()) - 77) < 3
