"""docs/pytorch.md with a file as `torch.onnx.export` writes it: NCHW, its names, free sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import quietframe as qf
from quietframe.assets import photo_bgr

SHAPE = ["batch", 3, "height", "width"]
CONV = {"dilations": [1, 1], "group": 1, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A 3×3 blur of each channel, in RGB, whose red channel comes out half as bright."""
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    for channel, gain in enumerate((0.5, 1.0, 1.0)):
        kernel[channel, channel] = gain / 9
    weights = {"net.0.weight": kernel, "net.0.bias": np.zeros(3, np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", *weights], ["/net/net.0/Conv_output_0"], "/net/net.0/Conv", **CONV),
            helper.make_node("Relu", ["/net/net.0/Conv_output_0"], ["denoised"], "/net/net.1/Relu"),
        ],
        "main_graph",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("denoised", onnx.TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, producer_name="pytorch", ir_version=8, opset_imports=opset)
    onnx.checker.check_model(model)
    path = tmp_path / "denoiser.onnx"
    onnx.save(model, path)
    return path


def test_card_denoise_bench(exported: Path, tmp_path: Path, cli: Callable[..., Any]) -> None:
    drafted = cli("card", exported)
    assert drafted.code == 0
    assert "guessed colour: RGB" in drafted.err and "guessed spatial: multiple 1, halo 1, as" in drafted.err
    assert f"quietframe denoise IMAGE --model {exported}" in drafted.err
    noisy = photo_bgr()[:61, :90]  # of no round size
    cv2.imwrite(str(tmp_path / "noisy.png"), noisy)
    assert cli("denoise", tmp_path / "noisy.png", "--model", exported).code == 0
    denoised = cv2.imread(str(tmp_path / "noisy.denoised.png"))
    expected = cv2.blur(noisy, (3, 3), borderType=cv2.BORDER_CONSTANT) * [1.0, 1.0, 0.5]  # BGR
    assert np.abs(denoised - expected).max() <= 1
    assert qf.Denoiser(exported).card.inputs[0].layout == "NCHW"
    measured = cli("bench", "speed", exported, "--size", "64x48", "--runs", "2", "--min-secs", "0", "--json")
    assert measured.code == 0 and "denoiser" in measured.out
