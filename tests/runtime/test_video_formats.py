"""Videos: right in, right out. Other people's programs make the inputs and judge the outputs."""

from __future__ import annotations

import itertools
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietframe.colour import Colour, bgr_from_planes, planes_from_bgr
from quietframe.decoding import PixelLimit
from quietframe.errors import SourceError, UsageError
from quietframe.sinks import open_sink
from quietframe.sources import open_source
from quietframe.sources.container import Container
from support.images import files_below
from support.videos import decoded, ffmpeg, make, probe

Cli = Callable[..., Any]
SIZE_WH = (320, 240)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cases() -> Path:
    """The folder of inputs that failed once, where there is one."""
    folder = os.environ.get("QUIETFRAME_CASES")
    if not folder:
        pytest.skip("QUIETFRAME_CASES is not set")
    return Path(folder, "videos")


def copy(source: Path, out: Path, *, frames: int | None = None, **options: Any) -> list[str]:
    """Write a video's frames as they are; what the source notes and what failed."""
    input_fps = options.pop("input_fps", None)
    with open_source(source, input_fps=input_fps) as opened, open_sink(out, opened, **options) as sink:
        for frame in itertools.islice(opened, frames):
            sink.write(frame, frame.pixels)
    return opened.notes + opened.failures


# Inputs that failed once


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_variable_rate_keeps_its_times(tmp_path: Path, cases: Path, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    assert copy(cases / "vfr.mkv", out) == []
    assert probe(out)["times_s"] == probe(cases / "vfr.mkv")["times_s"]
    assert probe(out)["duration_s"] == pytest.approx(3.833, abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_longer_than_the_video_is_whole(tmp_path: Path, cases: Path, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    assert copy(cases / "longaudio.mkv", out) == []
    before, after = probe(cases / "longaudio.mkv"), probe(out)
    assert len(after["times_s"]) == 50 and after["duration_s"] == pytest.approx(8, abs=0.03)
    assert [stream["codec_name"] for stream in after["streams"]] == ["h264", "aac"]
    assert float(after["streams"][1]["start_time"]) == pytest.approx(
        max(0, float(before["streams"][1]["start_time"])), abs=0.03
    )
    copied = ffmpeg("-i", out, "-map", "0:a", "-c", "copy", "-f", "adts", "-")
    assert copied == ffmpeg("-i", cases / "longaudio.mkv", "-map", "0:a", "-c", "copy", "-f", "adts", "-")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_pixel_aspect_is_kept(tmp_path: Path, cases: Path, suffix: str) -> None:
    copy(cases / "cctv_d1_sar.mp4", tmp_path / f"a{suffix}")
    written = probe(tmp_path / f"a{suffix}")
    assert (written["width"], written["height"], written["sample_aspect_ratio"]) == (704, 576, "16:11")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_bars_of_hd_are_right_in_the_reading_of_others(tmp_path: Path, cases: Path, suffix: str) -> None:
    out = tmp_path / f"a{suffix}"
    copy(cases / "hd_bt709_tv.mp4", out)
    written = probe(out)
    assert (written["color_space"], written["color_range"]) == ("bt709", "tv")
    before, after = (decoded(path, (1280, 720))[5].astype(int) for path in (cases / "hd_bt709_tv.mp4", out))
    bars = after[100, 40::80]
    assert np.ptp(bars, axis=0).min() > 150  # they are bars
    assert np.abs(bars - before[100, 40::80]).max() <= 4


def test_raw_h264_takes_a_rate(tmp_path: Path, cases: Path, cli: Cli, denoiser_file: Path) -> None:
    raw = cases / "rpicam_notiming.h264"
    for fps, seconds in ((30, 3.0), (25, 3.6)):
        args = ("denoise", raw, "-o", tmp_path / f"{fps}.mp4", "--input-fps", fps, "-m", denoiser_file)
        assert cli(*args).code == 0
        assert len(probe(tmp_path / f"{fps}.mp4")["times_s"]) == 90
        assert probe(tmp_path / f"{fps}.mp4")["duration_s"] == pytest.approx(seconds, abs=0.01)


# Times


def test_a_raw_video_without_a_rate_says_what_is_assumed(tmp_path: Path) -> None:
    raw = make(tmp_path / "a.mp4", "-c:v", "libx264")
    ffmpeg("-i", raw, "-c", "copy", "-bsf:v", "h264_mp4toannexb,filter_units=remove_types=7", tmp_path / "b.h264")
    with open_source(make(tmp_path / "a.mjpeg", "-c:v", "mjpeg")) as source:
        (note,) = source.notes
        assert note.endswith("a.mjpeg: holds no frame rate: 25 is assumed; state it with --input-fps")
        assert source.fps == 25
    with open_source(tmp_path / "a.mjpeg", input_fps=12.5) as source:
        assert (source.notes, source.fps) == ([], 12.5)
    with pytest.raises(SourceError, match=r"a\.mp4: has its own frame rate or needs none: leave --input-fps out"):
        open_source(raw, input_fps=30)
    with pytest.raises(UsageError, match="Expected input_fps in"):
        open_source(raw, input_fps=0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_ntsc_rates_stay(tmp_path: Path, suffix: str) -> None:
    clip = make(tmp_path / "a.mov", scene="testsrc2=size=64x48:rate=30000/1001:duration=3")
    copy(clip, tmp_path / f"b{suffix}")
    written = probe(tmp_path / f"b{suffix}")
    assert written["avg_frame_rate"] == "30000/1001"
    assert written["times_s"] == pytest.approx(probe(clip)["times_s"], abs=6e-4)


def test_a_video_that_begins_late_keeps_the_sound_in_step(tmp_path: Path) -> None:
    sound = ("-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac")
    clip = make(tmp_path / "a.ts", *sound, scene="testsrc2=size=64x48:rate=25:duration=2")
    assert float(probe(clip)["start_time"]) > 1
    copy(clip, tmp_path / "b.mkv")
    before, after = probe(clip)["streams"], probe(tmp_path / "b.mkv")["streams"]
    offsets_s = [float(audio["start_time"]) - float(video["start_time"]) for video, audio in (before, after)]
    assert offsets_s[0] == pytest.approx(offsets_s[1], abs=2e-3)


# Colours


@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("width", [2, 62, 256])
def test_gray_is_gray_and_other_colours_come_back(matrix: int, full_range: bool, width: int) -> None:
    colour = Colour(matrix, full_range=full_range)
    gray = np.resize(np.arange(256, dtype=np.uint8), (256, width))
    planes = planes_from_bgr(np.dstack([gray] * 3), colour)
    assert (planes[1] == 128).all() and (planes[2] == 128).all()
    back = bgr_from_planes(planes, colour)
    assert not np.ptp(back, axis=2).any()
    assert np.abs(back[..., 0].astype(int) - gray).max() <= (0 if full_range else 1)
    for same, plane in zip(planes_from_bgr(gray, colour), planes, strict=True):
        np.testing.assert_array_equal(same, plane)
    np.testing.assert_array_equal(bgr_from_planes(planes[:1], colour), back[..., 0])
    blocks = np.random.default_rng(1).integers(0, 256, (128, width // 2, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    error = bgr_from_planes(planes_from_bgr(blocks, colour), colour).astype(int) - blocks
    assert np.abs(error).max() <= 2 and np.abs(error).mean() < 0.5


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj422p", "yuv444p10le", "gray"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_gray_video_comes_back_without_tint(tmp_path: Path, suffix: str, pixel_format: str) -> None:
    noise = "testsrc2=size=320x240:rate=25:duration=1,hue=s=0,noise=alls=20:allf=t,hue=s=0"
    clip = make(tmp_path / "a.mkv", "-c:v", "ffv1", "-pix_fmt", pixel_format, scene=noise)
    copy(clip, tmp_path / f"b{suffix}")
    with open_source(tmp_path / f"b{suffix}") as written:
        for frame in written:
            assert frame.pixels.ndim == 2 or not np.ptp(frame.pixels, axis=2).any()
    ours = decoded(tmp_path / f"b{suffix}", SIZE_WH)
    assert np.ptp(ours, axis=3).max() <= 4  # ffmpeg's own conversion tints by so much
    theirs = decoded(clip, SIZE_WH)
    assert np.abs(ours.mean((1, 2, 3)) - theirs.mean((1, 2, 3))).max() < 2


@pytest.mark.parametrize(
    ("size", "options", "written"),
    [
        ("1280x720", (), ("bt709", "bt709", "bt709", "tv")),
        ("640x480", (), ("smpte170m", None, None, "tv")),
        ("640x480", ("bt709", "bt709", "bt709", "tv"), ("bt709", "bt709", "bt709", "tv")),
        ("640x480", ("smpte170m", "smpte170m", "smpte170m", "pc"), ("smpte170m", "smpte170m", "smpte170m", "pc")),
        ("1280x720", ("bt470bg", "bt470bg", "gamma28", "pc"), ("bt470bg", "bt470bg", "bt470bg", "pc")),
        ("640x480", ("bt2020nc", "bt2020", "bt2020-10", "tv"), ("bt2020nc", "bt2020", "bt2020-10", "tv")),
    ],
)
def test_colour_tags_are_kept_and_true(tmp_path: Path, size: str, options: tuple, written: tuple) -> None:
    names = ("-colorspace", "-color_primaries", "-color_trc", "-color_range")
    tags = list(itertools.chain.from_iterable(zip(names, options, strict=False)))
    clip = make(
        tmp_path / "a.mp4", *tags, "-pix_fmt", "yuv420p", "-crf", 10, scene=f"smptebars=size={size}:duration=0.2"
    )
    copy(clip, tmp_path / "b.mkv", crf=10)
    said = probe(tmp_path / "b.mkv")
    keys = ("color_space", "color_primaries", "color_transfer", "color_range")
    assert tuple(said.get(key) for key in keys)[:2] == written[:2] and said["color_range"] == written[3]
    if options:
        assert said["color_transfer"] == probe(clip)["color_transfer"]
        size_wh = tuple(map(int, size.split("x")))
        before, after = (decoded(path, size_wh)[2].astype(int) for path in (clip, tmp_path / "b.mkv"))
        assert np.abs(after - before)[50, 50 :: size_wh[0] // 7].max() <= 4


@pytest.mark.parametrize(("transfer", "name"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
def test_hdr_is_refused(tmp_path: Path, transfer: str, name: str) -> None:
    tags = ("-colorspace", "bt2020nc", "-color_primaries", "bt2020", "-color_trc", transfer)
    clip = make(tmp_path / "a.mkv", *tags, "-pix_fmt", "yuv420p10le", "-c:v", "libx264")
    with pytest.raises(SourceError, match=rf"a\.mkv: is HDR \({name}\), .*: convert it to SDR first") as raised:
        open_source(clip)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm", "a.h264", "a.mjpeg"])
def test_more_pixels_than_the_limit_are_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path / name, scene="testsrc2=size=64x48:rate=5:duration=1")
    with open_source(tmp_path / name, max_pixels=64 * 48) as source:
        assert len(list(source)) == 5
    with pytest.raises(SourceError, match=rf"{name}: 64x48 pixels, above the limit of 3,071: scale it down"):
        open_source(tmp_path / name, max_pixels=64 * 48 - 1)


@pytest.mark.parametrize("suffix", ["h265", "mjpeg"])
def test_a_size_that_grows_beyond_the_limit_is_counted(tmp_path: Path, suffix: str) -> None:
    prompt = () if suffix == "mjpeg" else ("-tune", "zerolatency")
    clips = [
        make(tmp_path / f"{size}.{suffix}", *prompt, scene=f"testsrc2=size={size}:rate=5:duration=0.4")
        for size in ("64x48", "2000x1500")  # FFmpeg's own limit is a million pixels higher
    ]
    (tmp_path / f"both.{suffix}").write_bytes(b"".join(clip.read_bytes() for clip in clips))
    limit = PixelLimit(10_000)
    with closing(Container(f"file:{tmp_path}/both.{suffix}", live=True, limit=limit)) as stream:
        assert [pixels.shape for pixels, _ in stream] == [(48, 64, 3)] * 2
    assert limit.count >= 1
    assert "2000x1500 pixels, above the limit of 10,000" in str(limit)


def test_what_becomes_less_is_said(tmp_path: Path, cli: Cli, denoiser_file: Path) -> None:
    clip = make(tmp_path / "a.mkv", "-pix_fmt", "yuv420p10le", "-c:v", "libx264")
    result = cli("denoise", clip, "-o", tmp_path / "b.mkv", "-m", denoiser_file)
    assert result.code == 0
    assert result.error_lines[0] == f"quietframe: warning: {clip}: holds 10 bits a channel: they become 8"
    with open_source(make(tmp_path / "a.mov", "-c:v", "qtrle", "-pix_fmt", "argb")) as source:
        assert source.notes == [f"{tmp_path}/a.mov: holds transparency: it is left out"]


# What else a video holds


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, degrees: int) -> None:
    scene = "testsrc2=size=320x240:rate=25:duration=0.2,setsar=4/3"
    make(tmp_path / "a.mp4", "-c:v", "libx264", "-crf", 10, scene=scene)
    ffmpeg("-i", tmp_path / "a.mp4", "-c", "copy", "-metadata:s:v:0", f"rotate={degrees}", tmp_path / "b.mp4")
    copy(tmp_path / "b.mp4", tmp_path / "c.mp4", crf=10)
    written = probe(tmp_path / "c.mp4")
    upright = degrees % 180 == 90
    assert (written["width"], written["height"]) == ((240, 320) if upright else SIZE_WH)
    assert written["sample_aspect_ratio"] == ("3:4" if upright else "4:3")
    assert "side_data_list" not in written
    size_wh = (written["width"], written["height"])
    ours, theirs = (decoded(tmp_path / name, size_wh).astype(int) for name in ("c.mp4", "b.mp4"))
    assert np.abs(ours - theirs).mean() < 3


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_video_has_no_combs(tmp_path: Path, order: str) -> None:
    moving = f"testsrc2=size=320x240:rate=50:duration=1,scroll=h=0.02,interlace=scan={order}"
    clip = make(tmp_path / "a.mkv", "-c:v", "libx264", "-crf", 10, "-flags", "+ildct+ilme", scene=moving)
    (note,) = copy(clip, tmp_path / "b.mkv", crf=10)
    assert note.endswith("a.mkv: is interlaced: each frame is made of both its fields")

    def comb(frames: np.ndarray) -> float:
        """How much more neighbouring rows differ than every other row."""
        rows = frames[2:-2].astype(int)
        return float(np.abs(np.diff(rows, axis=1)).mean() / np.abs(rows[:, 2:] - rows[:, :-2]).mean())

    assert comb(decoded(tmp_path / "b.mkv", SIZE_WH)) < 0.65 < 0.75 < comb(decoded(clip, SIZE_WH))
    assert len(probe(tmp_path / "b.mkv")["times_s"]) == len(probe(clip)["times_s"])


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A video with two tracks of sound, subtitles, chapters and a title."""
    (tmp_path / "a.srt").write_text(
        "1\n00:00:00,200 --> 00:00:01,000\nhello\n\n2\n00:00:01,100 --> 00:00:01,900\nbye\n"
    )
    chapters = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    text = (
        ";FFMETADATA1\ntitle=A night\ncomment=rain\n"
        + chapters.format(0, 1000, "one")
        + chapters.format(1000, 2000, "two")
    )
    (tmp_path / "a.txt").write_text(text)
    inputs = ["-f", "lavfi", "-i", "sine=440:duration=2", "-f", "lavfi", "-i", "sine=880:duration=2"]
    inputs += ["-i", tmp_path / "a.srt", "-i", tmp_path / "a.txt"]
    maps = [*("-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map_metadata", 4, "-map_chapters", 4)]
    languages = ["-metadata:s:a:0", "language=fra", "-metadata:s:a:1", "language=deu", "-disposition:a:1", "default"]
    codecs = ["-c:v", "libx264", "-c:a:0", "aac", "-c:a:1", "libopus", "-c:s", "srt"]
    scene = "testsrc2=size=320x240:rate=25:duration=2"
    return make(tmp_path / "film.mkv", *maps, *codecs, *languages, scene=scene, inputs=inputs)


def described(path: Path) -> dict[str, Any]:
    """What stands beside the frames."""
    said = probe(path)
    return {
        "title": said["tags"].get("title"),
        "comment": said["tags"].get("comment"),
        "chapters": [(c["tags"]["title"], float(c["start_time"]), float(c["end_time"])) for c in said["chapters"]],
        "streams": [
            (s["codec_name"], s.get("tags", {}).get("language"))
            for s in said["streams"][1:]
            if s["codec_type"] != "data"  # in an mp4, chapters
        ],
        "default": [s["disposition"]["default"] for s in said["streams"][1:]],
    }


def test_what_stands_beside_the_frames_is_kept(tmp_path: Path, film: Path) -> None:
    assert copy(film, tmp_path / "b.mkv") == []
    assert described(tmp_path / "b.mkv") == described(film)
    for stream in ("0:a:0", "0:a:1", "0:s:0"):
        packets = [
            ffmpeg("-i", path, "-map", stream, "-c", "copy", "-f", "framehash", "-")
            for path in (film, tmp_path / "b.mkv")
        ]
        assert packets[0] == packets[1]


def test_titles_that_are_not_utf8_do_no_harm(tmp_path: Path, film: Path) -> None:
    """They were written in another encoding, years ago."""
    old = tmp_path / "old.mkv"
    old.write_bytes(film.read_bytes().replace(b"A night", b"A n\xe9ght").replace(b"one", b"\xf6ne"))
    assert copy(old, tmp_path / "b.mkv") == []
    expected = {"title": described(tmp_path / "b.mkv")["title"], "chapters": described(tmp_path / "b.mkv")["chapters"]}
    assert described(tmp_path / "b.mkv") == described(film) | expected
    assert expected["title"].startswith("A n") and expected["title"].endswith("ght")


def test_sound_is_whole_however_far_the_source_has_read_ahead(tmp_path: Path, film: Path) -> None:
    with open_source(film) as source:
        frames = list(source)
        with open_sink(tmp_path / "b.mkv", source) as sink:
            for frame in frames:
                sink.write(frame, frame.pixels)
    assert described(tmp_path / "b.mkv") == described(film)
    for stream in ("0:a:0", "0:a:1", "0:s:0"):
        hashes = [
            ffmpeg("-i", path, "-map", stream, "-c", "copy", "-f", "framehash", "-") for path in (film, sink.path)
        ]
        assert hashes[0] == hashes[1]


def subtitles(path: Path) -> bytes:
    """The subtitles of a video, as SubRip."""
    return ffmpeg("-i", path, "-map", "0:s", "-f", "srt", "-")


@pytest.mark.parametrize(
    ("codec", "before", "after", "written"),
    [
        ("srt", ".mkv", ".mp4", "mov_text"),
        ("ass", ".mkv", ".mp4", "mov_text"),
        ("webvtt", ".mkv", ".mp4", "mov_text"),
        ("mov_text", ".mp4", ".mp4", "mov_text"),
        ("mov_text", ".mp4", ".mkv", "subrip"),
    ],
)
def test_subtitles_of_text_are_kept(tmp_path: Path, film: Path, codec: str, before: str, after: str, written: str):
    clip, out = tmp_path / f"a{before}", tmp_path / f"b{after}"
    make(clip, "-c:v", "libx264", "-c:s", codec, inputs=["-i", film.with_name("a.srt")])
    assert copy(clip, out) == []
    (stream,) = [stream for stream in probe(out)["streams"] if stream["codec_type"] == "subtitle"]
    assert stream["codec_name"] == written
    text = subtitles(clip)
    assert b"00:00:00,200 --> 00:00:01,000\nhello\n" in text and b"00:00:01,100 --> 00:00:01,900\nbye\n" in text
    assert subtitles(out) == text


def test_what_a_format_cannot_hold_is_named(tmp_path: Path, film: Path, cli: Cli, denoiser_file: Path) -> None:
    ffmpeg("-i", film, "-map", "0:v", "-map", "0:s", "-c", "copy", tmp_path / "a.mkv")
    result = cli("denoise", tmp_path / "a.mkv", "-o", tmp_path / "b.avi", "-m", denoiser_file)
    assert result.code == 0
    (line, _) = result.error_lines
    assert line.endswith("b.avi: cannot hold the subtitles (srt), left out: .mkv holds more kinds")
    assert described(tmp_path / "b.avi")["streams"] == []


def test_an_mp4_keeps_all_that_it_can_hold(tmp_path: Path, film: Path) -> None:
    assert copy(film, tmp_path / "b.mp4") == []
    expected = described(film)
    expected["streams"][2] = ("mov_text", "und")
    written = described(tmp_path / "b.mp4")
    assert {**written, "default": None} == {**expected, "default": None}


def test_sound_is_left_out_on_request_and_cut_with_the_video(tmp_path: Path, film: Path) -> None:
    copy(film, tmp_path / "b.mkv", audio=False)
    assert described(tmp_path / "b.mkv") == {
        "title": None,
        "comment": None,
        "chapters": [],
        "streams": [],
        "default": [],
    }
    copy(film, tmp_path / "c.mkv", frames=10)
    assert probe(tmp_path / "c.mkv")["duration_s"] < 1.5


def test_a_film_that_is_played_live_says_what_it_loses(
    tmp_path: Path, film: Path, cli: Cli, denoiser_file: Path
) -> None:
    result = cli("denoise", film, "--live", "-o", tmp_path / "b.mkv", "-m", denoiser_file)
    assert result.code == 0
    assert any(
        line.endswith("b.mkv: sound and subtitles are left out: they would not keep step with the frames")
        for line in result.error_lines
    )
    written = described(tmp_path / "b.mkv")
    assert (written["title"], written["streams"]) == ("A night", [])
    assert probe(tmp_path / "b.mkv")["duration_s"] == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("name", ["-dash.mp4", "a:b.mp4", "http:x.mp4", "öü %d %20.mp4", "a'b.mp4"])
def test_odd_names_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a.mp4").rename(tmp_path / name)
    out = Path(f"out {name}")
    assert copy(Path(name), out) == []
    assert len(probe(tmp_path / out)["times_s"]) == 25


def test_a_finished_mp4_has_its_index_first(tmp_path: Path) -> None:
    copy(make(tmp_path / "a.mkv"), tmp_path / "b.mp4")
    data = (tmp_path / "b.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


# Recordings that nobody ends


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM])
def test_a_live_recording_can_be_played_whatever_ends_it(
    tmp_path: Path, denoiser_file: Path, suffix: str, number: signal.Signals
) -> None:
    out = tmp_path / f"a{suffix}"
    args = ["denoise", "test:?size=320x240&fps=30&frames=0", "--live", "-o", out, "-m", denoiser_file]
    with subprocess.Popen([sys.executable, "-m", "quietframe", *map(str, args)], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not out.exists() or out.stat().st_size < 300_000:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert files_below(tmp_path) == [out.name]
    assert len(decoded(out, SIZE_WH)) > 20
    with open_source(out) as written:
        assert len(list(written)) > 20


@pytest.mark.long
def test_the_tables_of_the_docs_are_what_the_command_prints() -> None:
    ffmpeg("-version")
    pytest.importorskip("pillow_heif", reason="the tables hold HEIC")
    script = runpy.run_path(str(ROOT / "docs/research/formats.py"))
    assert script["video_tables"]() in (ROOT / "docs/formats.md").read_text(encoding="utf-8")
