"""Encode frames with PyAV into a file, a stream or a pipe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.colour import BT601_625, Colour, planes_from_bgr
from quietframe.log import log
from quietframe.noise.formats import MIN_WIDTH_X265
from quietframe.sinks.base import CODECS, SinkOptions
from quietframe.sinks.copies import Copies

if TYPE_CHECKING:
    from quietframe.sources.container import Container

_DEFAULT_CRF = 20
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "libx264": {"preset": "veryfast"},
    "libx265": {"preset": "veryfast", "x265-params": "log-level=none"},
}
_KEY_FRAME_S = 2
_LIVE_TIME_BASE = Fraction(1, 90_000)
_BITS_PER_PIXEL = 0.15  # of encoders without a constant quality
_RGB, _FULL_RANGE, _LIMITED_RANGE = 0, 2, 1
_OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}  # of a file, not of what it shows
_FRAGMENTS = {
    "mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"},
    "matroska": {"cluster_time_limit": "1000", "flush_packets": "1"},
}
_FINISHED = {"mp4": {"movflags": "faststart"}}


class EncoderError(Exception):
    """What was asked for cannot be encoded or written. The message says why, without a name."""


@dataclass(frozen=True)
class Form:
    """The form in which a place takes a video.

    Attributes:
        name: FFmpeg's name of the format.
        codec: the usual one, as FFmpeg or `CODECS` names it.
        pixels: the layout of raw pixels.
        options: FFmpeg's, of the format.
    """

    name: str
    codec: str = "h264"
    pixels: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def encoder(self, options: SinkOptions) -> str:
        """FFmpeg's name of the encoder to use."""
        codec = options.codec or self.codec
        return options.encoder or CODECS.get(codec, codec)


@dataclass(frozen=True)
class Plan:
    """How a video is to be encoded.

    Attributes:
        form: what the place takes.
        codec: FFmpeg's name of the encoder.
        rate: frames a second, about.
        crf: as of `open_sink`.
        video: what is read: its times, colours and other streams.
        live: times are those of a clock, from the first frame on.
        fragmented: what is written can be played before it is closed.
        audio: copy what stands beside the frames.
        immediate: hold no frame back.
        name: of the place, for what is logged.
    """

    form: Form
    codec: str
    rate: Fraction
    crf: int | None = None
    video: Container | None = None
    live: bool = False
    fragmented: bool = False
    audio: bool = True
    immediate: bool = False
    name: str = ""

    def check(self, size_wh: tuple[int, int] | None) -> None:
        """Raise EncoderError for what is known not to be possible before anything is opened."""
        import av

        try:
            canonical = av.codec.Codec(self.codec, "w").canonical_name
        except av.codec.codec.UnknownCodecError as exc:
            raise EncoderError(f"no encoder {self.codec} in this PyAV: name another with --codec or --encoder") from exc
        try:
            av.open(os.devnull, "w", format=self.form.name).add_stream(self.codec)
        except ValueError as exc:
            raise EncoderError(
                f"{self.form.name} does not hold {canonical}: name another with --codec, or write .mkv"
            ) from exc
        if self.crf is not None and self.codec not in _OPTIONS:
            raise EncoderError(f"{self.codec} has no constant rate factor: leave --crf out")
        if size_wh is not None and canonical != "ffv1" and (size_wh[0] % 2 or size_wh[1] % 2):
            raise EncoderError(
                f"frames are {size_wh[0]}x{size_wh[1]}, a video needs an even width and height: --codec ffv1 takes any"
            )
        if size_wh is not None and self.codec == "libx265" and size_wh[0] < MIN_WIDTH_X265:
            raise EncoderError(
                f"frames are {size_wh[0]}x{size_wh[1]}, libx265 needs a width of {MIN_WIDTH_X265}: use --codec h264"
            )


