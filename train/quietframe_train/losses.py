"""Losses that Keras does not have. Only `keras.ops`, so they run under every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

_COARSE = 16


def mae_and_means(y_true: Any, y_pred: Any) -> Any:
    """The mean absolute error of the pixels, plus that of means over 16×16 pixels.

    The means are what one sees on flat areas, a colour that is off by a level or blotches; in a mean over single pixels
    they are next to nothing.

    y_true, y_pred: (batch, height, width, channels) in [0, 1], sides multiples of 16. Returns (batch,).
    """
    error = y_true - ops.cast(y_pred, y_true.dtype)
    _, height, width, channels = y_true.shape
    blocks = ops.reshape(error, (-1, height // _COARSE, _COARSE, width // _COARSE, _COARSE, channels))
    means = ops.mean(blocks, axis=(2, 4))
    return ops.mean(ops.abs(error), axis=(1, 2, 3)) + ops.mean(ops.abs(means), axis=(1, 2, 3))


LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {"mae_and_means": mae_and_means}
"""By the names that recipes use; other names are Keras' own."""
