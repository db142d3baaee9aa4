"""Print the tables of docs/formats.md: images and videos of every format are made, read, written and read again.

`python docs/research/formats.py --write` puts them into the page. Needs the extra `heif`, ffmpeg and ffprobe.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pillow_heif
from PIL import ImageCms

import quietframe as qf
from quietframe.errors import QuietFrameError
from quietframe.images import WRITERS
from quietframe.metadata import Metadata

PAGE = Path(__file__).parents[1] / "formats.md"
VIDEO_BEGIN, VIDEO_END = "<!-- video tables: docs/research/formats.py -->", "<!-- end of video tables -->"
BEGIN, END = "<!-- tables: docs/research/formats.py -->", "<!-- end of tables -->"

FIELDS = {"icc": "profile", "exif": "EXIF", "xmp": "XMP", "iptc": "IPTC", "dpi_xy": "DPI", "comments": "comments"}
FIELDS |= {"texts": "comments"}
READ = {  # Pillow's name: the suffixes, and the format in words
    "JPEG": (".jpg .jpeg", "JPEG"),
    "PNG": (".png", "PNG"),
    "TIFF": (".tif .tiff", "TIFF, BigTIFF"),
    "WEBP": (".webp", "WebP"),
    "BMP": (".bmp", "BMP"),
    "AVIF": (".avif", "AVIF"),
    "HEIF": (".heic .heif", "HEIC"),
    "GIF": (".gif", "GIF"),
    "JPEG2000": (".jp2 .j2k", "JPEG 2000"),
    "PPM": (".ppm .pgm", "PPM, PGM"),
}
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block() -> bytes:
    """An EXIF block with a maker, beginning with its byte order mark."""
    exif = PIL.Image.Exif()
    exif[271] = "ACME"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def everything() -> Metadata:
    """All that an image can have beside its pixels."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    iptc = b"8BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x69\0\x05title"
    return Metadata(ICC, exif_block(), xmp, iptc, (300.0, 300.0), (b"a comment",))


def sample(pillow_format: str) -> bytes:
    """A file of a format, as another program may write it, with what it can hold beside its pixels."""
    pixels = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    full, file = everything(), BytesIO()
    suffix = READ[pillow_format][0].split()[0]
    if suffix in WRITERS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"a{suffix}")
            qf.write_image(path, qf.Image(np.asarray(pixels), metadata=full))
            return path.read_bytes()
    pillow_heif.register_heif_opener()
    exif = b"Exif\0\0" + (full.exif or b"")
    pixels.save(file, pillow_format, icc_profile=full.icc, exif=exif, xmp=full.xmp, comment=b"a comment")
    return file.getvalue()


