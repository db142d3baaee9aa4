"""What the models are built from beside Keras' own. Only `keras.ops`, so it runs under every backend."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from quietframe.tasks.video import MAX_CONFIDENCE


class _Blocks(keras.layers.Layer):
    def __init__(self, block: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block = block

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"block": self.block}


@keras.saving.register_keras_serializable("quietframe")
class PixelUnshuffle(_Blocks):
    """Move each block of `block` × `block` pixels into channels.

    A later network then works at 1/block of the size and loses nothing (Shi et al. 2016, inverted; FFDNet).

    Input shape: (batch, height, width, channels), height and width multiples of `block`.
    Output shape: (batch, height / block, width / block, channels · block²).
    """

    def call(self, inputs: Any) -> Any:
        return ops.space_to_depth(inputs, self.block)


@keras.saving.register_keras_serializable("quietframe")
class PixelShuffle(_Blocks):
    """Move channels back into blocks of pixels: the inverse of `PixelUnshuffle` (Shi et al. 2016)."""

    def call(self, inputs: Any) -> Any:
        return ops.depth_to_space(inputs, self.block)


@keras.saving.register_keras_serializable("quietframe")
class RangeLimit(keras.regularizers.Regularizer):
    """Regularize an activity against outliers: the mean square of what lies beyond ±`limit`, times `weight`.

    An 8-bit tensor has 256 steps for all of its range, and a few far values make them wide for all others.
    """

    def __init__(self, limit: float = 6.0, weight: float = 0.02) -> None:
        self.limit, self.weight = limit, weight

    def __call__(self, x: Any) -> Any:
        beyond = ops.relu(ops.abs(ops.cast(x, "float32")) - self.limit)
        return self.weight * ops.mean(ops.square(beyond))

    def get_config(self) -> dict[str, Any]:
        return {"limit": self.limit, "weight": self.weight}


@keras.saving.register_keras_serializable("quietframe")
class FakeQuantization(keras.layers.Layer):
    """Round to the 255 steps of an 8-bit tensor while training; change nothing otherwise.

    What follows learns to lean on what is large beside a step, and what comes before to make it so: in a few epochs at
    the end there is no way left to that (pseudo-quantization noise, Défossez et al. 2021, has the same aim). The
    gradient passes as if nothing were rounded.

    limit: the steps go from -limit to limit, and values beyond are not clipped: see `RangeLimit`. None: they go from
    the least to the greatest value, as averaged over the last batches, with 0 among them; values beyond are clipped.
    """

    def __init__(self, limit: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.limit = limit
        if limit is None:
            self.low, self.high = (
                self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="float32", name=name)
                for name in ("low", "high")
            )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return inputs
        values = ops.cast(inputs, "float32")
        if self.limit is not None:
            step = 2 * self.limit / 255
            return inputs + ops.cast(ops.stop_gradient(ops.round(values / step) * step - values), inputs.dtype)
        low, high = (
            self._averaged(end, ops.stop_gradient(found))
            for end, found in (
                (self.low, ops.minimum(ops.min(values), 0.0)),
                (self.high, ops.maximum(ops.max(values), 0.0)),
            )
        )
        step = ops.maximum(high - low, 1e-6) / 255
        first = ops.round(low / step)  # whole steps, so that 0 is one of them
        clipped = ops.clip(values, first * step, (first + 255) * step)
        return ops.cast(clipped + ops.stop_gradient(ops.round(clipped / step) * step - clipped), inputs.dtype)

    def _averaged(self, end: Any, found: Any) -> Any:
        is_new = ops.equal(ops.convert_to_tensor(end), 0.0)
        end.assign(ops.where(is_new, found, _KEPT * end + (1 - _KEPT) * found))
        return ops.convert_to_tensor(end)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"limit": self.limit}


_KEPT = 0.98  # of a range, from one batch to the next


@keras.saving.register_keras_serializable("quietframe")
class QuantizedWeights(keras.layers.Wrapper):
    """Compute a layer with its kernels rounded to 8 bits while training, as int8 files have them; plainly otherwise.

    Steps are symmetric, one scale for each output channel, as in TFLite and ONNX Runtime. The gradient passes as if
    nothing were rounded.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training:
            return self.layer(inputs)
        values = [(variable, self._rounded(variable)) for variable in self.layer.variables]
        with keras.StatelessScope(state_mapping=values):
            return self.layer(inputs)

    def _rounded(self, variable: Any) -> Any:
        values = ops.cast(variable, "float32")
        if not variable.name.endswith("kernel"):
            return values
        axes = channel_axes(self.layer, variable.name)
        others = [axis for axis in range(values.ndim) if axis - values.ndim not in axes]
        step = ops.maximum(ops.max(ops.abs(values), axis=others, keepdims=True) / 127, 1e-12)
        return values + ops.stop_gradient(ops.round(values / step) * step - values)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)


