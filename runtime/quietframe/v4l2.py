"""Which cameras Linux lists, and how they are set: questions to their drivers (V4L2) that change nothing."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Of linux/videodev2.h, on 64 bits.
_QUERYCAP, _CAPABILITY = 0x80685600, struct.Struct("16s32s32sIII12x")
_CAPTURE, _CAPTURE_PLANES = 0x00000001, 0x00001000  # capabilities
_G_FMT, _FORMAT = 0xC0D05604, struct.Struct("I4xII4s188x")  # kind of buffer; width, height, pixel format
_QUERYCTRL, _CONTROL = 0xC0445624, struct.Struct("II32s16xI8x")  # id, type, name, flags
_QUERYMENU, _ITEM = 0xC02C5625, struct.Struct("=II32s4x")  # id of its control, index, name
_G_CTRL, _VALUE = 0xC008561B, struct.Struct("Ii")  # id, value
_NEXT = 0x80000000  # the control after that id
_INVALID = 0x0001 | 0x0010  # disabled, inactive
_INTEGER, _BOOLEAN, _MENU = 1, 2, 3

_DENOISING = re.compile(r"noise|\b[23]?d?nr\b", re.IGNORECASE)
_TELLING = re.compile(rf"exposure|gain|jpeg|compression|subsampling|{_DENOISING.pattern}", re.IGNORECASE)

_FORMATS = {
    "JPEG, compressed": ("MJPG", "JPEG"),
    "video, compressed": ("H264", "HEVC", "MPG4"),
    "colours halved across, 4:2:2": ("YUYV", "UYVY", "YVYU", "VYUY", "NV16", "422P"),
    "colours halved across and down, 4:2:0": ("NV12", "NV21", "NM12", "YU12", "YV12", "YM12"),
    "gray": ("GREY", "Y10", "Y12", "Y16"),
    "all colours": ("RGB3", "BGR3", "AR24", "XR24", "YUV4"),
    "the raw mosaic of the sensor": ("BA81", "GBRG", "GRBG", "RGGB"),
}
_MEANING = {code: meaning for meaning, codes in _FORMATS.items() for code in codes}

Ask = Callable[[int, bytes], bytes]
"""The driver's answer to a request, `fcntl.ioctl` on an open device. Raises OSError where it has none."""


@dataclass(frozen=True)
class Camera:
    """A video capture device that the kernel lists.

    Attributes:
        device: its path, `/dev/video0`.
        name: what the driver calls it; empty where it could not be asked.
        error: why it cannot be opened; empty where it can.
        size_wh: (width, height) of the frames as it is set now; None where the driver does not tell.
        format: of the pixels, its four letters, likewise.
        controls: what the driver tells of exposure, gain, compression and noise reduction, by the names it gives them.
    """

    device: str
    name: str
    error: str = ""
    size_wh: tuple[int, int] | None = None
    format: str = ""
    controls: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def denoising(self) -> list[str]:
        """Names of the controls by which the camera reduces noise itself, and that are on."""
        off = 0, "Off", "Disabled", "None"
        return [name for name, value in self.controls.items() if _DENOISING.search(name) and value not in off]

    def __str__(self) -> str:
        parts = [f"{self.device} ({self.name})"]
        if self.size_wh:
            meaning = f" ({_MEANING[self.format]})" if self.format in _MEANING else ""
            parts.append(f"{self.size_wh[0]}x{self.size_wh[1]} {self.format}{meaning}")
        return ", ".join([*parts, *(f"{name}: {value}" for name, value in self.controls.items())])


def find_cameras(folder: Path = Path("/dev")) -> list[Camera]:
    """The video capture devices, by number; codecs and metadata nodes, which look alike, are left out."""
    number = re.compile(r"video(\d+)")
    nodes = {int(match[1]): path for path in folder.glob("video*") if (match := number.fullmatch(path.name))}
    found = (_open(nodes[index]) for index in sorted(nodes))
    return [camera for camera in found if camera is not None]


def _open(path: Path) -> Camera | None:
    import fcntl

    try:
        with path.open("rb", buffering=0) as node:
            return read_camera(str(path), lambda request, data: fcntl.ioctl(node, request, data))
    except OSError as exc:
        return Camera(str(path), "", exc.strerror or str(exc))


def read_camera(device: str, ask: Ask) -> Camera | None:
    """Read what the driver of a device tells; None if it is no camera. Raises OSError if it does not answer at all."""
    _, card, _, _, _, capabilities = _CAPABILITY.unpack(ask(_QUERYCAP, bytes(_CAPABILITY.size)))
    if not capabilities & (_CAPTURE | _CAPTURE_PLANES):
        return None
    size_wh, code = None, ""
    try:
        kind = 1 if capabilities & _CAPTURE else 9
        _, width, height, letters = _FORMAT.unpack(ask(_G_FMT, _FORMAT.pack(kind, 0, 0, b"")))
        size_wh, code = (width, height), _text(letters).strip()
    except OSError:
        pass
    return Camera(device, _text(card), size_wh=size_wh, format=code, controls=_controls(ask))


def _controls(ask: Ask) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    latest = 0
    while True:
        try:
            control, kind, letters, flags = _CONTROL.unpack(ask(_QUERYCTRL, _CONTROL.pack(latest | _NEXT, 0, b"", 0)))
        except OSError:  # there is no further one
            return found
        if control <= latest:
            return found
        latest, name = control, _text(letters)
        if not _TELLING.search(name) or flags & _INVALID or kind not in (_INTEGER, _BOOLEAN, _MENU):
            continue
        try:
            _, value = _VALUE.unpack(ask(_G_CTRL, _VALUE.pack(control, 0)))
            found[name] = value
            if kind == _MENU:
                found[name] = _text(_ITEM.unpack(ask(_QUERYMENU, _ITEM.pack(control, value, b"")))[2])
        except (OSError, struct.error):  # a control that cannot be read; a value without a name
            continue


def _text(letters: bytes) -> str:
    return letters.partition(b"\0")[0].decode(errors="replace")
