"""Encode frames with PyAV into a file, a stream or a pipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.colour import BT601_625, Colour, planes_from_bgr
from quietframe.log import log

if TYPE_CHECKING:
    import av

    from quietframe.sources.container import Container, Packets

CODECS: Mapping[str, str] = {"h264": "libx264", "hevc": "libx265", "ffv1": "ffv1", "mjpeg": "mjpeg"}
"""The codecs, and FFmpeg's encoder of each: small; smaller and slow; lossless and large; a JPEG for each frame."""

_DEFAULT_CRF = 20
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "veryfast", "x265-params": "log-level=none"},
}
_KEY_FRAME_S = 2
_LIVE_TIME_BASE = Fraction(1, 90_000)
_MIN_STEP_S = 0.001  # Matroska knows no shorter one, and MP4 refuses two packets of one time
_BITS_PER_PIXEL = 0.15  # of encoders without a constant quality
_RGB, _FULL_RANGE, _LIMITED_RANGE = 0, 2, 1
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}  # of a file, not of what it shows
_FRAGMENTS = {
    "mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"},
    "matroska": {"cluster_time_limit": "1000", "flush_packets": "1"},
}
_TEXTS = {"mp4": "mov_text", "matroska": "subrip"}  # what a format takes subtitles of text as, whatever they were
_FINISHED = {"mp4": {"movflags": "faststart"}}


class EncoderError(Exception):
    """What was asked for cannot be encoded or written. The message says why, without a name."""


