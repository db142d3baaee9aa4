"""Local cameras, by index or device file."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source

_CAMERA = re.compile(r"(?:/dev/video)?(\d{1,4})")


def is_camera(spec: str) -> bool:
    """A number, or /dev/videoN."""
    return _CAMERA.fullmatch(spec) is not None


class CameraSource(Source):
    """Reads a camera until it is stopped.

    Raises:
        SourceError: there is no such camera, it cannot be opened, or it gives no frame.
    """

    endless = True
    real_time = True

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        match = _CAMERA.fullmatch(spec)
        assert match is not None  # the table of sources looked
        index = int(match[1])
        self._name = f"camera {index}"
        if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
            raise SourceError(f"{self._name}: no such camera ({_cameras_there()})")
        backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        self._capture = cv2.VideoCapture(index, backend)
        if not self._capture.isOpened():
            raise SourceError(
                f"{self._name}: cannot be opened: it is in use, not a capture device, or your user may not read it "
                "(sudo usermod -aG video $USER)"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if fps > 0 else None
        self.size_wh = (
            int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self._capture.grab():
            captured_ns = time.monotonic_ns()
            found, pixels = self._capture.retrieve()
            if not found:
                break
            yield Frame(pixels, index, captured_ns)
            index += 1
        if index == 0:
            raise SourceError(f"{self._name}: opened, but it gives no frame: is another program using it?")
        raise SourceError(f"{self._name}: stopped giving frames after {index}: was it unplugged?")

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()


def _cameras_there() -> str:
    found = sorted(path.name for path in Path("/dev").glob("video*"))
    return f"there are: {', '.join(f'/dev/{name}' for name in found)}" if found else "no camera is connected"
