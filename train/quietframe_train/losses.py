"""Losses that Keras does not have. Only `keras.ops`, so they run under every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras import ops

_COARSE = 16
_MEANS = 8.0
_FLOOR = 1e-5  # squared, of a frame that is right to two thirds of an 8-bit level
_SCALE = 0.01  # to the size that errors have: `RangeLimit` adds to it


def mae_and_means(y_true: Any, y_pred: Any) -> Any:
    """Calculate the mean absolute error of the pixels, plus that of means over 16×16 pixels.

    The means are what one sees on flat areas, a colour that is off by a level or blotches; in a mean over single pixels
    they are next to nothing.

    y_true, y_pred: (batch, height, width, channels) in [0, 1], sides multiples of 16. Returns (batch,).
    """
    error, means = _errors(y_true, y_pred)
    return ops.mean(ops.abs(error), axis=(1, 2, 3)) + ops.mean(ops.abs(means), axis=(1, 2, 3))


def log_mse_and_means(y_true: Any, y_pred: Any) -> Any:
    """Calculate the logarithm of the mean squared error, in which that of means over 16×16 pixels counts eightfold.

    PSNR itself, so that a tenth less error is worth the same at every noise level (PSNRLoss of Chen et al. 2022,
    NAFNet). For fine-tuning: a new model would learn from the frames with the least noise alone.

    y_true, y_pred: (batch, height, width, channels) in [0, 1], sides multiples of 16. Returns (batch,).
    """
    error, means = _errors(y_true, y_pred)
    squared = ops.mean(ops.square(error), axis=(1, 2, 3)) + _MEANS * ops.mean(ops.square(means), axis=(1, 2, 3))
    return _SCALE * ops.log(squared + _FLOOR)


def _errors(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """The errors of the pixels, and their means over 16×16 of them."""
    error = y_true - ops.cast(y_pred, y_true.dtype)
    _, height, width, channels = y_true.shape
    blocks = ops.reshape(error, (-1, height // _COARSE, _COARSE, width // _COARSE, _COARSE, channels))
    return error, ops.mean(blocks, axis=(2, 4))


LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {loss.__name__: loss for loss in (mae_and_means, log_mse_and_means)}
"""By the names that recipes use; other names are Keras' own."""
