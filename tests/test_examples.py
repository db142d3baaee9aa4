"""Runs the scripts of examples/ as a user does, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from quietframe.quality import psnr_db
from quietframe.sources import open_source
from support.process import run_python

EXAMPLES = Path(__file__).parents[1] / "examples"
MAX_LINES = 25
SCENE = "test:?size=320x240&frames=6"

STAND_IN = """
import numpy as np


class MappedArray:
    def __init__(self, request, stream):
        self.array = request[stream]

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass


class Picamera2:
    def create_video_configuration(self, main):
        assert main["format"] == "RGB888"
        return main

    def configure(self, main):
        self.size_wh = main["size"]

    def start_and_record_video(self, path, duration):
        width, height = self.size_wh
        noisy = np.random.default_rng(0).normal(128, 20, (height, width, 3)).clip(0, 255).astype(np.uint8)
        request = {"main": noisy.copy()}
        self.pre_callback(request)
        print(f"{path}: {noisy.std():.0f} {request['main'].std():.0f} {duration}")
"""


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


def run(name: str, *arguments: object, path: Path | None = None, cwd: Path | None = None) -> str:
    places = os.pathsep.join([*([str(path)] if path else []), *sys.path])
    return run_python(EXAMPLES / name, *arguments, cwd=cwd, PYTHONPATH=places).stdout


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A noisy frame in a file, and the same without noise."""
    folder = tmp_path_factory.mktemp("scene")
    with open_source(SCENE) as source:
        frame = next(iter(source))
    cv2.imwrite(str(folder / "noisy.png"), frame.pixels)
    assert frame.clean is not None
    return folder / "noisy.png", frame.clean


def test_every_script_is_short_and_tested():
    text = Path(__file__).read_text(encoding="utf-8")
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) >= 6
    for script in scripts:
        assert f'"{script.name}"' in text
        assert len(script.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_an_image(scene, tmp_path):
    noisy, clean = scene
    out = run("image.py", noisy, tmp_path / "clean.png")
    assert out.startswith("noise level: 2")  # of 25 in the scene
    result = cv2.imread(str(tmp_path / "clean.png"))
    assert psnr_db(clean, result) > psnr_db(clean, cv2.imread(str(noisy))) + 5


def test_a_video(tmp_path):
    run("video.py", SCENE, tmp_path / "clean.mp4")
    with open_source(tmp_path / "clean.mp4") as source:
        frames = [frame.pixels for frame in source]
    assert [frame.shape for frame in frames] == [(240, 320, 3)] * 6


@needs("uvicorn")
def test_a_camera_in_a_browser():
    process = subprocess.Popen(
        [sys.executable, EXAMPLES / "camera_to_web.py", "test:?size=320x240&frames=0"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        url = next(line for line in process.stdout if line.startswith("preview: ")).removeprefix("preview: ").strip()
        assert url.startswith("http://127.0.0.1:")
        jpeg = b""
        deadline = time.monotonic() + 100
        while not jpeg and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{url}snapshot.jpg", timeout=10) as answer:
                    jpeg = answer.read()
            except OSError:  # no frame yet
                time.sleep(0.1)
        image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (240, 320, 3)
    finally:
        process.kill()
        process.communicate()


def test_picamera2_with_a_stand_in(tmp_path):
    (tmp_path / "picamera2.py").write_text(STAND_IN, encoding="utf-8")
    name, before, after, seconds = run("picamera2_callback.py", "1", path=tmp_path, cwd=tmp_path).split()
    assert (name, before, seconds) == ("clean.mp4:", "20", "1")
    assert int(after) < 5


@needs("picamera2")
def test_picamera2_on_a_raspberry_pi(tmp_path):
    run("picamera2_callback.py", "1", cwd=tmp_path)
    assert (tmp_path / "clean.mp4").stat().st_size > 0


def test_an_own_sink(scene, tmp_path):
    clean, rng = scene[1], np.random.default_rng(0)
    (tmp_path / "shots").mkdir()
    for index, still in enumerate([clean] * 4 + [clean[:, ::-1]] * 3):
        noisy = (still + rng.normal(0, 25, still.shape)).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "shots" / f"{index}.png"), noisy)
    run("own_sink.py", f"sequence:25:{tmp_path / 'shots'}/", tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == ["000000.jpg", "000004.jpg"]


@needs("onnx")
@needs("onnxruntime")
def test_an_own_onnx_model(scene, tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[range(3), range(3)] = 1 / 9  # a blur, which lowers the noise
    shape = [1, 3, "height", "width"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "kernel"], ["output"], pads=[1, 1, 1, 1])],
        "blur",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "mine.onnx")
    noisy, clean = scene
    run("own_onnx_model.py", tmp_path / "mine.onnx", noisy, tmp_path / "clean.png")
    result = cv2.imread(str(tmp_path / "clean.png"))
    assert result.shape == clean.shape
    assert result.std() < cv2.imread(str(noisy)).std()