def channel_axes(layer: Any, kernel: str) -> tuple[int, ...]:
    """Return the axes of a kernel that number its output channels, from the last, -1. kernel: its variable's name."""
    transposed = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
    depthwise = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
    if isinstance(layer, depthwise) or kernel == "depthwise_kernel":
        return (-2, -1)
    return (-2,) if isinstance(layer, transposed) else (-1,)


@keras.saving.register_keras_serializable("quietframe")
class SplitLuma(keras.constraints.Constraint):
    """Constrain a kernel: half of its filters see luma alone, the others chroma alone.

    A filter that mixes luma and chroma keeps or removes both together, and cameras leave other noise in each. Of
    those of luma, three quarters ignore an even brightness: 8 bits that also carry how bright a pixel is have few steps
    left for the noise on it. The last quarter is free, as noise is clipped near black and white, and so is chroma,
    which varies less.

    The kernel is one of (height, width, planes · colours, filters) on a frame, as it is or taken apart by
    `PixelUnshuffle`. Luma is the mean of the colours here, chroma what is left of each.
    """

    def __call__(self, kernel: Any) -> Any:
        filters = kernel.shape[-1]
        planes = ops.reshape(kernel, (-1, 3, filters))
        luma = ops.mean(planes, axis=1, keepdims=True)
        planes = ops.where(ops.arange(filters) < filters // 2, luma, planes - luma)
        detail = planes - ops.mean(planes, axis=0, keepdims=True)
        return ops.reshape(ops.where(ops.arange(filters) < filters * 3 // 8, detail, planes), kernel.shape)


@keras.saving.register_keras_serializable("quietframe")
class Warp(keras.layers.Layer):
    """Move images along a flow, interpolated linearly; beyond a border they repeat.

    Input: images (batch, height, width, channels); flow (batch, height, width, 2), where each pixel comes from,
    relative to where it goes, x and y in pixels. Output: as the images.
    """

    def call(self, inputs: Any) -> Any:
        images, flow = inputs
        height, width, channels = images.shape[1:]
        y = ops.clip(ops.arange(height, dtype="float32")[:, None] + flow[..., 1], 0.0, height - 1.0)
        x = ops.clip(ops.arange(width, dtype="float32") + flow[..., 0], 0.0, width - 1.0)
        top, left = ops.floor(y), ops.floor(x)
        down, right = (y - top)[..., None], (x - left)[..., None]
        flat = ops.reshape(images, (-1, height * width, channels))

        def pixels(row: Any, column: Any) -> Any:
            row, column = ops.minimum(row, height - 1.0), ops.minimum(column, width - 1.0)
            index = ops.reshape(ops.cast(row * width + column, "int32"), (-1, height * width, 1))
            return ops.reshape(ops.take_along_axis(flat, index, axis=1), images.shape)

        above = pixels(top, left) * (1 - right) + pixels(top, left + 1) * right
        below = pixels(top + 1, left) * (1 - right) + pixels(top + 1, left + 1) * right
        return above * (1 - down) + below * down

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[0]


@keras.saving.register_keras_serializable("quietframe")
class NextState(keras.layers.Layer):
    """Fuse a frame into the state, as the runtime does between two frames (`quietframe.tasks.video`).

    Input: image, state (batch, height, width, 3); weight, confidence (batch, height / 2, width / 2, 1).
    Output: the new state and its confidence. No gradient passes: a frame is judged by its own result.
    """

    def call(self, inputs: Any) -> Any:
        image, state, weight, confidence = (ops.stop_gradient(values) for values in inputs)
        each = ops.repeat(ops.repeat(weight, 2, axis=1), 2, axis=2)
        v = ops.square(1 - weight) + ops.square(weight) * (1 - confidence) / ops.maximum(confidence, 1e-3)
        return image + each * (state - image), ops.minimum(1 / (1 + v), MAX_CONFIDENCE)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape[1], input_shape[3]
