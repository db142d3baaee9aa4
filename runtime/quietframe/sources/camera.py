"""Local cameras, by index or device file."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.settings import Spec, frames_per_second, size_wh

_BELIEVABLE_NS = 10**9


def _fourcc(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9]{4}", text) is None:
        raise ValueError
    return text.upper()


CAMERA = Spec(
    r"(?:/dev/video)?(?P<number>\d{1,4})(?P<query>\?.*)?",
    {"size": (None, size_wh), "fps": (None, frames_per_second), "format": (None, _fourcc)},
    "/dev/video0?size=1280x720&fps=30&format=MJPG",
)
"""A number, or /dev/videoN, alone or with settings."""


class CameraSource(Source):
    """Reads a camera until it is stopped, without a queue: `captured_ns` is when the driver had the frame.

    `/dev/video0?size=1280x720&fps=30&format=MJPG` names every setting; without them the camera's own hold. It may
    grant others than asked for: `size_wh` and `fps` are what it does.

    Raises:
        SourceError: there is no such camera, it cannot be opened, refuses a setting, or gives no frame.
    """

    endless = True
    real_time = True
    skips = True

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        number, settings = CAMERA.read(spec)
        index = int(number)
        self._name, self._timeout_s = f"camera {index}", options.timeout_s
        if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
            raise SourceError(f"{self._name}: no such camera ({_cameras_there()})")
        backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(index, backend)
        if not self._capture.isOpened():
            raise SourceError(
                f"{self._name}: cannot be opened: it is in use, not a capture device, or your user may not read it "
                "(sudo usermod -aG video $USER)"
            )
        # The format first: it decides which sizes there are, and those which rates.
        if code := settings["format"]:
            self._set(f"format={code}", {cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*code)})
        if settings["size"]:
            width, height = settings["size"]
            self._set(f"size={width}x{height}", {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height})
        if settings["fps"]:
            self._set(f"fps={settings['fps']:g}", {cv2.CAP_PROP_FPS: settings["fps"]})
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.fps = max(0.0, self._capture.get(cv2.CAP_PROP_FPS)) or None
        width, height = map(self._capture.get, (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.size_wh = int(width), int(height)

    def _set(self, setting: str, properties: Mapping[int, float]) -> None:
        if not all(self._capture.set(key, value) for key, value in properties.items()):
            self._capture.release()
            raise SourceError(f"{self._name}: refuses {setting} (v4l2-ctl --list-formats-ext says what it has)")

    def __iter__(self) -> Iterator[Frame]:
        index, latest_s = 0, time.monotonic()
        while not self._cancelled.is_set() and self._capture.grab():
            captured_ns = self._captured_ns()
            if not self.wants(captured_ns):
                continue
            found, pixels = self._capture.retrieve()
            if found:
                latest_s = time.monotonic()
                yield Frame(pixels, index, captured_ns)
                index += 1
                continue
            self._left_out += 1
            if time.monotonic() - latest_s > self._timeout_s:
                break
        if self._cancelled.is_set():
            return
        if index == 0:
            raise SourceError(f"{self._name}: opened, but it gives no frame: is another program using it?")
        raise SourceError(f"{self._name}: stopped giving frames after {index}: was it unplugged?")

    def _captured_ns(self) -> int:
        """When the frame that was grabbed was there, by the driver's clock where that is the monotonic one."""
        now_ns = time.monotonic_ns()
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return stamp_ns if 0 <= now_ns - stamp_ns <= _BELIEVABLE_NS else now_ns

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


def _cameras_there() -> str:
    found = sorted(path.name for path in Path("/dev").glob("video*"))
    return f"there are: {', '.join(f'/dev/{name}' for name in found)}" if found else "no camera is connected"