def read(data: bytes, **options: Any) -> qf.Image:
    """Read an image from bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(data)
        return qf.read_image(path, **options)


def kept(metadata: Metadata | None) -> str:
    """The names of what there is, in one order."""
    names = [name for field, name in FIELDS.items() if getattr(metadata, field)]
    return ", ".join(dict.fromkeys(names)) or "none"


def refusals() -> Iterator[tuple[str, bytes]]:
    """Files that are refused, by what they hold."""
    pixels = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))

    def saved(image: PIL.Image.Image, pillow_format: str, **options: Any) -> bytes:
        file = BytesIO()
        image.save(file, pillow_format, **options)
        return file.getvalue()

    deep = PIL.Image.fromarray(np.full((16, 16), 40000, np.uint16))
    ten_bits = BytesIO()
    pillow_heif.encode("RGB;16", (16, 16), bytes(16 * 16 * 6), ten_bits)
    more = {"save_all": True, "append_images": [pixels.rotate(90)]}
    yield "16-bit PNG, TIFF, PGM", saved(deep, "PNG")
    yield "HEIC and AVIF of 10 or 12 bits", ten_bits.getvalue()
    yield "floating point TIFF", saved(pixels.convert("F"), "TIFF")
    yield "CMYK JPEG or TIFF without a profile", saved(pixels.convert("CMYK"), "JPEG")
    for name, words in (("GIF", "animated GIF"), ("PNG", "animated PNG"), ("WEBP", "animated WebP")):
        yield words, saved(pixels, name, **more)
    yield "TIFF of several pages", saved(pixels, "TIFF", **more)
    yield "JPEG that is cut short", saved(pixels, "JPEG")[:400]
    yield "PNG that is cut short", saved(pixels, "PNG")[:400]
    for name in ("TGA", "QOI", "ICO", "DDS", "PCX", "SGI"):
        yield name, saved(pixels, name)
    yield "more than 80 megapixels", saved(PIL.Image.new("1", (10000, 10000)), "PNG")


def tables() -> str:
    """The tables in Markdown."""
    lines = ["| format | suffixes | read by | what is read beside the pixels |", "|---|---|---|---|"]
    for name, (suffixes, words) in READ.items():
        image = read(sample(name))
        reader = "pillow-heif (extra `heif`)" if name == "HEIF" else "Pillow"
        lines.append(f"| {words} | {suffixes} | {reader} | {kept(image.metadata)} |")
    lines += ["", "| written | pixels | bits a channel | transparency | what is kept |", "|---|---|---|---|---|"]
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    alpha = np.full((64, 64), 100, np.uint8)
    for suffix in (".jpg", ".png", ".tif", ".webp", ".bmp"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"a{suffix}")
            qf.write_image(path, qf.Image(smooth, metadata=everything()))
            image = qf.read_image(path)
            exact = "lossless" if np.array_equal(image.pixels, smooth) else "quality 95, or `--quality`"
            try:
                qf.write_image(path, qf.Image(smooth, alpha))
                clear = "kept"
            except QuietFrameError:
                clear = "refused"
            try:
                qf.write_image(path, qf.Image(smooth.astype(np.uint16)))
                bits = "8, 16"
            except QuietFrameError:
                bits = "8"
        lines.append(f"| {suffix} | {exact} | {bits} | {clear} | {kept(image.metadata)} |")
    lines += ["", "| refused | what is said |", "|---|---|"]
    for words, data in refusals():
        try:
            read(data)
            said = "read"
        except QuietFrameError as exc:
            said = str(exc).partition("/a: ")[2]
        lines.append(f"| {words} | {said} |")
    return "\n".join(lines)


VIDEOS = {  # in words: the suffix, and ffmpeg's options that make it
    "MP4, H.264": (".mp4", "-c:v libx264"),
    "MP4, H.265": (".mp4", "-c:v libx265 -x265-params log-level=none"),
    "MOV, ProRes": (".mov", "-c:v prores_ks"),
    "Matroska, FFV1": (".mkv", "-c:v ffv1"),
    "WebM, VP9": (".webm", "-c:v libvpx-vp9 -deadline realtime"),
    "AVI, Motion JPEG": (".avi", "-c:v mjpeg"),
    "MPEG-TS, H.264": (".ts", "-c:v libx264"),
    "MPEG program stream, MPEG-2": (".mpg", "-c:v mpeg2video"),
    "FLV, H.264": (".flv", "-c:v libx264"),
    "WMV": (".wmv", "-c:v wmv2"),
    "Ogg, Theora": (".ogv", "-c:v libtheora"),
    "raw H.264": (".h264", "-c:v libx264"),
    "raw H.265": (".h265", "-c:v libx265 -x265-params log-level=none"),
    "raw Motion JPEG": (".mjpeg", "-c:v mjpeg"),
}
REFUSED_VIDEOS = {
    "HDR (PQ)": (".mkv", "-c:v libx264 -pix_fmt yuv420p10le -color_trc smpte2084"),
    "HDR (HLG)": (".mkv", "-c:v libx264 -pix_fmt yuv420p10le -color_trc arib-std-b67"),
    "sound alone": (".m4a", "-vn -c:a aac"),
}
CHANGED_VIDEOS = {
    "10 bits": (".mkv", "-c:v libx264 -pix_fmt yuv420p10le"),
    "transparency": (".mov", "-c:v qtrle -pix_fmt argb"),
    "interlaced": (".mkv", "-c:v libx264 -flags +ildct+ilme -vf interlace"),
}


def video(folder: str, suffix: str, options: str) -> Path:
    """Make a video with sound, a title, pixels of 4:3 and colours of BT.709, as far as the format holds them."""
    path = Path(folder, f"in{suffix}")
    inputs = "-f lavfi -i testsrc2=size=128x96:rate=25:duration=1,setsar=4/3 -f lavfi -i sine=duration=1"
    colours = ["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-metadata", "title=night"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *inputs.split(), *colours, *options.split(), path]
    subprocess.run(command, check=True)
    return path


def copied(source: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Write a video's frames as they are; what ffprobe says of the result."""
    with qf.open_source(source) as opened, qf.open_sink(out, opened, overwrite=True, **options) as sink:
        for frame in opened:
            sink.write(frame, frame.pixels)
    return probed(out)


