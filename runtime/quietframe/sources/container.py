"""Videos and streams as PyAV reads them: upright, progressive, in 8 bits, with what stands beside the frames."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.colour import HDR, Colour, bgr_from_planes
from quietframe.decoding import PixelLimit, too_large
from quietframe.sources.mjpeg import JpegDecoder

if TYPE_CHECKING:
    import av

Packets: TypeAlias = "deque[tuple[int, av.Packet, float]]"
"""Packets of sound and subtitles: the index of their stream in `others`, the packet, when a live one came (seconds)."""

UNTIMED = {"av1", "h264", "hevc", "m4v", "mjpeg", "mpegvideo", "obu", "vvc"}
"""PyAV's names of formats that are a codec's data alone: they hold no times."""

_MAX_FPS = 240  # above it is a time base that FFmpeg takes for a rate
_UNTIMED_FPS = 25
_FULL_RANGE = 2
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, -180: cv2.ROTATE_180, -90: cv2.ROTATE_90_CLOCKWISE}
_PLANAR = {(8, 8): "yuv420p", (8, 16): "yuv422p"}  # by the chroma of 16x16 pixels
_KNOWN_GAPS = 5
_KEPT_PACKETS = 1024
_LATE = 256  # packets in which a delay that lasts is taken for the usual one
_NEW_CLOCK_S = 1.0
_PADDING_PIXELS = 1 << 20  # which FFmpeg counts too
_LONE_START_BYTES = 2  # of a JPEG whose start marker comes twice


class UnreadableError(Exception):
    """There is no video, or none that can be used. The message says why and how to fix it, without a name.

    Attributes:
        error: FFmpeg's, whose text holds the name: an address may have a password.
    """

    def __init__(self, message: str, error: Exception | None = None) -> None:
        super().__init__(message)
        self.error = error


class Container:
    """An open video or stream. Iterate over it once: pixels, and their time in seconds or None.

    Args:
        file: a name with its protocol (`file:…`), an address, or an open file.
        shape: PyAV's name of its format; None: it is recognized.
        options: FFmpeg's.
        live: frames come when they happen. Decode without delay and, where data is damaged, give nothing up to the
            next key frame. What ends is a recording, and decoded as one.
        lossy: the network may lose packets without the decoder noticing.
        timeout_s: how long a network may be silent; None: for ever.
        fps: of a format that holds no times.
        limit: refuse larger frames before they take memory; those that come later are left out, and counted there.

    Attributes:
        rate: frames a second, where known.
        time_base: the unit of its times.
        frame_count: how many frames there should be, where known.
        size_wh: (width, height) of its first frame.
        colour, pixel_aspect: of its frames.
        notes: what was changed or assumed, a line each.
        damaged: frames that came broken and were left out.
        others: streams like those of its sound and subtitles, which stay when it is closed.
        tags, chapters: what it says of itself.
        live: it was to be live, and has no end.
        ended_s: up to which time there was data.

    Raises:
        UnreadableError: it holds no video, one of a kind that is not read, or cannot be opened.
    """

    def __init__(
        self,
        file: Any,
        *,
        shape: str | None = None,
        options: Mapping[str, str] | None = None,
        live: bool = False,
        lossy: bool = False,
        timeout_s: float | None = None,
        fps: float | None = None,
        limit: PixelLimit | None = None,
    ) -> None:
        import av

        self._limit = limit or PixelLimit()
        self._context_options = {"max_pixels": str(self._limit.max_pixels + _PADDING_PIXELS)}
        settings = {**(options or {}), **self._context_options}
        if fps and shape in UNTIMED:
            settings["framerate"] = f"{fps:g}"
        self.notes: list[str] = []
        self.damaged = 0
        self.ended_s = 0.0
        self._lossy = lossy
        # PyAV 19 keeps the bytes of titles that are not UTF-8, and has no such option.
        lenient = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
        try:
            self._input: av.container.InputContainer = av.open(
                file, format=shape, options=settings, timeout=timeout_s, **lenient
            )
        except av.error.FFmpegError as exc:
            raise UnreadableError("not an image or video that can be read, or a damaged one", exc) from None
        try:
            self._open(live, fps)
        except BaseException:
            self._input.close()
            raise

    def _open(self, live: bool, fps: float | None) -> None:
        import av

        stream = self._input.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise UnreadableError("holds no video")
        if stream.disposition & av.stream.Disposition.attached_pic:
            raise UnreadableError("holds sound with a cover image, and no video")
        size_wh = stream.codec_context.width, stream.codec_context.height
        if size_wh[0] * size_wh[1] > self._limit.max_pixels:
            raise UnreadableError(too_large(size_wh, self._limit.max_pixels))
        self._stream: Any = stream
        self._context: Any = stream.codec_context
        self._strict = live
        self.live = live = live and self._input.duration is None
        self._context.thread_type = "SLICE" if live else "AUTO"
        if live:
            self._context.thread_count = 1  # each more would hold a frame back
            self._context.flags |= av.codec.context.Flags.low_delay
        self._context.options = self._context_options  # the size may change
        self._jpegs = JpegDecoder(self._limit) if self._context.name == "mjpeg" else None
        self._beside = [other for other in self._input.streams if _can_be_copied(other)]
        if any(other.type == "audio" and other not in self._beside for other in self._input.streams):
            self.notes.append("holds sound that cannot be read: it is left out")
        self.others = _templates(self._beside)
        self.tags: dict[str, str] = dict(self._input.metadata)
        self.chapters: list[Any] = list(self._input.chapters())
        self._latest: Packets = deque(maxlen=_KEPT_PACKETS)  # who subscribes at the first frame needs earlier ones
        self._subscribers: list[weakref.ref[Packets]] = []
        self._subscribing = threading.Lock()
        self._delays_s: dict[int, float] = {}
        self._zero_s = max(0, self._input.start_time or 0) / 1e6
        self._timed = self._input.format.name not in UNTIMED
        rate = stream.guessed_rate or stream.average_rate
        if not self._timed:
            stated = self._context.framerate if self._input.format.name != "mjpeg" else None
            if not fps and not stated:
                self.notes.append(f"holds no frame rate: {_UNTIMED_FPS} is assumed; state it with --input-fps")
            rate = Fraction(fps or stated or _UNTIMED_FPS).limit_denominator(1001)
        self.rate = Fraction(rate) if rate and rate <= _MAX_FPS else None
        self.time_base = stream.time_base if self._timed else None
        self.duration_s = None if self._input.duration is None or not self._timed else self._input.duration / 1e6
        self.frame_count = stream.frames or None
        if not self.frame_count and self.duration_s and self.rate and not self._beside:
            self.frame_count = round(self.duration_s * self.rate)
        self._frames = self._progressive(self._decoded())
        first = next(self._frames, None)
        if first is None:
            raise UnreadableError("holds no frame that can be decoded")
        self._first = first
        self._describe(first)

    def _describe(self, first: av.VideoFrame) -> None:
        if first.color_trc in HDR:
            raise UnreadableError(
                f"is HDR ({HDR[first.color_trc]}), which 8 bits cannot hold: convert it to SDR first (ffmpeg's filters "
                "zscale and tonemap)"
            )
        bits = max(component.bits for component in first.format.components)
        if bits > 8:
            self.notes.append(f"holds {bits} bits a channel: they become 8")
        if any(component.is_alpha for component in first.format.components):
            self.notes.append("holds transparency: it is left out")
        full = first.color_range == _FULL_RANGE or first.format.name.startswith("yuvj")
        colour = Colour(int(first.colorspace), int(first.color_primaries), int(first.color_trc), full)
        self.colour = colour.for_size(first.width, first.height)
        self.size_wh: tuple[int, int] = pixels_of(first, self.colour).shape[1::-1]
        aspect = self._stream.sample_aspect_ratio
        aspect = Fraction(aspect) if aspect else Fraction(1)
        self.pixel_aspect = 1 / aspect if abs(first.rotation) == 90 else aspect

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8], float | None]]:
        for frame in chain([self._first], self._frames):
            yield pixels_of(frame, self.colour), self._seconds(frame)

    def wanted(self, wants: Callable[[int], bool]) -> Iterator[tuple[NDArray[np.uint8], float | None] | None]:
        """Yield the frames that are wanted when they are decoded, and None for the others, which cost no more."""
        for frame in chain([self._first], self._frames):
            yield (pixels_of(frame, self.colour), self._seconds(frame)) if wants(time.monotonic_ns()) else None

    def subscribe(self) -> Packets:
        """Return where the packets of `others` are, and will be as long as somebody holds it and takes them out."""
        with self._subscribing:
            packets = deque(self._latest)
            self._subscribers.append(weakref.ref(packets))
        return packets

    def take_over(self, earlier: Container) -> bool:
        """Serve who subscribed to an earlier connection. Returns whether its sound and subtitles are of one kind."""
        kinds, before = ([other.codec_context.name for other in one.others] for one in (self, earlier))
        if kinds == before:
            self._subscribers += earlier._subscribers
        return kinds == before

    def close(self) -> None:
        """Close the file or hang up."""
        try:
            self._frames.close()
        except ValueError:  # a thread that does not answer is in it: its file is left to it
            return
        self._input.close()

    def _packets(self) -> Iterator[tuple[av.Packet, bool]]:
        """The packets of the video, and whether some were lost before; those of other streams go to who subscribed.

        A network may lose a frame whole, which shows in its time alone.
        """
        zero = Fraction(self._zero_s)
        gaps: deque[int] = deque(maxlen=_KNOWN_GAPS)  # between frames
        latest: int | None = None
        packets = self._input.demux(self._stream, *self._beside)
        while (packet := self._next(packets)) is not None:
            lost = self._strict and packet.is_corrupt
            end = packet.pts if packet.pts is not None else packet.dts
            if end is not None:
                self.ended_s = max(self.ended_s, float((end + (packet.duration or 0)) * packet.time_base - zero))
            if packet.stream is self._stream:
                if self._lossy and packet.pts is not None:
                    gap, latest = packet.pts - (packet.pts if latest is None else latest), packet.pts
                    lost = lost or (len(gaps) == _KNOWN_GAPS and gap > 1.5 * median(gaps))
                    gaps.append(gap)
                yield packet, lost
            elif packet.dts is not None and packet.pts is not None:
                shift = round(zero / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                number = self._beside.index(packet.stream)
                taken = number, packet, self._came_s(packet, number) if self.live else 0.0
                with self._subscribing:
                    for waiting in [self._latest, *(subscriber() for subscriber in self._subscribers)]:
                        if waiting is not None:
                            waiting.append(taken)

    def _came_s(self, packet: av.Packet, number: int) -> float:
        """When a packet came, by `time.monotonic()`, without the delays that some have and others have not."""
        at_s = float(packet.pts * packet.time_base)
        delay_s = time.monotonic() - at_s
        usual_s = self._delays_s.get(number, delay_s)
        if usual_s < delay_s < usual_s + _NEW_CLOCK_S:
            delay_s = usual_s + (delay_s - usual_s) / _LATE
        self._delays_s[number] = delay_s
        return at_s + delay_s

    def _next(self, packets: Iterator[av.Packet]) -> av.Packet | None:
        import av

        try:
            return next(packets, None)
        except av.error.FFmpegError as exc:
            if self.live:
                raise UnreadableError("broke", exc) from None
            return None  # a recording that is damaged there: that it is cut short shows in `ended_s`

    def _decoded(self) -> Iterator[av.VideoFrame]:
        import av

        waiting, broken = self._strict, False
        for packet, hole in self._packets():
            if packet.size == _LONE_START_BYTES and self._jpegs:
                continue
            if waiting and not packet.is_keyframe:
                self.damaged += broken
                continue
            waiting, lost = False, hole
            if self._jpegs and packet.size:  # FFmpeg would show most of those that are damaged; the last one is empty
                lost = lost or self._jpegs.decode(bytes(packet)) is None
            try:
                frames = [] if lost else self._context.decode(packet)
            except av.error.FFmpegError:
                frames, lost = [], True
                self._limit.leaves_out((self._context.width, self._context.height))
            for frame in frames:
                lost = self._strict and frame.is_corrupt
                if lost:
                    break
                yield frame
            self.damaged += lost
            if lost and self._strict:
                waiting = broken = True
                self._context.flush_buffers()

    def _progressive(self, frames: Iterable[av.VideoFrame]) -> Generator[av.VideoFrame, None, None]:
        """Pass progressive frames on; from the first interlaced one on, a filter makes one frame of each two fields."""
        graph = None
        for frame in frames:
            if graph is None and frame.interlaced_frame:
                graph = self._deinterlacer()
                self.notes.append("is interlaced: each frame is made of both its fields")
            if graph is None:
                yield frame
                continue
            graph.push(frame)
            yield from _pull(graph)
        if graph is not None:
            graph.push(None)
            yield from _pull(graph)

    def _deinterlacer(self) -> av.filter.Graph:
        import av

        graph = av.filter.Graph()
        source = graph.add_buffer(template=self._stream)
        graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
        graph.configure()
        return graph

    def _seconds(self, frame: av.VideoFrame) -> float | None:
        if not self._timed or frame.pts is None:
            return None
        return float(frame.pts * frame.time_base - Fraction(self._zero_s))


def _can_be_copied(stream: Any) -> bool:
    """Whether it is of subtitles, or of sound that FFmpeg knows enough of."""
    context = stream.codec_context
    return context is not None and (stream.type == "subtitle" or (stream.type == "audio" and context.sample_rate > 0))


def _templates(streams: Iterable[Any]) -> list[Any]:
    """Streams like these, of a container of their own."""
    import av

    holder = av.open(os.devnull, "w", format="null")
    templates: list[Any] = []
    for stream in streams:
        templates.append(holder.add_stream_from_template(stream))
        templates[-1].metadata.update(stream.metadata)
        templates[-1].disposition = stream.disposition
    return templates


def _pull(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    import av

    try:
        while True:
            yield graph.pull()
    except (av.error.BlockingIOError, av.error.EOFError):
        return


def pixels_of(frame: av.VideoFrame, colour: Colour) -> NDArray[np.uint8]:
    """Convert a frame to (H, W, 3) uint8 BGR or (H, W) uint8 gray, turned upright. colour: its matrix is known."""
    shape = frame.format
    colours = [component for component in shape.components if not component.is_alpha]
    if shape.is_rgb or shape.has_palette:
        pixels = frame.to_ndarray(format="bgr24")
    else:
        planar = _PLANAR.get((shape.chroma_width(16), shape.chroma_height(16)), "yuv444p")
        if len(colours) == 1:
            planar = "gray"
        if shape.name.replace("yuvj", "yuv") != planar:
            frame = frame.reformat(format=planar)
        planes = [
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            for plane in frame.planes
        ]
        pixels = bgr_from_planes(planes, colour)
    turn = _TURNS.get(frame.rotation)
    return pixels if turn is None else cv2.rotate(pixels, turn)
