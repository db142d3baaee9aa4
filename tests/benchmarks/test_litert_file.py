from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from quietframe.engines import LiteRtEngine
from quietframe.tasks.base import open_model
from quietframe.zoo import builtin_models
from quietframe_bench import litert_file
from quietframe_bench.litert_file import ToolError, run_litert_benchmark, tflite_nodes, write_at_size


@pytest.mark.parametrize("name", [name for name, path in builtin_models().items() if path.suffix == ".tflite"])
def test_the_operators_work_is_what_the_card_says(shapes_at, name):
    path = builtin_models()[name]
    _, card = open_model(path)
    found = {
        size_wh: sum(node.macs for node in tflite_nodes(path.read_bytes(), shapes_at(path, size_wh)))
        for size_wh in ((640, 480), (128, 96))
    }
    if card.spatial.size_hw:
        height, width = card.spatial.size_hw
        assert set(found.values()) == {round(card.macs_per_pixel * height * width)}
        return
    # Layers that run once a frame, for the noise level, are not in the card's figure.
    once = {macs - card.macs_per_pixel * width * height for (width, height), macs in found.items()}
    assert len(once) == 1
    assert 0 <= once.pop() < 1e-3 * found[640, 480]


def test_operators_are_listed_with_shapes_and_bytes_at_the_size(denoiser_file, classifier_file):
    nodes = tflite_nodes(denoiser_file.read_bytes(), {"image": (1, 48, 64, 3), "sigma": (1, 1, 1, 1)})
    assert [node.kind for node in nodes] == ["SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "ADD", "ADD"]
    assert [node.index for node in nodes] == [0, 1, 2, 3]
    assert nodes[0].output_shape == (1, 24, 32, 12)
    assert nodes[0].bytes == 2 * 48 * 64 * 3
    assert {node.macs for node in nodes} == {0}
    dense = next(
        node
        for node in tflite_nodes(classifier_file.read_bytes(), {"image": (1, 28, 28, 1)})
        if node.kind == "FULLY_CONNECTED"
    )
    assert dense.macs == dense.weights == 784 * 4
    assert dense.bytes == 4 * (784 + 784 * 4 + 4)


def test_a_copy_has_the_size_and_computes_the_same_and_litert_benchmark_times_it(shapes_at, tmp_path):
    path = builtin_models()["camera-nano"]
    shapes, copy = shapes_at(path, (64, 48)), tmp_path / "copy.tflite"
    write_at_size(model=str(path), shapes=shapes, target=str(copy))
    ours, theirs = LiteRtEngine(path, threads=1), LiteRtEngine(copy, threads=1)
    assert {name: info.shape for name, info in theirs.inputs.items()} == shapes
    assert theirs.card_json == ours.card_json
    rng = np.random.default_rng(0)
    limits = {name: np.iinfo(info.dtype) for name, info in ours.inputs.items()}
    inputs = {
        name: rng.integers(limits[name].min, limits[name].max + 1, shape, limits[name].dtype)
        for name, shape in shapes.items()
    }
    (expected,), (found,) = ours.run(inputs).values(), theirs.run(inputs).values()
    np.testing.assert_array_equal(found, expected)
    if importlib.util.find_spec("ai_edge_litert.tools"):
        assert 0 < run_litert_benchmark(copy, threads=1, warmup=1, runs=7) < 1000


def test_where_litert_benchmark_fails_or_is_not_installed_that_is_one_line(bad_file, monkeypatch):
    with pytest.raises(ToolError, match=r"^litert-benchmark.* fails: .*Error.*$"):
        run_litert_benchmark(bad_file, threads=1, warmup=0, runs=1)
    monkeypatch.setattr(litert_file, "_BENCHMARK", "no_such_package.tools.benchmark")
    with pytest.raises(ToolError, match=r"LiteRT 2\.2 and later, fails: .*no_such_package"):
        run_litert_benchmark(bad_file, threads=1, warmup=0, runs=1)