def probed(path: Path) -> dict[str, Any]:
    """What ffprobe says of a file."""
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", path]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def kept_of_video(source: Path, said: dict[str, Any]) -> str:
    """The names of what the result holds."""
    before, (picture, *others) = probed(source)["streams"][0], said["streams"]
    tags = {key.lower(): text for key, text in said["format"].get("tags", {}).items()}
    with qf.open_source(source) as opened:
        timed = opened.video is not None and opened.video.time_base is not None
    aspect, primaries = "sample_aspect_ratio", "color_primaries"
    found = {
        "times": timed,
        "pixel aspect": before.get(aspect) not in (None, "1:1") and picture.get(aspect) == before.get(aspect),
        "colour tags": before.get(primaries) is not None and picture.get(primaries) == before.get(primaries),
        "sound": any(stream["codec_type"] == "audio" for stream in others),
        "title": tags.get("title") == "night",
    }
    return ", ".join(name for name, there in found.items() if there) or "none"


def video_tables() -> str:
    """The tables of videos in Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        lines = ["| video | suffix | what an .mkv keeps of it |", "|---|---|---|"]
        for words, (suffix, options) in VIDEOS.items():
            path = video(folder, suffix, options)
            lines.append(f"| {words} | {suffix} | {kept_of_video(path, copied(path, Path(folder, 'out.mkv')))} |")
        lines += ["", "| written | codec | others | what is kept of an MP4 |", "|---|---|---|---|"]
        path = video(folder, *VIDEOS["MP4, H.264"])
        for suffix in (".mp4", ".mkv", ".avi"):
            said = copied(path, Path(folder, f"out{suffix}"))
            usual = said["streams"][0]["codec_name"]
            others = [codec for codec in ("h264", "hevc", "ffv1", "mjpeg") if codec != usual]
            fitting = []
            for codec in others:
                with contextlib.suppress(QuietFrameError):
                    copied(path, Path(folder, f"out{suffix}"), codec=codec)
                    fitting.append(codec)
            lines.append(f"| {suffix} | {usual} | {', '.join(fitting)} | {kept_of_video(path, said)} |")
        lines += ["", "| changed or refused | what is said |", "|---|---|"]
        for words, (suffix, options) in {**CHANGED_VIDEOS, **REFUSED_VIDEOS}.items():
            path = video(folder, suffix, options)
            try:
                with qf.open_source(path) as opened:
                    said_of_it = "; ".join(opened.notes)
            except QuietFrameError as exc:
                said_of_it = str(exc)
            lines.append(f"| {words} | {said_of_it.partition(f'in{suffix}: ')[2]} |")
    return "\n".join(lines)


def page_with(new: str, begin: str = BEGIN, end: str = END, page: str | None = None) -> str:
    """The page, with new tables in their place."""
    before, _, rest = (page or PAGE.read_text(encoding="utf-8")).partition(begin)
    return f"{before}{begin}\n\n{new}\n\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        page = page_with(tables())
        PAGE.write_text(page_with(video_tables(), VIDEO_BEGIN, VIDEO_END, page), encoding="utf-8")
    else:
        sys.stdout.write(f"{tables()}\n\n{video_tables()}\n")
