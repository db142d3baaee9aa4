from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the models are made with the onnx package")
pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")

import onnx
from onnx import TensorProto, helper, numpy_helper

from quietframe_bench.onnx_profile import OnnxProfile, match, split_runs
from quietframe_bench.profiles import Node

SIDE = 24


@pytest.fixture
def graph_file(tmp_path):
    """3×3 to 12 channels and ReLU, grouped 3×3, transposed 2×2 stride 2 to 5 channels, flatten, MatMul and Gemm."""
    rng = np.random.default_rng(0)
    weights = {
        "w0": (12, 3, 3, 3),
        "w1": (12, 4, 3, 3),
        "w2": (12, 5, 2, 2),
        "w3": (5 * 4 * SIDE * SIDE, 7),
        "w4": (7, 9),
    }
    constants = [numpy_helper.from_array(rng.random(shape).astype(np.float32), name) for name, shape in weights.items()]
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["a"], name="net/first/convolution", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="net/first/Relu"),
        helper.make_node("Conv", ["b", "w1"], ["c"], name="net/grouped/convolution", pads=[1, 1, 1, 1], group=3),
        helper.make_node("ConvTranspose", ["c", "w2"], ["d"], name="net/up/transposed", strides=[2, 2]),
        helper.make_node("Flatten", ["d"], ["e"], name="flat"),
        helper.make_node("MatMul", ["e", "w3"], ["f"], name="net/dense/MatMul"),
        helper.make_node("Gemm", ["f", "w4"], ["out"], name="net/scores/Gemm"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 9])
    model = helper.make_model(
        helper.make_graph(nodes, "graph", [image], [out], constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    path = tmp_path / "graph.onnx"
    onnx.save(model, path)
    return path


def test_work_is_that_of_the_file_whatever_the_engine_makes_of_it(graph_file):
    profile = OnnxProfile(graph_file, {"image": np.ones((1, 3, SIDE, SIDE), np.float32)}, threads=1)
    for _ in range(3):
        profile.step()
    found, times = profile.result()
    pixels = SIDE * SIDE
    expected = [pixels * 12 * 3 * 9, pixels * 12 * 4 * 9, pixels * 12 * 5 * 4, 20 * pixels * 7, 7 * 9]
    assert [operator.macs for operator in found.operators if operator.macs] == expected
    assert found.notes == []
    assert all(operator.bytes >= 4 * pixels for operator in found.operators if operator.kind == "Conv")
    assert len(times) == 3
    for whole_ns, each_ns in times:
        assert len(each_ns) == len(found.operators)
        assert sum(each_ns) <= whole_ns


def test_the_profile_runs_with_the_engines_own_settings(graph_file, monkeypatch):
    from quietframe_bench import onnx_profile

    seen = []
    real = onnx_profile.session_options
    monkeypatch.setattr(onnx_profile, "session_options", lambda threads: seen.append(threads) or real(threads))
    profile = onnx_profile.OnnxProfile(graph_file, {"image": np.ones((1, 3, SIDE, SIDE), np.float32)}, threads=2)
    assert seen == [2, 2]  # as in the file, and optimized
    profile.step()
    assert profile.result()[0].operators


def kernel(name, kind, shape, ts=0):
    args = {"op_name": kind, "output_type_shape": [{"float": list(shape)}]}
    return {"name": f"{name}_kernel_time", "ts": ts, "dur": 1, "args": args}


def test_fused_and_padded_kernels_are_matched_to_their_layers():
    nodes = [
        Node("Conv", "net/a/convolution", (1, 12, 8, 8), 100, 1),
        Node("Clip", "net/a/Relu6", (1, 12, 8, 8), 0, 1),
        Node("Conv", "b", (1, 16, 8, 8), 200, 1),
        Node("MatMul", "c", (1, 10), 300, 1),
    ]
    kernels = [
        kernel("net/a/Relu6:0_nchwc", "Conv", (1, 16, 8, 8)),  # named after what was fused, 12 channels padded to 16
        kernel("b_token_3", "QLinearConv", (1, 8, 8, 16)),
        kernel("ReorderOutput", "ReorderOutput", (1, 12, 8, 8)),
        kernel("c/MatMulAddFusion", "Gemm", (1, 10)),
    ]
    found, complete = match(kernels, nodes)
    assert found == [nodes[0], nodes[2], None, nodes[3]]
    assert complete
    assert match(kernels[:2], nodes)[1] is False


def test_runs_that_differ_are_refused():
    one, other = kernel("a", "Conv", (1,), 1), kernel("b", "Conv", (1,), 2)
    assert split_runs([other, one], 1) == [[one, other]]
    for events, runs in (([one, other], 2), ([one, other, one], 2), ([], 1)):
        with pytest.raises(ValueError, match="not the same in each run"):
            split_runs(events, runs)
