"""What the benchmarks' tests share: tiny real models, and an engine that keeps its own clock."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("psutil", reason="benchmarks need the extra 'bench'")

_RUNTIME_TESTS = Path(__file__).parents[1] / "runtime"


def _load(helper: str) -> ModuleType:
    """A helper of the runtime's tests, by its path: tests are no packages."""
    path = _RUNTIME_TESTS / helper
    spec = importlib.util.spec_from_file_location(f"{path.stem}_of_benchmarks", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a tiny model and gives its path: `make_model(name, **fields of TinyModel)`."""
    return _model_maker(tmp_path)


def _model_maker(folder: Path) -> Callable[..., Path]:
    """See `make_model`."""
    tiny = _load("tiny_models.py")

    def make(name: str = "model", **fields: Any) -> Path:
        model = tiny.TinyModel(**fields)
        path = folder / f"{name}{model.suffix}"
        path.write_bytes(model.to_bytes())
        return path

    return make


@pytest.fixture
def browser() -> Iterator[Any]:
    """A Chromium; the test fails if a page of it reports an error. Skips where there is none."""
    pytest.importorskip("websockets", reason="driving Chromium needs websockets")
    chromium = _load("live/preview/chromium.py")
    if chromium.PROGRAM is None:
        pytest.skip("no Chromium is installed: apt install chromium")
    with chromium.Browser() as running:
        yield running
        assert running.errors == []


@pytest.fixture
def denoiser_file(make_model: Callable[..., Path]) -> Path:
    """A uint8 BGR denoiser of any size that is a multiple of 2, told a noise level (which it adds)."""
    return make_model("tiny.int8", dtype="uint8", multiple=2, sigma=True)


@pytest.fixture
def blur_file(make_model: Callable[..., Path]) -> Path:
    """A float32 BGR denoiser: a 3×3 mean."""
    return make_model("blur.fp32", blur=True)


@pytest.fixture
def classifier_file(make_model: Callable[..., Path]) -> Path:
    """A float32 classifier of 28×28 gray pictures."""
    return make_model("classifier.fp32", task="classify", colour="GRAY")


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Four smooth pictures of different sizes, one in a subfolder."""
    return _draw_pictures(tmp_path / "pictures")


def _draw_pictures(folder: Path) -> Path:
    """See `picture_folder`."""
    import cv2

    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.png", "c.png", "more/d.png")):
        y, x = np.mgrid[0 : 40 + 4 * index, 0:48]
        picture = np.stack([x * 4, y * 4, 60 + x + y], axis=2).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / name), picture)
    return folder


@pytest.fixture(scope="session")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(the blur model's file, a folder as `picture_folder`) for what is measured once for many tests: not to change."""
    folder = tmp_path_factory.mktemp("lasting")
    return _model_maker(folder)("blur.fp32", blur=True), _draw_pictures(folder / "pictures")
