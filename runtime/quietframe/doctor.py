"""What this machine is, what is installed, and what is missing: the facts behind `quietframe doctor`.

Nothing here runs at import; cameras are asked only when `examine` is called.
"""

from __future__ import annotations

import importlib
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from quietframe import __version__
from quietframe.cpu import cpu_features, cpu_model, logical_cores, memory_mb, physical_cores
from quietframe.errors import QuietFrameError
from quietframe.v4l2 import Camera, find_cameras

Status = Literal["ok", "note", "wrong"]

BASE_PACKAGES = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "av": "av",
    "PIL": "pillow",
    "simplejpeg": "simplejpeg",
    "ai_edge_litert": "ai-edge-litert",
    "flatbuffers": "flatbuffers",
}
"""Modules that QuietFrame does not run without, and the packages that bring them."""

EXTRAS = {
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "heif": ("pillow-heif",),
    "serve": ("starlette", "uvicorn", "websockets", "prometheus-client"),
    "ray": ("ray", "pyarrow"),
    "train": ("tensorflow", "keras", "matplotlib"),
    "export": ("onnx", "tf2onnx"),
    "bench": ("jinja2", "msgspec", "onnx", "psutil", "matplotlib", "scipy"),
}
"""The optional packages, by the extra that installs them."""

OPENCV_PACKAGES = tuple(
    f"opencv-{kind}" for kind in ("python", "python-headless", "contrib-python", "contrib-python-headless")
)
INT8_FEATURES = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
"""Processor features that multiply and add 8-bit integers in one instruction."""

SIZES_WH = ((640, 480), (1280, 720))
FPS = 30.0
"""The frame sizes that are tried, and the rate that a model should hold."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: what was looked at.
        status: `ok`; `note`: QuietFrame runs, but not everything in it, or slower; `wrong`: QuietFrame does not run.
        found: what is there.
        remedy: the command or step that fixes it; empty where nothing is to be fixed.
    """

    topic: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Machine:
    """The machine. What the system does not tell is None."""

    system: str
    cpu: str | None
    cpu_features: tuple[str, ...]
    physical_cores: int
    logical_cores: int
    memory_mb: int | None
    memory_available_mb: int | None


@dataclass(frozen=True)
class Report:
    """Everything that `examine` found."""

    versions: Mapping[str, str]
    machine: Machine
    cameras: tuple[Camera, ...]
    findings: tuple[Finding, ...]

    @property
    def works(self) -> bool:
        """Nothing stops QuietFrame from running."""
        return all(finding.status != "wrong" for finding in self.findings)


def examine() -> Report:
    """Look at the machine, the packages, the engines and the cameras."""
    machine = Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_model(),
        cpu_features=cpu_features(),
        physical_cores=physical_cores(),
        logical_cores=logical_cores(),
        memory_mb=memory_mb("MemTotal"),
        memory_available_mb=memory_mb("MemAvailable"),
    )
    cameras = tuple(find_cameras())
    packages = _base_packages()
    findings = [_python(), *packages, _opencv()]
    if all(package.status == "ok" for package in packages):
        findings.append(_models())
        if findings[-1].status == "ok":
            findings += map(_real_time, SIZES_WH)
    findings += [_processor(machine), *map(_extra, EXTRAS), _cameras(cameras)]
    return Report(_versions(), machine, cameras, tuple(findings))


def _versions() -> dict[str, str]:
    extras = (name for names in EXTRAS.values() for name in names)
    names = dict.fromkeys([*BASE_PACKAGES.values(), "click", "rich", *extras, *OPENCV_PACKAGES])
    found = {name: installed for name in names if (installed := _version(name)) is not None}
    return {"quietframe": __version__, "python": platform.python_version()} | found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", found)
    return Finding("Python", "wrong", found, "install Python 3.11, 3.12 or 3.13 and make a new environment with it")


def _base_packages() -> list[Finding]:
    findings = []
    for module, package in BASE_PACKAGES.items():
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as exc:  # OSError: a shared library that cannot be loaded
            reason = str(exc).strip().partition("\n")[0]
            remedy = f"pip install --force-reinstall {package}"
            findings.append(Finding(package, "wrong", f"cannot be imported: {reason}", remedy))
            continue
        if module != "cv2":  # it may come from another package: see `_opencv`
            findings.append(Finding(package, "ok", _version(package) or "installed without metadata"))
    return findings