class Encoder:
    """Encode frames, and copy the sound and subtitles of a video that is read meanwhile.

    Args:
        place: a name with its protocol, an address, or an open file.
        shape: FFmpeg's name of the format.
        codec: FFmpeg's name of the encoder.
        size_wh: of all frames.
        rate: frames a second, about.
        crf: as of `VideoOptions`.
        video: what is read: its times, colours and other streams.
        live: times are those of a clock, from the first frame on.
        fragmented: what is written can be played before it is closed.
        audio: copy what stands beside the frames.
        in_step: sound and subtitles can be copied too: their times are those of the frames.
        immediate: hold no frame back.
        pixels: the layout of raw pixels.
        options: FFmpeg's, of the format.
        name: of the place, for what is logged.

    Raises:
        EncoderError: there is no such encoder here, it does not fit the format, or the place takes no file.
    """

    def __init__(
        self,
        place: Any,
        shape: str,
        codec: str,
        size_wh: tuple[int, int],
        rate: Fraction,
        *,
        crf: int | None = None,
        video: Container | None = None,
        live: bool = False,
        fragmented: bool = False,
        audio: bool = True,
        in_step: bool = True,
        immediate: bool = False,
        pixels: str | None = None,
        options: Mapping[str, str] | None = None,
        name: str = "",
    ) -> None:
        import av

        extra = dict((_FRAGMENTS if fragmented else _FINISHED).get(shape, {})) | dict(options or {})
        extra |= {"max_interleave_delta": "500000"} if live else {}  # sound that stops holds no frame up
        with _reported():
            self._output = av.open(place, "w", format=shape, container_options=extra)
        time_base = _LIVE_TIME_BASE if live or video is None or video.time_base is None else video.time_base
        if shape == "avi" or (not live and (video is None or video.time_base is None)):
            time_base = 1 / rate  # AVI has no other times
        self._time_base, self._last = time_base, -1
        self._live, self._zero_s = live, 0.0
        colour = (video.colour if video else Colour()).for_size(*size_wh)
        if codec == "mjpeg":
            colour = Colour(BT601_625, full_range=True)  # JFIF
        self._colour = colour
        self._stream: Any = self._output.add_stream(codec, rate)
        context = self._stream.codec_context
        context.width, context.height = size_wh
        context.time_base = time_base
        context.sample_aspect_ratio = video.pixel_aspect if video else 1
        self._set_pixels(context, codec, pixels)
        if live or fragmented:
            context.gop_size = max(1, round(_KEY_FRAME_S * rate))
        context.options = dict(_OPTIONS.get(codec, {}))
        if codec in _OPTIONS:
            context.options |= {"tune": "zerolatency"} if immediate else {}
            context.options["crf"] = str(_DEFAULT_CRF if crf is None else crf)
        elif codec not in ("ffv1", "mjpeg", "rawvideo"):
            context.bit_rate = round(size_wh[0] * size_wh[1] * rate * _BITS_PER_PIXEL)
        if codec == "libx265" and shape == "mp4":
            context.codec_tag = "hvc1"  # without it Apple's players show nothing
        self._duration = max(1, round(1 / rate / time_base))
        self._copies: dict[int, Any] = {}
        self._decoders: dict[int, Any] = {}  # of what is converted
        self._due_s: dict[int, float] = {}  # when the next packet may stand
        self._packets: Packets | None = None
        if video is not None and audio and shape not in ("mjpeg", "rawvideo"):
            self._copy_tags(video)
            if in_step:
                self._copy_streams(video, name)
            elif video.others:
                log.warning("%s: sound and subtitles are left out: they would not keep step with the frames", name)
        try:
            context.open()
        except av.error.FFmpegError as exc:
            self._output.close()
            raise EncoderError(
                f"{codec} cannot encode {size_wh[0]}x{size_wh[1]} at {float(rate):g} fps here ({exc.strerror})"
            ) from exc
        with _reported():
            self._output.start_encoding()

    @staticmethod
    def check(codec: str, shape: str, crf: int | None, size_wh: tuple[int, int] | None) -> None:
        """Raise EncoderError for what is known not to be possible before anything is opened."""
        import av

        try:
            canonical = av.codec.Codec(codec, "w").canonical_name
        except av.codec.codec.UnknownCodecError as exc:
            raise EncoderError(f"no encoder {codec} in this PyAV: name another with --codec or --encoder") from exc
        try:
            av.open(os.devnull, "w", format=shape).add_stream(codec)
        except ValueError as exc:
            raise EncoderError(f"{shape} does not hold {canonical}: name another with --codec, or write .mkv") from exc
        if crf is not None and codec not in _OPTIONS:
            raise EncoderError(f"{codec} has no constant rate factor: leave --crf out")
        if size_wh is not None and canonical != "ffv1" and (size_wh[0] % 2 or size_wh[1] % 2):
            raise EncoderError(
                f"frames are {size_wh[0]}x{size_wh[1]}, a video needs an even width and height: --codec ffv1 takes any"
            )

    def _set_pixels(self, context: Any, codec: str, pixels: str | None) -> None:
        """Choose how pixels are laid out, and say how their colours are meant."""
        colour, full_range = self._colour, self._colour.full_range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        context.colorspace = colour.matrix
        if codec == "ffv1":
            context.pix_fmt, context.colorspace, full_range = "bgr0", _RGB, True
        elif codec == "mjpeg":
            context.pix_fmt = "yuvj420p"
            context.qmin = context.qmax = 2
        else:
            formats = [layout.name for layout in context.codec.video_formats or ()]
            context.pix_fmt = pixels or ("yuv420p" if not formats or "yuv420p" in formats else formats[0])
        context.color_range = _FULL_RANGE if full_range else _LIMITED_RANGE

    def _copy_tags(self, video: Container) -> None:
        if video.live:  # a server's names
            return
        self._output.metadata.update({key: text for key, text in video.tags.items() if key.lower() not in _OWN_TAGS})
        if not self._live:
            self._output.set_chapters(video.chapters)

    def _copy_streams(self, video: Container, name: str) -> None:
        self._packets = video.subscribe()
        for number, other in enumerate(video.others):
            copy = self._add_copy(other, number)
            if copy is None:
                what = f"{'sound' if other.type == 'audio' else 'subtitles'} ({other.codec_context.name})"
                remedy = "" if self._output.format.name == "matroska" else ": .mkv holds more kinds"
                log.warning("%s: cannot hold the %s, left out%s", name, what, remedy)
                continue
            copy.metadata.update({key: text for key, text in other.metadata.items() if key in ("language", "title")})
            copy.disposition = other.disposition
            self._copies[number] = copy

    def _add_copy(self, other: Any, number: int) -> Any:
        """Add a stream like another, or of what the format has for text and PCM; None: it holds no such thing."""
        import av

        with contextlib.suppress(ValueError):
            return self._output.add_stream_from_template(other)
        context = other.codec_context
        with contextlib.suppress(ValueError):
            if context.name.startswith("pcm_"):  # as G.711 of cameras
                decoder = av.CodecContext.create(context.name, "r")
                decoder.sample_rate, decoder.layout = context.sample_rate, context.layout
                self._decoders[number] = decoder
                return self._output.add_stream("pcm_s16le", context.sample_rate, layout=context.layout)
            if other.type == "subtitle" and context.codec.text_sub:
                copy: Any = self._output.add_stream(_TEXTS.get(self._output.format.name, context.name))
                context.open(strict=False)  # which makes the header
                copy.codec_context.subtitle_header = context.subtitle_header
                copy.codec_context.time_base = copy.time_base = other.time_base
                self._decoders[number] = context
                return copy
        return None

    def encode(self, pixels: NDArray[np.uint8], time_s: float) -> None:
        """Encode a frame: (H, W, 3) uint8 BGR or (H, W) uint8 gray. Raises EncoderError."""
        if self._live and self._last < 0:
            self._zero_s = time_s
        place = max(round(Fraction(time_s - self._zero_s) / self._time_base), self._last + 1)
        self._last = place
        frame = self._frame(pixels)
        frame.pts, frame.time_base, frame.duration = place, self._time_base, self._duration
        with _reported():
            self._copy_packets()
            self._output.mux(self._stream.encode(frame))

    def _frame(self, pixels: NDArray[np.uint8]) -> Any:
        import av

        if self._stream.codec_context.pix_fmt in ("bgr0", "bgr24"):
            bgr = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels
            return av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format="bgr24")
        planes = planes_from_bgr(pixels, self._colour)
        data = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, pixels.shape[1])
        frame = av.VideoFrame.from_ndarray(data, format="yuvj420p" if self._colour.full_range else "yuv420p")
        frame.colorspace, frame.color_range = self._colour.matrix, _FULL_RANGE if self._colour.full_range else 1
        return frame

    def _copy_packets(self) -> None:
        while self._packets:
            index, packet, came_s = self._packets.popleft()
            if index not in self._copies or (self._live and came_s < self._due_s.get(index, self._zero_s)):
                continue
            self._due_s[index] = came_s + _MIN_STEP_S
            copy = self._copied(packet, index)
            if copy is not None:
                copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
                copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
                if self._live:
                    copy.pts = copy.dts = round((came_s - self._zero_s) / copy.time_base)
                copy.stream = self._copies[index]
                self._output.mux(copy)

    def _copied(self, packet: av.Packet, index: int) -> av.Packet | None:
        """Copy a packet, which another sink may want too, or convert it; None: it holds nothing."""
        import av

        decoder, encoder = self._decoders.get(index), self._copies[index].codec_context
        if decoder is not None and decoder.type == "subtitle":
            text = decoder.decode2(packet)
            return encoder.encode_subtitle(text) if text else None
        if decoder is not None:
            coded = [bytes(part) for frame in decoder.decode(packet) for part in encoder.encode(frame)]
            return av.Packet(b"".join(coded)) if coded else None
        copy = av.Packet(bytes(packet))
        for side_data in packet.iter_sidedata():  # how much sound to skip at its ends
            copy.set_sidedata(side_data)
        return copy

    def close(self) -> None:
        """Finish: what the encoder still holds is written, and the end of the file. Raises EncoderError."""
        with _reported():
            try:
                self._copy_packets()
                self._output.mux(self._stream.encode(None))
            finally:
                self._output.close()


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Turn FFmpeg's errors, of many kinds, into one."""
    import av

    try:
        yield
    except av.error.FFmpegError as exc:
        raise EncoderError(f"cannot be written ({exc.strerror})") from exc
