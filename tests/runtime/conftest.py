"""What the runtime's tests share. Everything here runs with the base dependencies alone."""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from support import tiny_models as tiny
from support.stream_servers import gstreamer, served, server

__all__ = ["gstreamer", "served", "server"]


def needs_onnx() -> None:
    """Skip the test where ONNX models can be neither written nor run."""
    pytest.importorskip("onnx", reason="writing tiny ONNX models needs the onnx package")
    pytest.importorskip("onnxruntime", reason="running ONNX models needs onnxruntime")


def needs_packages(suffix: str) -> None:
    """Skip the test where models of that suffix can be neither written nor run."""
    if suffix != ".tflite":
        needs_onnx()
    if suffix == ".xml":
        pytest.importorskip("openvino", reason="running OpenVINO models needs openvino")


@pytest.fixture(params=[".tflite", ".onnx", ".xml"])
def suffix(request: pytest.FixtureRequest) -> str:
    """Each engine's file suffix in turn: a test that asks for it runs once per engine."""
    needs_packages(request.param)
    return str(request.param)


@pytest.fixture(scope="session")
def tiny_models() -> ModuleType:
    """The module of tiny models: `TinyModel`, `LABELS`."""
    return tiny


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a tiny model and gives its path.

    `make_model(name="model", **fields)` takes the fields of `tiny_models.TinyModel`: task, suffix, dtype, colour,
    layout, size_hw, batch, fit, multiple, sigma, level_map, blur, offset_255, value_range, carries_card,
    card_changes.
    """

    def make(name: str = "model", **fields: Any) -> Path:
        model = tiny.TinyModel(**fields)
        needs_packages(model.suffix)
        path = tmp_path / f"{name}{model.suffix}"
        model.write(path)
        return path

    return make


@pytest.fixture
def denoiser_file(make_model: Callable[..., Path]) -> Path:
    """A uint8 BGR denoiser for frames of any size that are multiples of 2, noise-conditioned; it adds the level."""
    return make_model("tiny-denoiser.int8", dtype="uint8", multiple=2, sigma=True)


@pytest.fixture
def blur_file(make_model: Callable[..., Path]) -> Path:
    """A float32 BGR denoiser for frames of any size, without a noise level; it blurs by a 3×3 mean."""
    return make_model("tiny-blur.fp32", blur=True)


@pytest.fixture
def classifier_file(make_model: Callable[..., Path]) -> Path:
    """A float32 classifier of 28×28 gray pictures: the label of the brightest of four bands of rows wins."""
    return make_model("tiny-classifier.fp32", task="classify", colour="GRAY")


@pytest.fixture
def denoise_classifier_file(make_model: Callable[..., Path]) -> Path:
    """A float32 model of 28×28 gray pictures that blurs and classifies."""
    return make_model("tiny-both.fp32", task="denoise+classify", colour="GRAY", blur=True)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator."""
    return np.random.default_rng(7)


@pytest.fixture
def open_tmp_path() -> Iterator[Path]:
    """A temporary folder that every user may enter; `tmp_path` belongs to the one who runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)


@pytest.fixture
def without_rights() -> Iterator[Callable[[], None]]:
    """A function after which the test goes on as a user without rights, where it runs as root.

    What is imported later may be out of that user's reach: import or run it beforehand.
    """
    user = os.geteuid()

    def drop() -> None:
        if user == 0:
            os.seteuid(65534)

    yield drop
    os.seteuid(user)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB, where the tests may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk needs root ({mounted.stderr.decode().strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 64 KiB: what a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
