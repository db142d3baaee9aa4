from __future__ import annotations

import pytest

from quietframe.tasks.base import open_model
from quietframe.zoo import builtin_models
from quietframe_bench.litert_file import tflite_nodes


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
    assert dense.macs == dense.weights == 784 * 4
    assert dense.bytes == 4 * (784 + 784 * 4 + 4)
