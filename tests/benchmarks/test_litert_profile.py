from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from quietframe import Denoiser, models
from quietframe.tasks.base import open_model
from quietframe.zoo import builtin_models
from quietframe_bench.kinds.profile import ProfiledModel
from quietframe_bench.litert_profile import Event, LiteRtProfile, match, read_events, tflite_nodes
from quietframe_bench.profiles import Node, ProfileUnavailableError


def inputs_of(path):
    """Inputs of a camera model for a frame of 128×96, in its own 8-bit type."""
    (inputs,) = Denoiser(path, sigma_255=5).prepare(np.full((96, 128, 3), 20, np.uint8))
    return inputs


def shapes_of(path):
    return {name: array.shape for name, array in inputs_of(path).items()}


def node(kind, macs=0):
    return Node(kind, f"layer of {kind}", (1,), macs, 10)


def inside(kind):
    return Event(kind, 0, True, 1000)


def outside(index, kind="QUANTIZE"):
    return Event(kind, index, False, 1000)


def test_the_profiler_tells_the_operators_inside_the_delegate():
    path = builtin_models()["camera-nano"]
    nodes = tflite_nodes(path.read_bytes(), shapes_of(path))
    model = LiteRtProfile(path, inputs_of(path), threads=1)
    runs = [model.run() for _ in range(3)]
    for whole_ns, events in runs:
        assert 0 < sum(event.duration_ns for event in events) <= whole_ns + 1000 * len(events)
    kinds = [event.kind for event in runs[0][1]]
    # The 1×1 ones are matrix products.
    multiply = sum(node.macs > 0 for node in nodes)
    assert sum(kind.startswith(("Convolution", "Fully Connected")) for kind in kinds) == multiply
    assert any(event.inside for event in runs[0][1])


@pytest.mark.parametrize("name", [name for name, path in builtin_models().items() if path.suffix == ".tflite"])
def test_every_layer_that_multiplies_is_found(name):
    task = models()[name].task
    profile = ProfiledModel(model=str(builtin_models()[name]), task=task, size_wh=[128, 96], threads=1)
    profile.run(warmup=1, runs=2)
    found = profile.result()
    assert found["notes"] == []
    assert len(found["runs_ns"]) == 2
    assert all(len(operator["samples_ns"]) == 2 for operator in found["operators"])
    assert sum(operator["macs"] or 0 for operator in found["operators"]) > 0
    assert all(operator["bytes"] for operator in found["operators"] if operator["macs"])


def test_delegated_operators_that_multiply_are_matched_in_order_and_kernels_by_their_index():
    nodes = [node("QUANTIZE"), node("CONV_2D", 5), node("RESHAPE"), node("FULLY_CONNECTED", 7), node("CONV_2D", 9)]
    events = [outside(0), inside("Convolution (NHWC, QC8) IGEMM"), inside("Static Reshape (NC)"), outside(4)]
    found, complete = match([*events, inside("Fully Connected (NC, QS8, QC8W) GEMM")], nodes)
    assert found == [nodes[0], nodes[1], None, nodes[4], nodes[3]]
    assert complete


@pytest.mark.parametrize("count", [1, 3])
def test_no_work_is_stated_where_the_layers_do_not_come_out_even(count):
    nodes = [node("QUANTIZE"), node("CONV_2D", 5), node("CONV_2D", 9)]
    found, complete = match([outside(0), *[inside("Convolution (NHWC)")] * count], nodes)
    assert not complete
    assert found == [nodes[0], *[None] * count]


def record(tag, kind, elapsed_us=1, node=0):
    return SimpleNamespace(tag=tag, kind=kind, elapsed_us=elapsed_us, node=node)


def test_a_delegate_is_not_counted_on_top_of_its_operators():
    records = [
        record(b"LiteRT::Run[buffer registration]", 1, 3),
        record(b"Invoke", 1, 100),
        record(b"QUANTIZE", 2, 10, node=0),
        record(b"TfLiteXNNPackDelegate", 2, 80, node=7),
        record(b"Convolution (NHWC)", 8, 70),
        record(b"Invoke", 32, 2**32),  # telemetry
    ]
    whole_ns, events = read_events(records)
    assert whole_ns == 100_000
    assert events == [Event("QUANTIZE", 0, False, 10_000), Event("Convolution (NHWC)", 0, True, 70_000)]
    # Where the delegate tells nothing, its time as one is all there is.
    assert [event.kind for event in read_events(records[:4])[1]] == ["QUANTIZE", "TfLiteXNNPackDelegate"]


def test_a_litert_with_another_interface_says_what_is_missing(monkeypatch):
    from quietframe_bench import litert_profile

    litert_profile._library.cache_clear()
    monkeypatch.setattr(litert_profile.ctypes, "CDLL", lambda path: SimpleNamespace())
    with pytest.raises(ProfileUnavailableError, match="this LiteRT's profiler lacks LiteRtCreateEnvironment"):
        LiteRtProfile(builtin_models()["camera-nano"], inputs_of(builtin_models()["camera-nano"]), threads=1)
    litert_profile._library.cache_clear()


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
    assert nodes[0].output_shape == (1, 24, 32, 12)
    assert nodes[0].bytes == 2 * 48 * 64 * 3
    assert {node.macs for node in nodes} == {0}
    dense = next(
        node
        for node in tflite_nodes(classifier_file.read_bytes(), {"image": (1, 28, 28, 1)})
        if node.kind == "FULLY_CONNECTED"
    )
    assert dense.macs == 784 * 4
    assert dense.bytes == 4 * (784 + 784 * 4 + 4)
