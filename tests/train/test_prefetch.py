import multiprocessing
import threading

import numpy as np
import pytest

from quietframe.errors import QuietFrameError
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.data.photos import PhotoBatches, PhotoData
from quietframe_train.prefetch import prefetched
from quietframe_train.recipes import RECIPES

CAMERA = RECIPES["camera-nano"]


@pytest.fixture(scope="module")
def batches(photo_folder):
    photos = CAMERA.data.load(photo_folder, CAMERA, seed=1).training
    return PhotoBatches(PhotoData(patch=32), photos, CameraNoise(), batch=4, steps=3, seed=(1,))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_draw_what_one_would_draw_in_the_same_order(batches, workers):
    threads = threading.active_count()
    with prefetched(batches, range(3, 5), workers) as drawn:
        found = list(drawn)
    assert len(found) == 6
    for number, (inputs, targets, weights) in enumerate(found):
        expected, clean, counts = batches.draw(3 + number // 3, number % 3)
        assert inputs.keys() == expected.keys()
        assert all(np.array_equal(inputs[name], expected[name]) for name in expected)
        assert np.array_equal(targets, clean)
        assert np.array_equal(weights, counts)
    assert not multiprocessing.active_children()
    assert threading.active_count() == threads


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_the_middle_leaves_no_workers(batches, workers):
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), prefetched(batches, range(1000), workers) as drawn:
        next(drawn)
        raise ZeroDivisionError
    assert not multiprocessing.active_children()
    assert threading.active_count() == threads


def test_a_process_that_dies_ends_the_training(batches):
    with (
        prefetched(batches, range(1000), 2) as drawn,
        pytest.raises(QuietFrameError, match="a process that draws batches ended early"),
    ):
        next(drawn)
        for process in multiprocessing.active_children():
            process.kill()
        list(drawn)
    assert not multiprocessing.active_children()