def _opencv() -> Finding:
    installed = [f"{name} {found}" for name in OPENCV_PACKAGES if (found := _version(name)) is not None]
    names = [entry.partition(" ")[0] for entry in installed]
    if len(installed) > 1:
        remedy = f"pip uninstall -y {' '.join(names)} && pip install opencv-python-headless"
        return Finding("OpenCV", "note", f"{' and '.join(installed)} overwrite each other's files", remedy)
    return Finding("OpenCV", "ok", installed[0] if installed else "installed without metadata, as a system package is")


def _models() -> Finding:
    """Run each built-in model on a small frame: shows that models, engine and packages fit together."""
    import numpy as np

    from quietframe.tasks import Classifier, open_denoiser
    from quietframe.tasks.base import open_model
    from quietframe.zoo import builtin_models

    frame_bgr, reinstall = np.full((32, 32, 3), 128, np.uint8), "pip install --force-reinstall quietframe"
    names = list(builtin_models())
    try:
        for name in names:
            engine, card = open_model(name)
            task = open_denoiser(engine, card=card) if "denoise" in card.task else Classifier(engine, card=card)
            task(frame_bgr)
    except QuietFrameError as exc:
        return Finding("built-in models", "wrong", str(exc), reinstall)
    if not names:
        return Finding("built-in models", "wrong", "none", reinstall)
    return Finding("built-in models", "ok", f"{', '.join(names)}: each ran")


def _real_time(size_wh: tuple[int, int]) -> Finding:
    """Which model for video holds the frame rate, by the measurement with which `--model auto` chooses."""
    import numpy as np

    from quietframe.pipeline.models import Deadline
    from quietframe.tasks import open_denoiser
    from quietframe.zoo import camera_models

    topic = f"real time, {size_wh[0]}x{size_wh[1]}"
    noise = np.random.default_rng(0).integers(100, 156, (size_wh[1], size_wh[0], 3), np.uint8)
    choice = Deadline.measured({name: open_denoiser(name) for name in camera_models(video=True)}, noise, FPS).first
    if choice.holds:
        return Finding(topic, "ok", f"{choice.model} {choice.why}")
    return Finding(topic, "note", f"{choice.model} {choice.why}", "use smaller frames or a lower --fps")


def _processor(machine: Machine) -> Finding:
    fast = [feature for feature in machine.cpu_features if feature in INT8_FEATURES]
    if fast:
        return Finding("8-bit arithmetic", "ok", f"fast: {', '.join(fast)}")
    return Finding(
        "8-bit arithmetic",
        "note",
        "no dot-product instructions: int8 models gain less here",
        "quietframe bench shows which precision is the fastest on this machine",
    )


def _extra(extra: str) -> Finding:
    versions = {package: _version(package) for package in EXTRAS[extra]}
    if absent := [package for package, installed in versions.items() if installed is None]:
        return Finding(f"extra: {extra}", "note", f"without {', '.join(absent)}", f"pip install 'quietframe[{extra}]'")
    return Finding(f"extra: {extra}", "ok", ", ".join(f"{name} {installed}" for name, installed in versions.items()))


def _cameras(cameras: Sequence[Camera]) -> Finding:
    if not cameras:
        return Finding("cameras", "note", "none", "connect one, or use the drawn scene: quietframe denoise test:")
    refused = [f"{camera.device}: {camera.error}" for camera in cameras if camera.error]
    if refused:
        remedy = "let this user open it: sudo usermod -aG video $USER, then log in anew"
        return Finding("cameras", "note", "; ".join(refused), remedy)
    found = "; ".join(map(str, cameras))
    switches = [
        f"v4l2-ctl -d {camera.device} -c {re.sub('[^a-z0-9]+', '_', name.lower()).strip('_')}=0"
        for camera in cameras
        for name in camera.denoising
    ]
    if switches:
        remedy = f"switch the camera's own noise reduction off, which smears noise: {'; '.join(switches)}"
        return Finding("cameras", "note", found, remedy)
    return Finding("cameras", "ok", found)
