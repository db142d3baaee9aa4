"""What a Keras model's layers say of its images: their range, the multiple of their sides, how far a pixel is seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from quietframe_export.keras_graph import maker
from quietframe_train.layers import PixelShuffle, PixelUnshuffle

Range = tuple[float, float]

_SCALES = (1 / 255, 1 / 127.5)
"""Of a rescaling that takes 8-bit levels."""

_RANGES: Mapping[str, Range] = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def value_ranges(model: keras.Model) -> dict[str, Range]:
    """Find the ranges of the images that go in and come out, by `inputs` and `outputs`, where the layers say them."""
    found = {}
    for tensor in model.inputs:
        for reader in (node.operation for node in tensor._keras_history.operation._outbound_nodes):
            scale = reader.scale if isinstance(reader, layers.Rescaling) and np.ndim(reader.scale) == 0 else 1.0
            if any(math.isclose(scale, each, rel_tol=0.01) for each in _SCALES):
                found["inputs"] = (0.0, 255.0)
    for tensor in model.outputs:
        if len(tensor.shape) != 4:
            continue
        last = maker(tensor)
        if isinstance(last, layers.Rescaling) and np.ndim(last.scale) == 0 and last.scale in (255, 127.5):
            found["outputs"] = (0.0, 255.0)
        name = getattr(getattr(last, "activation", None), "__name__", "")
        if name in _RANGES:
            found["outputs"] = _RANGES[name]
    return found


_POINTWISE_OPERATIONS = {
    "Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Clip", "Maximum", "Minimum", "Tanh", "Sqrt", "Exp",
}  # fmt: skip


class _Seen(NamedTuple):
    """Of a tensor: how much smaller than the image it is, and how many pixels to each side it depends on."""

    stride: Fraction
    radius: Fraction | None


def multiple_and_halo(model: keras.Model) -> tuple[int, int]:
    """Find the multiple of height and width that a model of any size needs, and its halo; 0: not known, or the image.

    The multiple is the smallest size reduction that all tensors divide; the halo the radius of the receptive field.
    """
    strides: set[int] = {1}
    radius = _walk(model, [_Seen(Fraction(1), Fraction(0)) for _ in model.inputs], strides)[0].radius
    halo = 0 if radius is None else math.ceil(radius)
    return math.lcm(*strides), halo


def _walk(model: Any, given: list[_Seen], strides: set[int]) -> list[_Seen]:
    functional = getattr(model, "_functional", None) or model
    seen = {id(tensor): each for tensor, each in zip(functional.inputs, given, strict=True)}
    by_depth = functional._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            if node.is_input:
                continue
            sources = [seen[id(tensor)] for tensor in node.input_tensors]
            if isinstance(node.operation, keras.Model):
                results = _walk(node.operation, sources, strides)
            else:
                results = [_after(node.operation, sources)] * len(node.outputs)
            strides.update(each.stride.numerator for each in results)
            seen |= {id(tensor): each for tensor, each in zip(node.outputs, results, strict=True)}
    return [seen[id(tensor)] for tensor in functional.outputs]


_POINTWISE = (
    layers.Activation, layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU, layers.Softmax, layers.Dropout,
    layers.SpatialDropout2D, layers.GaussianNoise, layers.BatchNormalization,
    layers.Rescaling, layers.Normalization, layers.Add, layers.Subtract, layers.Multiply, layers.Average,
    layers.Maximum, layers.Minimum, layers.Concatenate, layers.Permute,
)  # fmt: skip


def _after(layer: Any, sources: list[_Seen]) -> _Seen:
    stride, radius = max(each.stride for each in sources), _add(*(each.radius for each in sources), combine=max)
    step, reach = _step_and_reach(layer)
    if step < 1:  # what it reaches lies on the finer grid
        return _Seen(stride * step, _add(radius, None if reach is None else reach * stride * step))
    return _Seen(stride * step, _add(radius, None if reach is None else reach * stride))


def _add(*radii: Fraction | None, combine: Callable[[list[Fraction]], Any] = sum) -> Fraction | None:
    known = [radius for radius in radii if radius is not None]
    return combine(known) if len(known) == len(radii) else None


def _step_and_reach(layer: Any) -> tuple[Fraction, Fraction | None]:
    """Return by how much a layer divides the size, and how many of its pixels it sees to a side; None: not known."""
    none, one = Fraction(0), Fraction(1)
    if isinstance(layer, (PixelUnshuffle, PixelShuffle)):
        return (Fraction(layer.block) if isinstance(layer, PixelUnshuffle) else one / layer.block), none
    if type(layer).__name__ in ("SpaceToDepth", "DepthToSpace"):  # operations of keras.ops
        return (Fraction(layer.block_size) if type(layer).__name__ == "SpaceToDepth" else one / layer.block_size), none
    if isinstance(layer, layers.UpSampling2D):  # interpolation sees a pixel of the coarse grid
        return one / layer.size[0], Fraction(0 if layer.interpolation == "nearest" else layer.size[0])
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if not kernel or len(kernel) != 2:
        return one, none if _is_pointwise(layer) else None
    steps = max(getattr(layer, "strides", None) or (1, 1))
    reach = Fraction((max(kernel) - 1) * max(getattr(layer, "dilation_rate", (1, 1))))
    if isinstance(layer, layers.Conv2DTranspose):
        return one / steps, reach
    return Fraction(steps), reach / 2 if steps == 1 else reach  # with steps, padding lies on one side


def _is_pointwise(layer: Any) -> bool:
    if isinstance(layer, layers.LayerNormalization):
        return layer.axis in (-1, [-1], 3, [3])
    module, name = type(layer).__module__, type(layer).__name__
    return isinstance(layer, _POINTWISE) or module == "keras.src.ops.nn" or name in _POINTWISE_OPERATIONS
