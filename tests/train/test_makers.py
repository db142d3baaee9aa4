import multiprocessing
from dataclasses import replace

import numpy as np
import pytest

from quietframe.errors import QuietFrameError, UsageError
from quietframe_train import RECIPES, train
from quietframe_train.camera_noise import CameraNoise
from quietframe_train.checkpoint import read_history
from quietframe_train.makers import Order, made_by_processes
from quietframe_train.photo_batches import PhotoDraws
from quietframe_train.splits import load_splits


@pytest.fixture(scope="module")
def order(photo_folder):
    photos = load_splits(RECIPES["camera-nano"], photo_folder, seed=1).training
    return Order(PhotoDraws(photos, CameraNoise(), patch=32, batch=4), seed=1, epochs=range(3, 5), steps=3)


def test_processes_make_what_one_would_make_in_the_same_order(order):
    with made_by_processes(order, 4) as made:
        batches = list(made)
    assert len(batches) == len(order) == 6
    for number, (inputs, targets, weights) in enumerate(batches):
        expected, clean, counts = order.make(number)
        assert inputs.keys() == expected.keys()
        assert all(np.array_equal(inputs[name], expected[name]) for name in expected)
        assert np.array_equal(targets, clean)
        assert np.array_equal(weights, counts)
    assert not np.array_equal(batches[0][1], batches[3][1]), "another epoch draws other patches"
    assert not multiprocessing.active_children()


def test_a_batch_stays_as_it_is_while_others_are_made(order):
    with made_by_processes(order, 1) as made:
        first = next(made)[1]
        before = first.copy()
        list(made)
    assert np.array_equal(first, before)


def test_a_process_that_dies_ends_the_training(order):
    long = replace(order, steps=1000)
    with (
        made_by_processes(long, 2) as made,
        pytest.raises(QuietFrameError, match=r"a process that makes batches ended with -9"),
    ):
        next(made)
        for process in multiprocessing.active_children():
            process.kill()
        list(made)
    assert not multiprocessing.active_children()


def test_a_training_is_the_same_with_any_number_of_workers(photo_folder, tmp_path):
    recipe = replace(RECIPES["camera-nano"], steps_per_epoch=3, batch=2)
    alone, helped = (
        train(recipe, data=photo_folder, out=tmp_path / str(workers), epochs=2, workers=workers) for workers in (1, 2)
    )
    for phase in ("", "settling"):
        rows, others = (read_history(run.folder / phase / "history.csv") for run in (alone, helped))
        assert [row["loss"] for row in others] == [row["loss"] for row in rows]


@pytest.mark.parametrize(("recipe", "workers"), [("camera-nano", 0), ("digit-classifier", 2)])
def test_workers_that_make_no_sense(recipe, workers, mnist_npz, tmp_path):
    with pytest.raises(UsageError, match=rf"{recipe}: expected 1 worker, or more for a camera recipe. .*{workers}"):
        train(recipe, data=mnist_npz, out=tmp_path / "run", workers=workers)
    assert not (tmp_path / "run").exists()
