"""Losses that Keras does not have. Only `keras.ops`, so they run under every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

_LEVEL = 1 / 255
_SCALE = 0.025  # about the mean absolute error itself: regularizers and the clipping of gradients keep their weight
_COARSE = 16


def balanced_error(y_true: Any, y_pred: Any) -> Any:
    """An image's error in decibels, as it were: a tenth less counts the same in all of them, however noisy they were.

    The mean absolute error is large where much noise was, and there it is what a training looks at; but PSNR is a mean
    of logarithms. To each image's error comes that of means over 16×16 pixels, which are what one sees on flat areas:
    a colour that is off by a level, blotches.

    y_true, y_pred: (batch, height, width, channels) in [0, 1], sides multiples of 16. Returns (batch,).
    """
    error = y_true - ops.cast(y_pred, y_true.dtype)
    fine = ops.mean(ops.abs(error), axis=(1, 2, 3))
    _, height, width, channels = y_true.shape
    blocks = ops.reshape(error, (-1, height // _COARSE, _COARSE, width // _COARSE, _COARSE, channels))
    coarse = ops.mean(ops.abs(ops.mean(blocks, axis=(2, 4))), axis=(1, 2, 3))
    return _SCALE * ops.log((fine + coarse) / _LEVEL + 1)


LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {"balanced_error": balanced_error}
"""By the names that recipes use; other names are Keras' own."""
