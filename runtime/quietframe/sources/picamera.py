"""Raspberry Pi cameras, through picamera2."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from quietframe.errors import SourceError
from quietframe.sources.base import Frame, Options, Source
from quietframe.sources.settings import Spec, frames_per_second, size_wh

PICAMERA = Spec(
    r"picam:(?P<number>[^?]*)(?P<query>\?.*)?",
    {"size": ((1280, 720), size_wh), "fps": (30.0, frames_per_second)},
    "picam:0?size=1280x720&fps=30",
)
"""`picam:`, with a camera's number and settings or without."""


class PicameraSource(Source):
    """Reads a Raspberry Pi camera until it is stopped; `captured_ns` is the sensor's own time.

    `picam:0?size=1280x720&fps=30` names every setting with its default; `size_wh` and `fps` are what it grants.

    Raises:
        SourceError: picamera2 is not installed, there is no such camera, it refuses a setting, or it gives no frame.
    """

    endless = True
    real_time = True
    skips = True

    def __init__(self, spec: str, options: Options) -> None:
        super().__init__()
        place, settings = PICAMERA.read(spec)
        if re.fullmatch(r"\d{1,2}", place) is None:
            raise SourceError(f"{spec}: expected a camera as in {PICAMERA.example}")
        number = int(place)
        self._name, self._timeout_s = f"picam {number}", options.timeout_s
        try:
            from picamera2 import Picamera2
        except ImportError as exc:
            raise SourceError(
                f"{self._name}: picamera2 is not installed: sudo apt install python3-picamera2, and make the virtual "
                "environment with that Python and --system-site-packages"
            ) from exc
        there = [camera["Model"] for camera in Picamera2.global_camera_info()]
        if number >= len(there):
            raise SourceError(f"{self._name}: no such camera ({_listed(there)})")
        frame_us = round(1e6 / settings["fps"])
        try:
            self._camera = Picamera2(number)
        except (RuntimeError, IndexError) as exc:  # picamera2 raises no errors of its own
            raise SourceError(f"{self._name}: cannot be opened: is another program using it? ({exc})") from exc
        try:
            # RGB888 is named as libcamera names it, by significance: its bytes are blue, green, red.
            self._camera.configure(
                self._camera.create_video_configuration(
                    main={"size": settings["size"], "format": "RGB888"},
                    controls={"FrameDurationLimits": (frame_us, frame_us)},
                    queue=False,
                )
            )
            self._camera.start()
        except (RuntimeError, ValueError) as exc:
            self._camera.close()
            raise SourceError(f"{self._name}: refuses these settings ({exc})") from exc
        self.size_wh = self._camera.camera_configuration()["main"]["size"]
        # libcamera keeps to what the sensor can and says nothing.
        low_us, high_us, *_ = self._camera.camera_controls.get("FrameDurationLimits", (frame_us, frame_us))
        self.fps = round(1e6 / min(max(frame_us, low_us), high_us), 2)

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._cancelled.is_set():
            try:
                request = self._camera.capture_request(wait=self._timeout_s)
            except (TimeoutError, RuntimeError) as exc:
                raise SourceError(
                    f"{self._name}: no frame for {self._timeout_s:g} s after {index}: is its cable well seated?"
                ) from exc
            try:
                captured_ns = _captured_ns(request.get_metadata())
                pixels = request.make_array("main") if self.wants(captured_ns) else None
            finally:
                request.release()
            if pixels is not None:
                yield Frame(pixels, index, captured_ns)
                index += 1

    def close(self) -> None:
        """Give the camera back."""
        with suppress(RuntimeError):  # it went away by itself
            self._camera.close()


def _captured_ns(metadata: dict[str, Any]) -> int:
    """When the sensor began the frame, on the clock of `time.monotonic_ns()`: libcamera's goes on in suspend."""
    now_ns = time.monotonic_ns()
    stamp_ns = metadata.get("SensorTimestamp")
    return now_ns if stamp_ns is None else stamp_ns - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns)


def _listed(models: list[str]) -> str:
    if not models:
        return "none is connected: rpicam-hello --list-cameras says the same"
    return "there are: " + ", ".join(f"picam:{number} {model}" for number, model in enumerate(models))
