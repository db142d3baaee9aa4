"""Cameras: their settings, times and failures.

No camera is connected where tests run. These stand in for the two libraries that speak to one, with what their sources
say they do: `cv2.VideoCapture` with its V4L2 backend (modules/videoio/src/cap_v4l.cpp) and `picamera2.Picamera2`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from quietframe.errors import SourceError
from quietframe.sources import open_source
from quietframe.sources.camera import CAMERA

MJPG = float(cv2.VideoWriter.fourcc(*"MJPG"))


class FakeV4l2:
    """A V4L2 camera with sizes of its own, as OpenCV shows it."""

    made: list[FakeV4l2]

    def __init__(self, index: int, backend: int) -> None:
        assert backend == cv2.CAP_V4L2
        self.calls: list[tuple[int, float]] = []
        self.values = {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0, cv2.CAP_PROP_FPS: 30.0}
        self.released = False
        self.left = 3
        self.broken: set[int] = set()
        self.stamp_ms: Callable[[], float] = lambda: 0.0
        self.made.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        self.calls.append((key, value))
        if key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT):
            value = min(value, {cv2.CAP_PROP_FRAME_WIDTH: 800, cv2.CAP_PROP_FRAME_HEIGHT: 600}[key])
        self.values[key] = value
        return True

    def get(self, key: int) -> float:
        return self.stamp_ms() if key == cv2.CAP_PROP_POS_MSEC else self.values.get(key, -1.0)

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        return (False, None) if self.left in self.broken else (True, np.full((4, 6, 3), self.left % 256, np.uint8))

    def release(self) -> None:
        self.released = True


@pytest.fixture
def v4l2(monkeypatch: pytest.MonkeyPatch) -> list[FakeV4l2]:
    """The cameras that were opened."""
    monkeypatch.setattr(FakeV4l2, "made", [], raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", FakeV4l2)
    monkeypatch.setattr(Path, "exists", lambda self: True)
    return FakeV4l2.made


def test_a_camera_gets_what_is_asked_for_and_says_what_it_grants(v4l2: list[FakeV4l2]) -> None:
    with open_source("/dev/video3?size=1280x720&fps=15&format=mjpg") as source:
        assert (source.moving, source.endless) == (True, True)
        assert (source.size_wh, source.fps) == ((800, 600), 15.0)
    assert v4l2[0].calls == [
        (cv2.CAP_PROP_FOURCC, MJPG),  # before the size: each format has sizes of its own
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 15.0),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ]
    assert v4l2[0].released


def test_without_settings_a_camera_keeps_its_own(v4l2: list[FakeV4l2]) -> None:
    with open_source("0") as source:
        assert (source.size_wh, source.fps) == ((640, 480), 30.0)
    assert v4l2[0].calls == [(cv2.CAP_PROP_BUFFERSIZE, 1)]


@pytest.mark.parametrize(
    ("setting", "refused"),
    [("format=YUYV", cv2.CAP_PROP_FOURCC), ("size=64x48", cv2.CAP_PROP_FRAME_HEIGHT), ("fps=7.5", cv2.CAP_PROP_FPS)],
)
def test_a_setting_that_the_driver_refuses_is_an_error(
    v4l2: list[FakeV4l2], monkeypatch: pytest.MonkeyPatch, setting: str, refused: int
) -> None:
    real = FakeV4l2.set
    monkeypatch.setattr(FakeV4l2, "set", lambda self, key, value: key != refused and real(self, key, value))
    with pytest.raises(SourceError, match=f"^camera 0: refuses {setting} "):
        open_source(f"0?{setting}")
    assert v4l2[0].released


@pytest.mark.parametrize("spec", ["0?size=640", "/dev/video0?frames=3", "0?format=MJPEG", "0?fps=0", "0?fps"])
def test_settings_it_does_not_know_are_refused(spec: str) -> None:
    assert CAMERA.matches(spec)
    with pytest.raises(SourceError, match=r"expected settings as in /dev/video0\?size=1280x720&fps=30&format=MJPG"):
        open_source(spec)


@pytest.mark.parametrize(
    ("stamp_ms", "is_believed"),
    [
        (lambda: time.monotonic() * 1000 - 40, True),
        (lambda: time.monotonic() * 1000 - 1500, False),  # too old: another clock, or nothing
        (lambda: time.time() * 1000, False),
        (lambda: 0.0, False),
    ],
)
def test_the_drivers_time_is_taken_where_it_is_the_monotonic_one(
    v4l2: list[FakeV4l2], stamp_ms: Callable[[], float], is_believed: bool
) -> None:
    with open_source("0") as source:
        v4l2[0].stamp_ms = stamp_ms
        frame = next(iter(source))
        age_ms = (time.monotonic_ns() - frame.captured_ns) / 1e6
    assert 40 <= age_ms < 200 if is_believed else 0 <= age_ms < 39


def test_a_frame_that_cannot_be_decoded_is_damaged_and_an_unplugged_camera_an_error(v4l2: list[FakeV4l2]) -> None:
    with open_source("0") as source:
        v4l2[0].broken = {1}
        frames = iter(source)
        assert [next(frames).index, next(frames).index] == [0, 1]
        assert source.damaged == 1
        with pytest.raises(SourceError, match="camera 0: stopped giving frames after 2: was it unplugged"):
            next(frames)


def test_a_camera_that_gives_only_damaged_frames_is_an_error(v4l2: list[FakeV4l2]) -> None:
    with open_source("0", timeout_s=0.05) as source:
        v4l2[0].left = 10**9
        v4l2[0].retrieve = lambda: (False, None)  # type: ignore[method-assign]
        with pytest.raises(SourceError, match="camera 0: opened, but it gives no frame"):
            next(iter(source))


def test_cancelling_ends_a_camera_without_an_error(v4l2: list[FakeV4l2]) -> None:
    with open_source("0") as source:
        v4l2[0].left = 10**9
        frames = iter(source)
        next(frames)
        source.cancel()
        assert list(frames) == []


# Raspberry Pi


class FakeRequest:
    """picamera2.request.CompletedRequest."""

    def __init__(self, camera: FakePicamera2) -> None:
        self._camera = camera
        self.released = False

    def make_array(self, name: str) -> np.ndarray:
        assert name == "main" and not self.released
        width, height = self._camera.camera_configuration()["main"]["size"]
        array = np.zeros((height, width, 3), np.uint8)
        array[..., 0] = 200  # what "RGB888" gives: blue comes first
        return array

    def get_metadata(self) -> dict[str, Any]:
        assert not self.released
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 25_000_000, "ExposureTime": 9000}

    def release(self) -> None:
        assert not self.released
        self.released = True


class FakePicamera2:
    """picamera2.Picamera2: the methods that are used, with the signatures and errors of version 0.3.31."""

    made: list[FakePicamera2]
    silent = False
    camera_controls = {"FrameDurationLimits": (16667, 1_000_000, 33333)}  # noqa: RUF012  lowest, highest, default

    def __init__(self, camera_num: int = 0) -> None:
        if camera_num == 1:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.requests: list[FakeRequest] = []
        self.state = "open"
        self.made.append(self)

    @staticmethod
    def global_camera_info() -> list[dict[str, Any]]:
        return [
            {"Model": "imx708", "Num": 0, "Id": "/base/i2c@1a"},
            {"Model": "ov5647", "Num": 1, "Id": "/base/i2c@36"},
        ]

    def create_video_configuration(
        self,
        main: dict[str, Any] = {},  # noqa: B006
        *,
        controls: dict[str, Any] = {},  # noqa: B006
        queue: bool = True,
    ) -> dict[str, Any]:
        return {"main": {"format": "XBGR8888", "size": (1280, 720)} | main, "controls": controls, "queue": queue}

    def configure(self, camera_config: dict[str, Any]) -> None:
        if camera_config["main"]["size"][0] % 2:
            raise RuntimeError("width and height should be even")
        self.config = camera_config

    def camera_configuration(self) -> dict[str, Any]:
        return self.config

    def start(self) -> None:
        self.state = "started"

    def capture_request(self, wait: float | None = None) -> FakeRequest:
        assert self.state == "started"
        if self.silent:
            time.sleep(wait or 60)
            raise TimeoutError
        self.requests.append(FakeRequest(self))
        return self.requests[-1]

    def close(self) -> None:
        self.state = "closed"


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> list[FakePicamera2]:
    """The Raspberry Pi cameras that were opened."""
    monkeypatch.setattr(FakePicamera2, "made", [], raising=False)
    module = ModuleType("picamera2")
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return FakePicamera2.made


def test_a_raspberry_pi_camera_gives_bgr_frames_with_the_sensors_time(picamera2: list[FakePicamera2]) -> None:
    with open_source("picam:0?size=64x48&fps=25") as source:
        assert (source.moving, source.endless, source.size_wh, source.fps) == (True, True, (64, 48), 25.0)
        frames = [frame for _, frame in zip(range(3), source, strict=False)]
        ages_ms = [(time.monotonic_ns() - frame.captured_ns) / 1e6 for frame in frames]
    (camera,) = picamera2
    assert camera.config["main"] == {"format": "RGB888", "size": (64, 48)}
    assert camera.config["controls"] == {"FrameDurationLimits": (40000, 40000)}
    assert camera.config["queue"] is False  # else a frame may be one from before it was asked for
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert all(frame.pixels.shape == (48, 64, 3) and frame.pixels[0, 0].tolist() == [200, 0, 0] for frame in frames)
    assert all(25 <= age_ms < 1000 for age_ms in ages_ms)
    assert all(request.released for request in camera.requests)
    assert camera.state == "closed"


def test_a_raspberry_pi_camera_has_defaults_and_says_what_rate_it_can(picamera2: list[FakePicamera2]) -> None:
    with open_source("picam:") as source:
        assert (source.size_wh, source.fps) == ((1280, 720), 30.0)
    assert picamera2[0].config["controls"] == {"FrameDurationLimits": (33333, 33333)}
    with open_source("picam:0?fps=200") as source:
        assert source.fps == 60


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("picam:2", r"^picam 2: no such camera \(there are: picam:0 imx708, picam:1 ov5647\)"),
        ("picam:1", r"^picam 1: cannot be opened: is another program using it\?"),
        ("picam:0?size=63x48", r"^picam 0: refuses these settings \(width and height should be even\)"),
        ("picam:0?format=MJPG", r"expected settings as in picam:0\?size=1280x720&fps=30"),
        ("picam:front", r"expected a camera as in picam:0\?size"),
    ],
)
def test_what_a_raspberry_pi_camera_cannot_is_said(picamera2: list[FakePicamera2], spec: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        open_source(spec)
    assert all(camera.state == "closed" for camera in picamera2)


def test_a_raspberry_pi_camera_that_gives_nothing_is_an_error(
    picamera2: list[FakePicamera2], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePicamera2, "silent", True)
    with open_source("picam:0", timeout_s=0.05) as source, pytest.raises(SourceError, match=r"no frame for 0.05 s"):
        next(iter(source))


def test_cancelling_ends_a_raspberry_pi_camera(picamera2: list[FakePicamera2]) -> None:
    with open_source("picam:0") as source:
        frames = iter(source)
        next(frames)
        threading.Thread(target=source.cancel).start()
        assert sum(1 for _ in zip(frames, range(10**6), strict=False)) < 10**6


def test_without_picamera2_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match=r"sudo apt install python3-picamera2.*--system-site-packages") as raised:
        open_source("picam:0")
    assert "\n" not in str(raised.value)
