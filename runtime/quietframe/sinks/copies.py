"""Copies of what stands beside the frames of a video: its sound and subtitles."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from quietframe.log import log

if TYPE_CHECKING:
    import av

    from quietframe.sources.container import Container

_MIN_STEP_S = 0.001  # Matroska knows no shorter one, and MP4 refuses two packets of one time
_TEXTS = {"mp4": "mov_text", "matroska": "subrip"}  # what a format takes subtitles of text as, whatever they were


class Copies:
    """Copies of the sound and subtitles of a video that is read meanwhile. What cannot be copied is logged.

    Args:
        output: what is written, before its first packet.
        video: what is read.
        live: times are those at which packets came.
        name: of the place, for what is logged.
    """

    def __init__(self, output: av.container.OutputContainer, video: Container, *, live: bool, name: str) -> None:
        self._output, self._live = output, live
        self._packets = video.subscribe()
        self._streams: dict[int, Any] = {}
        self._decoders: dict[int, Any] = {}  # of what is converted
        self._due_s: dict[int, float] = {}  # when the next packet may stand
        for number, other in enumerate(video.others):
            stream = self._add(other, number)
            if stream is None:
                what = f"{'sound' if other.type == 'audio' else 'subtitles'} ({other.codec_context.name})"
                remedy = "" if output.format.name == "matroska" else ": .mkv holds more kinds"
                log.warning("%s: cannot hold the %s, left out%s", name, what, remedy)
                continue
            stream.metadata.update({key: text for key, text in other.metadata.items() if key in ("language", "title")})
            stream.disposition = other.disposition
            self._streams[number] = stream

    def _add(self, other: Any, number: int) -> Any:
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
                stream: Any = self._output.add_stream(_TEXTS.get(self._output.format.name, context.name))
                context.open(strict=False)  # which makes the header
                stream.codec_context.subtitle_header = context.subtitle_header
                stream.codec_context.time_base = stream.time_base = other.time_base
                self._decoders[number] = context
                return stream
        return None

    def write(self, zero_s: float) -> None:
        """Write what was read by now. zero_s: when a live source's first frame came."""
        while self._packets:
            number, packet, came_s = self._packets.popleft()
            if number not in self._streams or (self._live and came_s < self._due_s.get(number, zero_s)):
                continue
            self._due_s[number] = came_s + _MIN_STEP_S
            copy = self._copied(packet, number)
            if copy is not None:
                copy.time_base, copy.is_keyframe = packet.time_base, packet.is_keyframe
                copy.pts, copy.dts, copy.duration = packet.pts, packet.dts, packet.duration
                if self._live:
                    copy.pts = copy.dts = round((came_s - zero_s) / copy.time_base)
                copy.stream = self._streams[number]
                self._output.mux(copy)

    def _copied(self, packet: av.Packet, number: int) -> av.Packet | None:
        """Copy a packet, which another sink may want too, or convert it; None: it holds nothing."""
        import av

        decoder, encoder = self._decoders.get(number), self._streams[number].codec_context
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
