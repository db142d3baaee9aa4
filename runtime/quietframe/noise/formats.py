"""Deliver frames in the formats of cameras: chroma subsampling, JPEG, H.264 and H.265.

Noise that has passed one of them is no longer white: chroma noise is halved in resolution, and a codec removes what it
cannot afford. OpenCV encodes JPEG and YUYV, PyAV H.264 and H.265.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from quietframe.errors import UsageError
from quietframe.noise.synthesis import add_gaussian

Frame = NDArray[np.uint8]
"""(height, width, 3) uint8 BGR."""

Chroma = Literal["444", "422", "420"]
"""Chroma subsampling: at full resolution, halved in width, or halved in both."""

CLIP_FRAMES = 12
"""Frames of a clip that H.264 or H.265 encodes: the last one is far enough from the key frame to be a usual one."""

MIN_WIDTH_X265 = 64
"""libx265 writes beyond its memory where frames are narrower than about 50 pixels."""

_JPEG_CHROMA: Mapping[Chroma, int] = {
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
# No B-frames, as the encoders of cameras. The same bytes at every call and on every machine: one thread, and in x264 no
# macroblock tree, which decides by memory that nothing was written to.
_ENCODERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "h264": ("libx264", {"preset": "veryfast", "bf": "0", "threads": "1", "mbtree": "0"}),
    "h265": ("libx265", {"preset": "superfast", "x265-params": "bframes=0:pools=none:frame-threads=1:log-level=none"}),
}
# BT.601, limited range.
_BLACK = np.array([16, 128, 128], np.float32)
_TO_BGR = np.array([[1.164, 2.017, 0.0], [1.164, -0.392, -0.813], [1.164, 0.0, 1.596]], np.float32)


@dataclass(frozen=True)
class Format:
    """One way in which a camera delivers frames.

    Attributes:
        name: as in `FORMATS`.
        codec: `rgb` (as it is), `yuyv`, `jpeg`, `h264` or `h265`.
        chroma: subsampling of `jpeg`.
        quality: of `jpeg`, 1 to 100; of `h264` and `h265` the constant rate factor, 0 to 51, lower is better.
    """

    name: str
    codec: Literal["rgb", "yuyv", "jpeg", "h264", "h265"]
    chroma: Chroma = "444"
    quality: int = 0

    @property
    def frames(self) -> int:
        """How many frames `deliver` takes: 1, or a clip."""
        return CLIP_FRAMES if self.codec in _ENCODERS else 1

    def deliver(self, frames: Sequence[Frame]) -> Frame:
        """Return the last frame as this format delivers it.

        frames: `self.frames` frames in their order, (H, W, 3) uint8 BGR each. Returns (H, W, 3) uint8.
        """
        return self.deliver_clip(frames if self.codec in _ENCODERS else frames[-1:])[-1]

    def deliver_clip(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return every frame of a clip as this format delivers it."""
        if self.codec == "yuyv":
            return [yuyv(frame) for frame in frames]
        if self.codec == "jpeg":
            return [jpeg(frame, self.quality, self.chroma) for frame in frames]
        return list(frames) if self.codec == "rgb" else encode_clip(frames, self.codec, self.quality)


FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format("rgb", "rgb"),
        Format("yuyv-422", "yuyv"),
        Format("jpeg-90-422", "jpeg", "422", 90),
        Format("jpeg-95-420", "jpeg", "420", 95),
        Format("jpeg-80-420", "jpeg", "420", 80),
        Format("jpeg-60-420", "jpeg", "420", 60),
        Format("h264-20", "h264", quality=20),
        Format("h264-28", "h264", quality=28),
    )
}
"""The formats that training, validation, the noise estimator and benchmarks share, by name."""


