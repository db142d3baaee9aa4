from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

from quietframe.engines import LiteRtEngine, OnnxEngine
from quietframe_bench.litert_file import tflite_nodes
from quietframe_bench.peak_models import LAYERS, TRIALS, Trial, litert_trial, onnx_trial

SMALL = [Trial(16, (12, 20), kernel=3), Trial(24, (10, 14), kernel=1), Trial(32, (8, 0))]


def real(values, dtype):
    return values if dtype == "float32" else (values.astype(np.float32) - (128 if dtype == "uint8" else 0)) / 64


def run(engine, trial, dtype, *, channels_first):
    picture = engine.inputs["in"].from_declared(trial.image(dtype, channels_first=channels_first))
    found = engine.run({"in": picture})["out"]
    return real(engine.outputs["out"].as_declared(found), dtype)


@pytest.mark.parametrize("trial", SMALL, ids=lambda trial: trial.name)
def test_a_trial_computes_the_same_in_every_engine_and_precision(trial, tmp_path):
    results = {}
    for dtype in ("float32", "int8"):
        path = tmp_path / "trial.tflite"
        path.write_bytes(litert_trial(trial, dtype))
        results["LiteRT", dtype] = run(LiteRtEngine(path, threads=1), trial, dtype, channels_first=False)
    for dtype in ("float32", "uint8", "int8"):
        path = tmp_path / "trial.onnx"
        path.write_bytes(onnx_trial(trial, dtype))
        found = run(OnnxEngine(path, threads=1), trial, dtype, channels_first=True)
        results["ONNX", dtype] = found
    # The layouts differ, and with them where each random number stands: compare within a format.
    for (engine, dtype), found in results.items():
        exact = results[engine, "float32"]
        assert found.shape == exact.shape
        assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.95, (engine, dtype)
        assert 0.5 < found.std() < 2  # neither fading nor saturating from layer to layer


@pytest.mark.parametrize("trial", [*SMALL, *TRIALS], ids=lambda trial: trial.name)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_tflite_trial_is_what_it_says(trial, dtype):
    shape = trial.image(dtype, channels_first=False).shape
    nodes = tflite_nodes(litert_trial(trial, dtype), {"in": shape})
    assert [node.kind for node in nodes] == ["CONV_2D" if trial.kernel else "FULLY_CONNECTED"] * LAYERS
    assert sum(node.macs for node in nodes) == trial.macs
    assert {node.output_shape for node in nodes} == {shape}
    width = 4 if dtype == "float32" else 1
    assert nodes[0].bytes == 2 * np.prod(shape) * width + nodes[0].weights * width + 4 * trial.channels


@pytest.mark.parametrize("trial", [*SMALL, *TRIALS], ids=lambda trial: trial.name)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_an_onnx_trial_is_a_valid_model(trial, dtype):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(onnx_trial(trial, dtype))
    onnx.checker.check_model(model, full_check=True)
    kinds = {True: ("Conv", "QLinearConv"), False: ("MatMul", "QLinearMatMul")}[bool(trial.kernel)]
    assert [node.op_type for node in model.graph.node] == [kinds[dtype != "float32"]] * LAYERS
