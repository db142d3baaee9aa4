"""What drivers of cameras answer: as `linux/videodev2.h` lays it out, with a webcam's values."""

from __future__ import annotations

import errno
import json
from ctypes import Structure, c_char, c_int32, c_uint32, sizeof
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from quietframe.v4l2 import find_cameras, read_camera


class Capability(Structure):
    _fields_ = (
        ("driver", c_char * 16),
        ("card", c_char * 32),
        ("bus_info", c_char * 32),
        ("version", c_uint32),
        ("capabilities", c_uint32),
        ("device_caps", c_uint32),
        ("reserved", c_uint32 * 3),
    )


class Format(Structure):
    _fields_ = (
        ("type", c_uint32),
        ("padding", c_uint32),
        ("width", c_uint32),
        ("height", c_uint32),
        ("pixelformat", c_char * 4),
        ("rest", c_char * 188),
    )


class Control(Structure):
    _fields_ = (("id", c_uint32), ("value", c_int32))


class QueryControl(Structure):
    _fields_ = (
        ("id", c_uint32),
        ("type", c_uint32),
        ("name", c_char * 32),
        ("minimum", c_int32),
        ("maximum", c_int32),
        ("step", c_int32),
        ("default_value", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32 * 2),
    )


class QueryMenu(Structure):
    _pack_ = 1
    _fields_ = (("id", c_uint32), ("index", c_uint32), ("name", c_char * 32), ("reserved", c_uint32))


def request(number: int, answer: type[Structure], *, writes: bool = True) -> int:
    """_IOWR('V', number, answer) of linux/ioctl.h; without `writes` _IOR."""
    return (3 if writes else 2) << 30 | sizeof(answer) << 16 | ord("V") << 8 | number


INTEGER, BOOLEAN, MENU, CLASS = 1, 2, 3, 6
INACTIVE = 0x10
MODES = {0: b"Auto Mode", 1: b"Manual Mode", 3: b"Aperture Priority Mode"}
WEBCAM: list[tuple[int, int, bytes, int, int]] = [  # id, type, name, flags, value
    (0x00980001, CLASS, b"User Controls", 0, 0),
    (0x00980900, INTEGER, b"Brightness", 0, 16),
    (0x00980913, INTEGER, b"Gain", 0, 64),
    (0x009A0901, MENU, b"Auto Exposure", 0, 3),
    (0x009A0902, INTEGER, b"Exposure Time, Absolute", INACTIVE, 166),
    (0x009A0903, BOOLEAN, b"Exposure, Dynamic Framerate", 0, 1),
    (0x009D0903, INTEGER, b"Compression Quality", 0, 80),
    (0x08000001, MENU, b"Noise Reduction", 0, 1),
]


class Driver:
    """Answers as the kernel does for a camera."""

    def __init__(self, controls: list[tuple[int, int, bytes, int, int]], capabilities: int = 1, kind: int = 1) -> None:
        self.controls, self.capabilities, self.kind = controls, capabilities, kind

    def __call__(self, code: int, data: bytes) -> bytes:
        answers: dict[int, Any] = {
            request(0, Capability, writes=False): self.capability,
            request(4, Format): self.format,
            request(27, Control): self.value,
            request(36, QueryControl): self.control,
            request(37, QueryMenu): self.item,
        }
        return bytes(answers[code](data))

    def capability(self, data: bytes) -> Structure:
        assert len(data) == sizeof(Capability)
        return Capability(b"uvcvideo", b"HD Webcam", b"usb-1", 0x60000, 0x84A00001, self.capabilities)

    def format(self, data: bytes) -> Structure:
        if Format.from_buffer_copy(data).type != self.kind:
            raise OSError(errno.EINVAL, "Invalid argument")
        return Format(self.kind, 0, 1280, 720, b"YUYV")

    def control(self, data: bytes) -> Structure:
        after = QueryControl.from_buffer_copy(data).id
        assert after & 0x80000000
        for number, kind, name, flags, _ in self.controls:
            if number > after & 0x7FFFFFFF:
                return QueryControl(number, kind, name, 0, 3, 1, 0, flags)
        raise OSError(errno.EINVAL, "Invalid argument")

    def value(self, data: bytes) -> Structure:
        wanted = Control.from_buffer_copy(data).id
        return Control(wanted, next(value for number, *_, value in self.controls if number == wanted))

    def item(self, data: bytes) -> Structure:
        asked = QueryMenu.from_buffer_copy(data)
        names = {0x009A0901: MODES, 0x08000001: {0: b"Off", 1: b"Fast"}}[asked.id]
        return QueryMenu(asked.id, asked.index, names[asked.index])


def test_a_camera_tells_its_format_exposure_gain_and_noise_reduction() -> None:
    camera = read_camera("/dev/video0", Driver(WEBCAM))
    assert camera is not None
    assert (camera.name, camera.size_wh, camera.format) == ("HD Webcam", (1280, 720), "YUYV")
    assert camera.controls == {
        "Gain": 64,
        "Auto Exposure": "Aperture Priority Mode",
        "Exposure, Dynamic Framerate": 1,
        "Compression Quality": 80,
        "Noise Reduction": "Fast",
    }
    assert camera.denoising == ["Noise Reduction"]
    assert str(camera).startswith("/dev/video0 (HD Webcam), 1280x720 YUYV (colours halved across, 4:2:2), Gain: 64, ")
    assert json.loads(json.dumps(asdict(camera)))["size_wh"] == [1280, 720]


@pytest.mark.parametrize(("value", "denoises"), [(0, False), (1, True)])
def test_noise_reduction_that_is_off_is_not_said_to_be_on(value: int, denoises: bool) -> None:
    camera = read_camera("/dev/video0", Driver([(*WEBCAM[-1][:4], value)]))
    assert camera is not None
    assert bool(camera.denoising) == denoises


def test_devices_that_are_no_cameras_are_left_out_and_those_of_several_planes_are_asked_in_their_way() -> None:
    assert read_camera("/dev/video1", Driver([], capabilities=0x00800000)) is None  # metadata
    camera = read_camera("/dev/video0", Driver([], capabilities=0x1000, kind=9))
    assert camera is not None
    assert camera.size_wh == (1280, 720)


def test_a_driver_that_tells_no_format_and_no_controls_is_a_camera_all_the_same() -> None:
    camera = read_camera("/dev/video0", Driver([], kind=0))
    assert camera is not None
    assert str(camera) == "/dev/video0 (HD Webcam)"


def test_cameras_are_asked_in_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("video10", "video2", "video-codec", "video", "null"):
        (tmp_path / name).touch()
    cameras = find_cameras(tmp_path)
    assert [Path(camera.device).name for camera in cameras] == ["video2", "video10"]
    assert all(camera.error for camera in cameras)  # plain files do not answer as cameras do
    assert find_cameras(tmp_path / "missing") == []