def find_format(name: str) -> Format:
    """Return the format of that name. Raises UsageError with those that there are."""
    if name not in FORMATS:
        raise UsageError(f"Unknown format {name!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def deliver_noisy(clean: Frame, sigma_255: float, form: Format, rng: np.random.Generator) -> Frame:
    """Add white noise to a still scene and deliver it in a format.

    Each frame of a clip has its own noise. clean: (H, W, 3) uint8 BGR. sigma_255: standard deviation of the noise in
    8-bit levels before the format; 0: none. Returns (H, W, 3) uint8.
    """
    if sigma_255 == 0:
        return form.deliver([clean] * form.frames)
    return form.deliver([add_gaussian(clean, sigma_255, rng) for _ in range(form.frames)])


def yuyv(frame: Frame) -> Frame:
    """Return a frame as it comes from a YUYV camera: BT.601, limited range, chroma halved in width.

    frame: (H, W, 3) uint8 BGR; of odd width the last column is repeated. Returns (H, W, 3) uint8.
    """
    width = frame.shape[1]
    even = _even(frame, rows=False)
    return cv2.cvtColor(cv2.cvtColor(even, cv2.COLOR_BGR2YUV_YUY2), cv2.COLOR_YUV2BGR_YUY2)[:, :width]


def jpeg(frame: Frame, quality: int, chroma: Chroma = "420") -> Frame:
    """Return a frame as it comes out of a JPEG file of that quality, 1 to 100.

    frame: (H, W, 3) uint8 BGR. Returns (H, W, 3) uint8.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _JPEG_CHROMA[chroma]]
    encoded = cv2.imencode(".jpg", frame, options)[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def encode_clip(frames: Sequence[Frame], codec: Literal["h264", "h265"], crf: int) -> list[Frame]:
    """Encode a clip (4:2:0, by libx264 or libx265) and decode it.

    frames: (H, W, 3) uint8 BGR each, of one size; odd sides are repeated. crf: constant rate factor, 0 to 51.
    Raises UsageError for H.265 of a width below 64.
    """
    import av

    height, width = frames[0].shape[:2]
    if codec == "h265" and width < MIN_WIDTH_X265:
        raise UsageError(f"Expected frames at least {MIN_WIDTH_X265} pixels wide for H.265. Received: {width}")
    name, options = _ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    clip = [_even(frame) for frame in frames]
    encoder.height, encoder.width = clip[0].shape[:2]
    encoder.pix_fmt, encoder.framerate = "yuv420p", 30
    encoder.options = {"crf": str(crf), **options}
    packets = []
    for index, frame in enumerate(clip):
        picture = av.VideoFrame.from_ndarray(_to_i420(frame), format="yuv420p")
        picture.pts = index
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("hevc" if codec == "h265" else codec, "r")
    decoder.thread_count = 1
    decoded = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    decoded.sort(key=lambda picture: picture.pts)
    return [_from_i420(picture.to_ndarray())[:height, :width] for picture in decoded]


def _to_i420(frame: Frame) -> NDArray[np.uint8]:
    """Convert to planes of BT.601, limited range, each chroma value the mean of four pixels: (H * 3 / 2, W) uint8.

    OpenCV alone would take the chroma of one pixel in four, and FFmpeg's conversion is off by up to 4 levels.
    """
    height, width = frame.shape[:2]
    means = cv2.resize(frame, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    planes = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)
    blocks = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
    planes[height:] = cv2.cvtColor(blocks, cv2.COLOR_BGR2YUV_I420)[height:]
    return planes


def _from_i420(planes: NDArray[np.uint8]) -> Frame:
    """The inverse, chroma interpolated linearly as players do."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    halves = planes[height:].reshape(2, height // 2, width // 2)
    chroma = [cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR) for half in halves]
    yuv = cv2.merge([planes[:height], *chroma]).astype(np.float32) - _BLACK
    return np.clip(np.rint(cv2.transform(yuv, _TO_BGR)), 0, 255).astype(np.uint8)


def _even(frame: Frame, *, rows: bool = True) -> Frame:
    """Repeat the last row or column where their number is odd."""
    bottom, right = frame.shape[0] % 2 if rows else 0, frame.shape[1] % 2
    if not (bottom or right):
        return np.ascontiguousarray(frame)
    return cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