class Encoder:
    """Encode frames, and copy the sound and subtitles of a video that is read meanwhile.

    Args:
        place: a name with its protocol, an address, or an open file.
        plan: how.
        size_wh: of all frames.
        in_step: sound and subtitles can be copied too: their times are those of the frames.

    Raises:
        EncoderError: there is no such encoder here, it does not fit the format, or the place takes no file.
    """

    def __init__(self, place: Any, plan: Plan, size_wh: tuple[int, int], *, in_step: bool = True) -> None:
        import av

        self._plan, video, shape = plan, plan.video, plan.form.name
        extra = {**(_FRAGMENTS if plan.fragmented else _FINISHED).get(shape, {}), **plan.form.options}
        if plan.live:
            extra["max_interleave_delta"] = "500000"  # sound that stops holds no frame up
        with _reported():
            self._output = av.open(place, "w", format=shape, container_options=extra)
        time_base = _LIVE_TIME_BASE if plan.live else video.time_base if video else None
        if time_base is None or shape == "avi":  # AVI has no other times
            time_base = 1 / plan.rate
        self._time_base, self._last, self._zero_s = time_base, -1, 0.0
        self._duration = max(1, round(1 / plan.rate / time_base))
        self._stream: Any = self._output.add_stream(plan.codec, plan.rate)
        context = self._stream.codec_context
        context.width, context.height = size_wh
        context.time_base = time_base
        context.sample_aspect_ratio = video.pixel_aspect if video else 1
        self._colour = (video.colour if video else Colour()).for_size(*size_wh)
        if plan.codec == "mjpeg":
            self._colour = Colour(BT601_625, full_range=True)  # JFIF
        self._set_pixels(context)
        self._set_codec(context)
        self._copies: Copies | None = None
        if video is not None and plan.audio and shape not in ("mjpeg", "rawvideo"):
            self._copy_tags(video)
            if in_step:
                self._copies = Copies(self._output, video, live=plan.live, name=plan.name)
            elif video.others:
                log.warning("%s: sound and subtitles are left out: they would not keep step with the frames", plan.name)
        try:
            context.open()
        except av.error.FFmpegError as exc:
            self._output.close()
            size = f"{size_wh[0]}x{size_wh[1]} at {float(plan.rate):g} fps"
            raise EncoderError(f"{plan.codec} cannot encode {size} here ({exc.strerror})") from exc
        with _reported():
            self._output.start_encoding()

    def _set_pixels(self, context: Any) -> None:
        """Choose how pixels are laid out, and say how their colours are meant."""
        colour, full_range = self._colour, self._colour.full_range
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        context.colorspace = colour.matrix
        if self._plan.codec == "ffv1":
            context.pix_fmt, context.colorspace, full_range = "bgr0", _RGB, True
        elif self._plan.codec == "mjpeg":
            context.pix_fmt = "yuvj420p"
        else:
            known = [layout.name for layout in context.codec.video_formats or ()]
            context.pix_fmt = self._plan.form.pixels or ("yuv420p" if not known or "yuv420p" in known else known[0])
        context.color_range = _FULL_RANGE if full_range else _LIMITED_RANGE

    def _set_codec(self, context: Any) -> None:
        codec, rate = self._plan.codec, self._plan.rate
        if codec == "libx265" and self._plan.form.name == "mp4":
            context.codec_tag = "hvc1"  # without it Apple's players show nothing
        if self._plan.fragmented:
            context.gop_size = max(1, round(_KEY_FRAME_S * rate))
        if codec in _OPTIONS:
            crf = _DEFAULT_CRF if self._plan.crf is None else self._plan.crf
            context.options = {**_OPTIONS[codec], "crf": str(crf)}
            if self._plan.immediate:
                context.options["tune"] = "zerolatency"
        elif codec == "mjpeg":
            context.qmin = context.qmax = 2
        elif codec not in ("ffv1", "rawvideo"):
            context.bit_rate = round(context.width * context.height * rate * _BITS_PER_PIXEL)

    def _copy_tags(self, video: Container) -> None:
        if video.live:  # a server's names
            return
        self._output.metadata.update({key: text for key, text in video.tags.items() if key.lower() not in _OWN_TAGS})
        if not self._plan.live:
            self._output.set_chapters(video.chapters)

    def encode(self, pixels: NDArray[np.uint8], time_s: float) -> None:
        """Encode a frame: (H, W, 3) uint8 BGR or (H, W) uint8 gray. Raises EncoderError."""
        if self._plan.live and self._last < 0:
            self._zero_s = time_s
        place = max(round(Fraction(time_s - self._zero_s) / self._time_base), self._last + 1)
        self._last = place
        frame = self._frame(pixels)
        frame.pts, frame.time_base, frame.duration = place, self._time_base, self._duration
        with _reported():
            if self._copies is not None:
                self._copies.write(self._zero_s)
            self._output.mux(self._stream.encode(frame))

    def _frame(self, pixels: NDArray[np.uint8]) -> Any:
        import av

        context = self._stream.codec_context
        if context.pix_fmt in ("bgr0", "bgr24"):
            bgr = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels
            return av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format="bgr24")
        planes = planes_from_bgr(pixels, self._colour)
        data = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(-1, pixels.shape[1])
        frame = av.VideoFrame.from_ndarray(data, format="yuvj420p" if self._colour.full_range else "yuv420p")
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        return frame

    def close(self) -> None:
        """Finish: what the encoder still holds is written, and the end of the file. Raises EncoderError."""
        with _reported():
            try:
                if self._copies is not None:
                    self._copies.write(self._zero_s)
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
