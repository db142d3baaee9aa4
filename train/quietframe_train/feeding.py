"""How batches reach Keras' `fit`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras

from quietframe_train.photo_batches import Batch, WeightedBatch

_AHEAD = 2  # batches made while the model computes


class FixedBatches(keras.utils.PyDataset):
    """Inputs and targets in batches, in their order."""

    def __init__(self, data: Batch, batch: int) -> None:
        super().__init__(workers=1)
        self.data, self.batch = data, batch

    def __len__(self) -> int:
        return math.ceil(len(self.data[1]) / self.batch)

    def __getitem__(self, index: int) -> Batch:
        part = slice(index * self.batch, (index + 1) * self.batch)
        inputs, targets = self.data
        cut = {name: values[part] for name, values in inputs.items()} if isinstance(inputs, dict) else inputs[part]
        return cut, targets[part]


def feed(batches: keras.utils.PyDataset, made: Iterator[Batch | WeightedBatch] | None = None) -> Any:
    """What `fit` is given in place of the batches: with TensorFlow a data set of ours, else they themselves.

    made: where they come from, epoch after epoch, if others make them. If that is what comes back, `fit` needs
        `steps_per_epoch`.

    Keras, too, makes a `tf.data.Dataset` of them, but one that tunes itself: its tuning thread sleeps longer and
    longer, up to a minute, and at the end of each epoch TensorFlow waits for it to wake.
    """
    if keras.backend.backend() != "tensorflow":
        return made or batches
    import tensorflow as tf

    def each() -> Iterator[Batch | WeightedBatch]:
        for index in range(len(batches)):
            yield next(made) if made else batches[index]

    def spec(values: Any) -> Any:
        return tf.TensorSpec((None, *values.shape[1:]), values.dtype)

    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_generator(each, output_signature=tf.nest.map_structure(spec, batches[0]))
    return data.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(_AHEAD).with_options(options)
