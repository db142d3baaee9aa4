import keras
import numpy as np
import pytest

from quietframe_train.feeding import FixedBatches, feed


@pytest.fixture
def batches():
    inputs = {"image": np.arange(70, dtype=np.float32).reshape(7, 2, 5), "sigma": np.arange(7, dtype=np.float32)}
    return FixedBatches((inputs, np.arange(7, dtype=np.int64)), 3)


def test_fixed_batches_are_all_of_the_data_in_its_order(batches):
    parts = [batches[index] for index in range(len(batches))]
    assert [len(targets) for _, targets in parts] == [3, 3, 1]
    assert np.array_equal(np.concatenate([targets for _, targets in parts]), np.arange(7))
    assert np.array_equal(np.concatenate([inputs["image"] for inputs, _ in parts]), batches.data[0]["image"])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends are fed by Keras")
def test_tensorflow_is_fed_the_same_batches_by_a_data_set_that_does_not_tune_itself(batches):
    data = feed(batches)
    assert data.options().autotune.enabled is False
    for _epoch in range(2):
        fed = list(data.as_numpy_iterator())
        assert len(fed) == len(batches) == data.cardinality()
        for index, (inputs, targets) in enumerate(fed):
            assert np.array_equal(targets, batches[index][1])
            assert all(np.array_equal(inputs[name], batches[index][0][name]) for name in ("image", "sigma"))
